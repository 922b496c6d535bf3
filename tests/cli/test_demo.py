"""``auditbox demo``: the whole of it, and whether its verdict can find a fault."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from auditbox.cli.demo.traffic import Asked
from auditbox.cli.demo.verdict import Verdict, judge
from auditbox.records import AuditRecord

from .conftest import Start, ended, line_with

START = datetime(2026, 1, 31, 23, 0, tzinfo=UTC)
ORDER = "ORD-2025-1122-0001"


def answers(url: str) -> bool:
    """Whether somebody listens there."""
    try:
        httpx.get(url, trust_env=False, timeout=1)
    except httpx.ConnectError:
        return False
    except httpx.TransportError:
        return True
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the demo puts its files; it must leave none."""
    yield tmp_path
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.timeout(180)  # 15 seconds of requests, an outage and look-ups; more on a busy machine
def test_the_demo_loses_nothing(start: Start, folder: Path) -> None:
    """An outage of the API, a SIGKILL of the application: nothing lost, doubled or out of order.

    With --serve both addresses answer until Ctrl-C; then nothing runs or lies around any more.
    """
    process = start("demo", "--json", "--serve", "--requests", "240", TMPDIR=str(folder))
    assert process.stdout is not None
    verdict = json.loads(process.stdout.readline())
    wrong = ("lost", "duplicated", "out_of_order", "unexpected", "gaps")
    assert {name: verdict[name] for name in wrong} == dict.fromkeys(wrong, 0)
    assert verdict["captured"] == verdict["delivered"]
    assert verdict["captured"] + verdict["unanswered"] == 240
    assert verdict["unanswered"] > 0  # the kill met requests in flight
    assert verdict["routes"].keys() == {"logging", "decorator", "middleware"}
    assert all(route["captured"] > 0 for route in verdict["routes"].values())
    assert verdict["seconds_worst"] > 1  # something waited for the API to come back
    line_with("is down (SIGKILL)", process.stderr)
    line_with("was killed (SIGKILL", process.stderr)
    api = line_with("Audit API  ", process.stderr).split()[-1]
    app = line_with("application", process.stderr).split()[-1]
    line_with("Ctrl-C ends both.", process.stderr)
    assert httpx.post(f"{app}/orders/{ORDER}/ship", trust_env=False).status_code == 200
    assert answers(api)
    assert ended(process, signal.SIGINT)[0] == 0
    assert not answers(api)
    assert not answers(app)


def test_it_cleans_up_when_it_is_ended_midway(start: Start, folder: Path) -> None:
    """SIGTERM during the outage: neither process nor file stays."""
    process = start("demo", TMPDIR=str(folder))
    app = line_with("Audit API on", process.stderr).split()[-1]
    line_with("is down", process.stderr)
    assert ended(process)[0] == 143
    assert not answers(app)


def test_nothing_outlives_a_demo_that_is_killed(start: Start, tmp_path: Path) -> None:
    """Its processes notice that it is gone, and end."""
    process = start("demo", TMPDIR=str(tmp_path))
    app = line_with("Audit API on", process.stderr).split()[-1]
    line_with("requests", process.stderr)
    process.kill()
    process.wait()
    while answers(app):  # there is nothing else to wait for: they are nobody's children now
        threading.Event().wait(0.1)


# -- the verdict -----------------------------------------------------------------------------------------


def asked(number: int, order: str = ORDER, action: str = "approve") -> Asked:
    return Asked(number, order, action)


def record(about: Asked, seq: int, at: float, **changes: object) -> AuditRecord:
    """The record of a request, captured at once and delivered ``at`` seconds after the start."""
    event = {"approve": "approved", "ship": "shipped", "cancel": "cancelled"}[about.action]
    own = {"request": {"id": about.id}, "seq": seq, "occurredAt": "2026-01-31T23:00:00.000Z"}
    fields = {
        "id": f"AUD-{seq}",
        "event": f"extensions.demo.order.{event}",
        "object": {"id": about.order},
        "timestamp": START + timedelta(seconds=at),
        "documents": {"auditbox": own},
    }
    return AuditRecord.model_validate({**fields, **changes})


def verdict_on(
    records: list[AuditRecord], acknowledged: list[Asked], unanswered: list[Asked] | None = None
) -> Verdict:
    return judge(records, {one.id: one for one in acknowledged}, {one.id: one for one in unanswered or []})


def test_a_perfect_trail_is_good() -> None:
    """Every request once, in order; also where several arrive within one millisecond."""
    requests = [asked(1), asked(2, action="ship"), asked(3, "ORD-2", "cancel")]
    verdict = verdict_on([record(one, one.number, 1.0) for one in requests], requests)
    assert verdict.good
    assert (verdict.total.captured, verdict.total.delivered) == (3, 3)
    assert verdict.routes["decorator"].captured == 1
    assert verdict.seconds == [1.0] * 3


def test_nothing_at_all_is_not_good() -> None:
    """A demo in which nothing was captured proves nothing."""
    assert not verdict_on([], []).good


def test_an_acknowledged_request_without_a_record_is_lost() -> None:
    """It counts under the route that captured it."""
    verdict = verdict_on([record(asked(1), 1, 1)], [asked(1), asked(2, action="cancel")])
    assert verdict.routes["middleware"].lost == verdict.total.lost == 1
    assert not verdict.good


def test_a_record_that_is_there_twice_is_a_duplicate() -> None:
    """Of an acknowledged request as of one without an answer."""
    one, two = asked(1), asked(2, action="ship")
    records = [record(one, 1, 1), record(one, 1, 2), record(two, 2, 3), record(two, 2, 3)]
    verdict = verdict_on(records, [one], [two])
    assert verdict.total.duplicated == 2
    assert not verdict.good


def test_a_request_without_an_answer_may_have_a_record_or_not() -> None:
    """Neither is wrong."""
    one, two, three = asked(1), asked(2), asked(3)
    verdict = verdict_on([record(one, 1, 1), record(two, 2, 2)], [one], [two, three])
    assert verdict.good
    assert (verdict.unanswered, verdict.unanswered_delivered, verdict.total.captured) == (2, 1, 1)


def test_order_is_judged_per_object() -> None:
    """A record that arrived after a later one of its order is out of order; other orders do not matter."""
    one, two, other = asked(1), asked(2), asked(3, "ORD-2")
    records = [record(one, 1, 5), record(two, 2, 4), record(other, 3, 1)]
    assert verdict_on(records, [one, two, other]).total.out_of_order == 1


def test_a_number_that_is_missing_is_a_gap() -> None:
    """The outbox numbers its entries without gaps, so the trail itself shows one."""
    one, two = asked(1), asked(2)
    verdict = verdict_on([record(one, 1, 1), record(two, 3, 2)], [one, two])
    assert verdict.gaps == 1
    assert not verdict.good


@pytest.mark.parametrize(
    "changes", [{"object": {"id": "ORD-9"}}, {"event": "extensions.demo.order.shipped"}, {"documents": None}]
)
def test_a_record_of_something_else_is_unexpected(changes: dict[str, object]) -> None:
    """The wrong object, the wrong event, no id: it counts for no request."""
    one = asked(1)
    good = record(one, 1, 1)
    strange = record(one, 2, 1, **changes)
    if strange.documents is None:
        strange = record(asked(99), 2, 1)
    verdict = verdict_on([good, strange], [one])
    assert verdict.unexpected == 1
    assert not verdict.good
