"""``auditbox status``."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from auditbox.outbox import clock
from auditbox.outbox.base import Ambiguous, Now, Retry
from auditbox.outbox.files import FileLock
from auditbox.outbox.sqlite import SqliteOutbox

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


DOUBT = {"reason": "502 Bad Gateway: no answer", "status": 502}
HIDDEN = {"reason": "403 Forbidden: hidden", "status": 403}


@contextmanager
def relaying(outbox: SqliteOutbox) -> Iterator[None]:
    """Holds the lock by which a relay is known to run."""
    lock = FileLock(outbox.relay_lock)
    assert lock.try_acquire()
    try:
        yield
    finally:
        lock.release()


def waits(run: Run, path: Path) -> str:
    """What JSON and people are told, which is the same."""
    told = json.loads(run("status", "--json", "--outbox", path).stdout)["waits"]
    (line,) = (one for one in run("status", "--outbox", path).stdout.splitlines() if one.startswith("waits "))
    assert re.sub(r"\d+ s", "", line).endswith(re.sub(r"\d+ s", "", told))
    return str(told)


def test_what_a_kill_left_in_doubt_is_said_with_when_it_is_looked_up(
    run: Run, path: Path, capture: Capture
) -> None:
    """No answer is known of what a dead relay was sending: the time of the look-up is all there is to say."""
    capture(*(f"ORD-1111-1111-{number:04d}" for number in range(3)))
    outbox = SqliteOutbox(path)
    now = Now(time.time(), time.monotonic(), time.time())
    killed = outbox.take_over(now, 6500.0, clock.identity())
    assert len(outbox.exchange(killed, [], 16, now, 60).claims) == 3
    outbox.take_over(now, 6500.0, clock.identity())
    with relaying(outbox):
        said = waits(run, path)
    found = re.fullmatch(r"3 records are in doubt after a kill: looked up in (\d+) s \(verify_after\)", said)
    assert found is not None, said
    assert 0 < int(found[1]) <= 6500
    outbox.close()
    assert waits(run, path).startswith("no relay is running; 3 records are in doubt after a kill")


def test_a_refusal_is_never_said_to_be_in_doubt(run: Run, path: Path, capture: Capture) -> None:
    """Where several things hold entries up each is said with its own cause, that of the oldest first."""
    capture(*(f"ORD-1111-1111-{number:04d}" for number in range(3)))
    outbox = SqliteOutbox(path)
    now = Now(time.time(), time.monotonic(), time.time())
    epoch = outbox.take_over(now, 65.0, clock.identity())
    assert len(outbox.exchange(epoch, [], 16, now, 60).claims) == 3
    gone = {"reason": "404 Not Found: gone", "status": 404}
    settled = [
        Retry(1, now.wall + 9e5, now.monotonic + 9e5, HIDDEN, refused_at=now.wall),
        Retry(2, now.wall + 9e5, now.monotonic + 9e5, gone, refused_at=now.wall),
        Ambiguous(3, now.monotonic + 6500.0, DOUBT),
    ]
    outbox.exchange(epoch, settled, 0, now, 60)
    with relaying(outbox):
        refused, doubt = waits(run, path).split("; ")
    outbox.close()
    assert refused == "2 objects are refused, first: 403 Forbidden: hidden"
    assert re.fullmatch(
        r"1 record is in doubt, looked up in \d+ s \(verify_after\) before anything is sent twice: 502 .*",
        doubt,
    )
