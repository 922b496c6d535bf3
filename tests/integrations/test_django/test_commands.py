"""``manage.py audit``: what the outbox holds, and its delivery."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from auditbox import default as defaults
from auditbox.emulator import running
from auditbox.trail import AuditTrail

ORDER = "ORD-1208-2301-8479"
TOKEN = "idt:TKN-1234-5678:secret"


@pytest.fixture
def api() -> Iterator[str]:
    """An Audit API."""
    with running() as emulator:
        yield emulator.url


@pytest.fixture
def delivering(tmp_path: Path, api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AuditTrail]:
    """A default trail for this API."""
    made = AuditTrail(tmp_path / "audit.db", sink=api, token=TOKEN, extension="shop")
    monkeypatch.setattr(defaults, "_default", made)
    yield made
    made.close()


def audit(*arguments: str) -> tuple[int, str]:
    """Runs the command; gives its exit status and what it printed."""
    out = io.StringIO()
    try:
        call_command("audit", *arguments, stdout=out, stderr=io.StringIO())
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def captured_elsewhere(tmp_path: Path, api: str) -> None:
    """A record by a process that could not deliver."""
    other = AuditTrail(tmp_path / "audit.db", sink=api, extension="shop")
    other.record("order.approved", object=ORDER)
    other.close()


def test_before_anything_was_captured(delivering: AuditTrail, tmp_path: Path) -> None:
    """No outbox is made by looking."""
    assert audit("status") == audit("flush") == (0, "nothing was captured yet\n")
    assert not list(tmp_path.iterdir())


def test_status_and_flush(delivering: AuditTrail, tmp_path: Path, api: str) -> None:
    """What waits is shown, a probe's limits give its exit status, and flush delivers."""
    captured_elsewhere(tmp_path, api)
    assert json.loads(audit("status", "--json")[1])["pending"] == 1
    code, shown = audit("status", "--max-age", "0")
    assert (code, "pending       1" in shown) == (1, True)
    told = "1 of 1 delivered or discarded, 0 pending, 0 dead letters\n"
    assert audit("flush", "--timeout", "60") == (0, told)
    assert audit("flush") == (0, told)  # as `auditbox flush`: of everything that was ever captured
    assert audit("status", "--max-dead", "0")[0] == 0


def test_a_flush_that_cannot(tmp_path: Path, api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a sink nothing is delivered here: exit status 1."""
    captured_elsewhere(tmp_path, api)
    alone = AuditTrail(tmp_path / "audit.db")
    monkeypatch.setattr(defaults, "_default", alone)
    assert audit("flush") == (1, "0 of 1 delivered or discarded, 1 pending, 0 dead letters\n")
    alone.close()


def test_without_a_trail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in a line, not in a traceback."""
    monkeypatch.setattr(defaults, "_default", None)
    with pytest.raises(CommandError, match="No trail is configured"):
        call_command("audit", "status")


@pytest.mark.parametrize("wrong", [(), ("stats",), ("flush", "--timeout", "soon")])
def test_usage(wrong: Any) -> None:
    """Unknown actions and values are refused."""
    with pytest.raises(CommandError):
        call_command("audit", *wrong)
