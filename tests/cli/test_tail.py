"""``auditbox tail``."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

from auditbox import AuditTrail
from auditbox.names import NO_OBJECT

from .conftest import ORDER, Run, Start, ended, line_with

Capture = Callable[..., list[str]]


def test_the_newest_come_last(run: Run, path: Path, capture: Capture) -> None:
    """As many as asked for, each with number, state, object, event and summary."""
    capture(*[ORDER] * 12, summary="Order\x1b[31m approved")
    lines = run("tail", "-n", "3", "--outbox", path).stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == [10, 11, 12]
    assert f"captured   {ORDER}  extensions.shop.order.approved  Order\\u001b[31m approved" in lines[-1]
    shown = run("tail", "--outbox", path).stdout.splitlines()
    assert len(shown) == 10
    assert {line.index(ORDER) for line in shown} == {lines[0].index(ORDER)}  # from 9 to 10 no column moves


def test_the_object_is_shown_and_the_lane_where_it_is_another(run: Run, path: Path) -> None:
    """A record without an object says so."""
    with AuditTrail(path, extension="shop") as trail:
        trail.record("order.imported", object=ORDER, lane="import")
        trail.record("order.changed", object=NO_OBJECT)
        trail.record("order.changed", object=ORDER)
    shown = [
        line.split("captured   ")[1].split("  ")[:-1]
        for line in run("tail", "--outbox", path).stdout.splitlines()
    ]
    assert shown == [
        [ORDER, "lane=import", "extensions.shop.order.imported"],
        ["none", "extensions.shop.order.changed"],
        [ORDER, "extensions.shop.order.changed"],
    ]


def test_json_is_one_entry_a_line(run: Run, path: Path, capture: Capture) -> None:
    """With the whole record."""
    ids = capture(ORDER, ORDER, documents={"order": {"total": 12}})
    entries = [json.loads(line) for line in run("tail", "--json", "--outbox", path).stdout.splitlines()]
    assert [entry["id"] for entry in entries] == ids
    assert entries[0]["record"]["documents"]["order"] == {"total": 12}


def test_follow_goes_on_with_what_is_captured_meanwhile(start: Start, path: Path, capture: Capture) -> None:
    """Each new entry once, in order, and none that was there before but was not asked for."""
    capture(ORDER, ORDER)
    process = start("tail", "-n", "1", "-f", "--outbox", path)
    assert process.stdout is not None
    numbers = [process.stdout.readline().split()[0]]
    for _ in range(3):
        capture(ORDER, ORDER)
        numbers += [process.stdout.readline().split()[0] for _ in range(2)]
    assert numbers == ["2", "3", "4", "5", "6", "7", "8"]


def test_follow_notices_a_new_outbox_in_the_old_place(start: Start, path: Path, capture: Capture) -> None:
    """Numbers begin anew then."""
    capture(ORDER, ORDER)
    process = start("tail", "-f", "--outbox", path)
    line_with("  2  ", process.stdout)
    fresh = path.with_name("fresh.db")
    trail = AuditTrail(fresh, extension="shop")
    trail.record("order.approved", object="ORD-9999-9999-9999")
    trail.close()
    fresh.rename(path)
    assert line_with("ORD-9999-9999-9999", process.stdout).startswith("     1  ")


def test_follow_can_wait_for_the_first_capture(start: Start, run: Run, path: Path) -> None:
    """It never makes an outbox itself; with --wait nothing that is captured first is missed."""
    assert run("tail", "-f", "--outbox", path).returncode == 2
    process = start("tail", "-f", "--wait", "-n", "0", "--outbox", path)
    assert process.stdout is not None
    line_with(f"waits for {path} to be made", process.stderr)
    assert not path.exists()
    with AuditTrail(path, extension="shop") as trail:
        for _ in range(12):
            trail.record("order.approved", object=ORDER)
    assert [int(process.stdout.readline().split()[0]) for _ in range(12)] == list(range(1, 13))


def test_waiting_can_be_ended(start: Start, path: Path) -> None:
    """Ctrl-C before there is an outbox, as while it follows."""
    process = start("tail", "-f", "--wait", "--outbox", path)
    line_with("waits for", process.stderr)
    assert ended(process, signal.SIGINT) == (130, "", "")
    assert not path.exists()
