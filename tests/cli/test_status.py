"""``auditbox status``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .conftest import ORDER, Run

Capture = Callable[..., list[str]]
KEYS = {
    "outbox", "destination", "captured", "delivered", "pending", "dead", "discarded",
    "oldest_pending_seconds", "relay_alive", "waits", "states", "relay_pid", "relay_heartbeat",
    "file_bytes", "wal_bytes", "alarms",
}  # fmt: skip


def test_json_has_stable_keys(run: Run, path: Path, capture: Capture) -> None:
    """Programs rely on them."""
    capture(ORDER, ORDER)
    result = run("status", "--json", "--outbox", path)
    status = json.loads(result.stdout)
    assert status.keys() == KEYS
    assert (status["outbox"], status["captured"], status["pending"]) == (str(path), 2, 2)
    assert status["states"] == {"captured": 2}
    assert status["waits"] == "no relay is running"
    assert status["alarms"] == []


def test_people_see_depth_age_sizes_and_why_it_waits(
    run: Run, path: Path, capture: Capture, bury: Callable[..., None]
) -> None:
    """One fact a line."""
    capture(ORDER, "ORD-1111-1111-1111")
    bury(1)
    capture(ORDER)
    lines = dict(line.split("  ", 1) for line in run("status", "--outbox", path).stdout.splitlines())
    facts = {name: fact.strip() for name, fact in lines.items()}
    assert facts["outbox"].startswith(str(path))
    assert "KiB" in facts["outbox"]
    assert facts["captured"] == "3"
    assert facts["pending"].startswith("2, the oldest for ")
    assert facts["dead letters"].startswith("1 ")
    assert facts["waits"] == "no relay is running"
    assert facts["relay"].startswith("not running, last moved something ")


def test_an_old_entry_is_an_alarm(run: Run, path: Path, capture: Capture) -> None:
    """Beyond --max-age the status is 1 and says so; within, and without anything pending, 0."""
    capture(ORDER)
    late = run("status", "--max-age", "0", "--outbox", path)
    assert late.returncode == 1
    assert late.stderr.startswith("auditbox: the oldest pending entry is ")
    assert run("status", "--max-age", "3600", "--outbox", path).returncode == 0


def test_too_many_dead_letters_are_an_alarm(
    run: Run, path: Path, capture: Capture, bury: Callable[..., None]
) -> None:
    """Beyond --max-dead; the alarms are in the JSON, too."""
    capture(ORDER)
    bury(1)
    result = run("status", "--json", "--max-dead", "0", "--max-age", "0", "--outbox", path)
    assert result.returncode == 1
    assert json.loads(result.stdout)["alarms"] == ["1 dead letter, more than 0"]
    assert run("status", "--max-dead", "1", "--max-age", "0", "--outbox", path).returncode == 0


def test_a_look_leaves_no_trace(run: Run, path: Path, capture: Capture) -> None:
    """A probe may run as root: it must leave no file that the application then cannot open."""
    capture(ORDER)
    before = sorted(path.parent.iterdir())
    for arguments in (("status",), ("tail",), ("dead", "list"), ("dead", "show", "1")):
        assert run(*arguments, "--outbox", path).returncode == 0
    assert sorted(path.parent.iterdir()) == before
