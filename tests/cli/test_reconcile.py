"""``auditbox reconcile``: against an emulator whose database somebody tampers with."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditbox import AuditTrail
from auditbox.api import AuditApi
from auditbox.cli.reconcile.compare import differences
from auditbox.cli.reconcile.numbers import Numbers
from auditbox.emulator import Emulator, running
from auditbox.outbox.inspection import Inspection
from auditbox.records import AuditRecord

from .conftest import ORDER, TOKEN, Run

OTHER = "AGR-1111-1111-1111"
Deliver = Callable[..., list[str]]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Emulator]:
    """An emulator with a file."""
    with running(db=tmp_path / "api.db") as emulator:
        yield emulator


@pytest.fixture
def tamper(tmp_path: Path, api: Emulator) -> Callable[..., None]:
    """Changes what the emulator holds, behind its back."""

    def tamper(sql: str, *values: object) -> None:
        with sqlite3.connect(tmp_path / "api.db") as db:
            assert db.execute(sql, values).rowcount == 1
        db.close()

    return tamper


@pytest.fixture
def deliver(path: Path, api: Emulator) -> Deliver:
    """Captures records, delivers them, and returns the ids that the API gave them."""

    def deliver(*objects: str, **fields: Any) -> list[str]:
        fields = {"documents": {"order": {"status": "Processing", "note": None, "lines": [1, 2]}}, **fields}
        with AuditTrail(path, sink=api.url, token=TOKEN, extension="shop") as trail:
            ids = [trail.record("order.approved", object=about, **fields) for about in objects]
            trail.flush(30)
        stories = [Inspection(path).story(id) for id in ids]
        return [story.remote_id or "" for story in stories if story is not None]

    return deliver


@pytest.fixture
def reconcile(run: Run, path: Path) -> Callable[..., Any]:
    """Runs the command on the outbox."""
    return lambda *arguments: run("reconcile", "--outbox", path, *arguments, MPT_API_TOKEN=TOKEN)


def findings(result: Any, status: int) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The lines and the counts of ``--json``."""
    assert result.returncode == status, (result.stdout, result.stderr)
    *lines, counts = map(json.loads, result.stdout.splitlines())
    return lines, counts


def test_all_is_there(deliver: Deliver, reconcile: Any) -> None:
    """Once, and as captured: status 0, though the server names the objects and knows their types."""
    deliver(ORDER, {"id": OTHER, "name": "An agreement"}, ORDER)
    result = reconcile()
    assert (result.returncode, result.stderr) == (0, "compared 3/3\n")
    assert result.stdout == "3 delivered: all there, once, as captured\n"


def test_a_record_that_is_gone_is_missing(deliver: Deliver, reconcile: Any, tamper: Any) -> None:
    """With its number, ids and object; the others are not mentioned."""
    remote = deliver(ORDER, ORDER, ORDER)[1]
    tamper("DELETE FROM record WHERE id = ?", remote)
    ((missing,), counts) = findings(reconcile("--json"), 1)
    assert (missing["finding"], missing["seq"], missing["remote_id"]) == ("missing", 2, remote)
    assert missing["object"] == ORDER
    assert (counts["delivered"], counts["missing"]) == (3, 1)
    text = reconcile().stdout.splitlines()
    assert text[0].startswith("missing    2  ")
    assert remote in text[0]
    assert text[-1] == "3 delivered: 1 missing"


def test_a_second_copy_is_doubled(deliver: Deliver, reconcile: Any, api: Emulator) -> None:
    """Named with both ids."""
    first, *_ = deliver(ORDER, ORDER)
    with AuditApi(api.url, token=TOKEN) as client:
        one = client.records.get(first)
        assert one.summary
        assert one.details
        again = client.records.create(
            event=one.event, summary=one.summary, details=one.details, object=ORDER, documents=one.documents
        )
    ((doubled,), counts) = findings(reconcile("--json"), 1)
    assert (doubled["finding"], doubled["seq"]) == ("doubled", 1)
    assert first in doubled["text"]
    assert again.id in doubled["text"]
    assert (counts["doubled"], counts["missing"], counts["altered"]) == (1, 0, 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("summary = 'Order refused'", "summary"),
        ("details = details || '!'", "details"),
        ("event = 'extensions.shop.order.refused'", "event"),
        ("event = 'platform.commerce.order.updated'", "event"),
        ("object_id = 'ORD-0000-0000-0000'", "object.id"),
        ("documents = json_set(documents, '$.order.status', 'Cancelled')", "documents.order.status"),
        ("documents = json_set(documents, '$.order.lines[1]', json('true'))", "documents.order.lines[1]"),
        ("documents = json_set(documents, '$.more', 'x')", "documents.more"),
        ("documents = json_remove(documents, '$.order.status')", "documents.order.status"),
        ("documents = json_set(documents, '$.auditbox.occurredAt', 'x')", "documents.auditbox.occurredAt"),
        ("documents = json_set(documents, '$.auditbox.id', 'x')", "documents.auditbox.id"),
        ("documents = json_remove(documents, '$.auditbox.outbox')", "documents.auditbox.outbox"),
        ("documents = NULL", "documents"),
    ],
)
def test_a_record_that_differs_is_altered(
    deliver: Deliver, reconcile: Any, tamper: Any, change: str, field: str
) -> None:
    """Wherever it does, it says where; what takes the record out of the list does not make it missing."""
    remote = deliver(ORDER, ORDER)[0]
    tamper(f"UPDATE record SET {change} WHERE id = ?", remote)  # noqa: S608
    ((altered,), counts) = findings(reconcile("--json"), 1)
    assert (altered["finding"], altered["seq"], altered["remote_id"]) == ("altered", 1, remote)
    assert altered["fields"] == [field]
    assert (counts["missing"], counts["altered"]) == (0, 1)


def test_a_clock_that_was_wrong_makes_nothing_missing(deliver: Deliver, reconcile: Any, tamper: Any) -> None:
    """What the list of the time does not hold is asked for by its id."""
    remote = deliver(ORDER)[0]
    tamper("UPDATE record SET timestamp = '2020-01-01T00:00:00.000000Z' WHERE id = ?", remote)
    assert reconcile().returncode == 0


def test_what_is_pending_dead_or_discarded_is_explained(
    run: Run, path: Path, deliver: Deliver, reconcile: Any, api: Emulator
) -> None:
    """It is not expected in the trail, and the status stays 0."""
    api.script({"action": "status", "status": 400, "object": OTHER})
    deliver(ORDER, OTHER, OTHER)
    run("dead", "discard", "2", "--reason", "agreed with Ann", "--outbox", path)
    AuditTrail(path, extension="shop").record("order.created", object=ORDER)
    lines, counts = findings(reconcile("--json"), 0)
    assert [(line["explained"], line["seq"]) for line in lines] == [
        ("pending", 4),
        ("dead", 3),
        ("discarded", 2),
    ]
    texts = [line["text"] for line in lines]
    assert "no relay is running" in texts[0]
    assert "400" in texts[1]
    assert texts[2].startswith("agreed with Ann (it was dead because: 400")
    assert counts == {
        "delivered": 1, "forgotten": 0, "pending": 1, "dead": 1, "discarded": 1, "gap": 0,
        "missing": 0, "doubled": 0, "altered": 0,
    }  # fmt: skip
    assert reconcile().stdout.endswith("as captured; 1 pending, 1 dead, 1 discarded\n")


def test_a_dead_letter_that_arrived_all_the_same_is_said(
    deliver: Deliver, reconcile: Any, api: Emulator, path: Path
) -> None:
    """A gateway may refuse what the API behind it has stored."""
    api.script({"action": "status", "status": 400, "commit": True, "count": 1})
    deliver(ORDER)
    ((dead,), _) = findings(reconcile("--json"), 0)
    assert dead["explained"] == "dead"
    assert "; the Audit API has it as AUD-" in dead["text"]


def test_other_outboxes_and_other_records_are_none_of_its_business(
    tmp_path: Path, deliver: Deliver, reconcile: Any, api: Emulator
) -> None:
    """The trail holds more than what this outbox sent."""
    deliver(ORDER)
    with AuditTrail(tmp_path / "other.db", sink=api.url, token=TOKEN, extension="shop") as other:
        other.record("order.approved", object=ORDER)
        assert other.flush(30)
    with AuditApi(api.url, token=TOKEN) as client:
        for documents in (None, {"auditbox": {"outbox": "x", "seq": "1"}}, {"auditbox": 7}):
            client.records.create(
                event="extensions.x.y", summary="s", details="d", object=ORDER, documents=documents
            )
    assert reconcile().stdout == "1 delivered: all there, once, as captured\n"


def test_since_and_until_choose_by_the_time_of_capture(
    deliver: Deliver, reconcile: Any, tamper: Any, path: Path
) -> None:
    """What was captured outside is neither looked for nor counted."""
    remote = deliver(ORDER, ORDER)[0]
    tamper("DELETE FROM record WHERE id = ?", remote)
    story = Inspection(path).story("1")
    assert story is not None
    assert story.captured_at is not None
    assert reconcile("--since", story.captured_at.isoformat()).returncode == 1
    assert findings(reconcile("--json", "--until", story.captured_at.isoformat()), 0)[1]["delivered"] == 0
    assert findings(reconcile("--json", "--since", "2100-01-01"), 0)[1]["delivered"] == 0
    nothing = reconcile("--since", "2100-01-01")
    assert (nothing.returncode, nothing.stdout.startswith("nothing was captured in that time")) == (0, True)


def test_a_damaged_entry_counts_as_altered(deliver: Deliver, reconcile: Any, path: Path) -> None:
    """Nobody can say any more what was captured."""
    deliver(ORDER)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entry SET body = replace(body, 'Processing', 'Cancelled!')")
    db.close()
    ((altered,), _) = findings(reconcile("--json"), 1)
    assert "own copy is damaged" in altered["text"]


def test_several_pages_are_compared(deliver: Deliver, reconcile: Any, tamper: Any) -> None:
    """The findings of each of them."""
    ids = deliver(*[ORDER] * 230)
    tamper("DELETE FROM record WHERE id = ?", ids[5])
    tamper("UPDATE record SET summary = 'x' WHERE id = ?", ids[150])
    tamper("UPDATE record SET summary = 'y' WHERE id = ?", ids[229])
    lines, counts = findings(reconcile("--json"), 1)
    assert [(line["finding"], line["seq"]) for line in lines] == [
        ("altered", 151),
        ("altered", 230),
        ("missing", 6),
    ]
    assert counts["delivered"] == 230


def test_it_asks_the_outboxs_own_api_and_no_other(run: Run, deliver: Deliver, path: Path) -> None:
    """Another address would call everything missing: it is refused, as is a missing token."""
    deliver(ORDER)
    elsewhere = run("reconcile", "--outbox", path, "--url", "https://example.com", MPT_API_TOKEN=TOKEN)
    assert (elsewhere.returncode, elsewhere.stdout, elsewhere.stderr.count("\n")) == (2, "", 1)
    assert "belongs to" in elsewhere.stderr
    nobody = run("reconcile", "--outbox", path)
    assert nobody.returncode == 2
    assert "MPT_API_TOKEN" in nobody.stderr


def test_an_api_that_is_away_is_no_verdict(run: Run, deliver: Deliver, path: Path, api: Emulator) -> None:
    """Status 2 and one line: that it cannot be told is not that something is missing."""
    deliver(ORDER)
    api.script({"action": "status", "status": 401})
    result = run("reconcile", "--outbox", path, MPT_API_TOKEN=TOKEN)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "401" in result.stderr


def test_no_outbox_is_one_line(run: Run, path: Path) -> None:
    """And none is made."""
    result = run("reconcile", "--outbox", path, MPT_API_TOKEN=TOKEN)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "there is no outbox at" in result.stderr
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("stored", "shown", "expected"),
    [
        ({"a": None}, {}, []),
        ({"a": {}, "b": [], "c": ""}, {}, []),
        ({"n": 1}, {"n": 1.0}, []),
        ({"n": 1}, {"n": True}, ["documents.n"]),
        ({"n": 0}, {"n": None}, ["documents.n"]),
        ({"user": {"password": "***"}}, {"user": {"password": "********"}}, []),
        ({"user": {"password": "***"}}, {"user": {"password": "hunter2"}}, ["documents.user.password"]),
        ({"price": {"SPxY": 5, "PPxY": 4}}, {"price": {"PPxY": 4}}, []),
        ({"price": {"SPxY": 5, "PPxY": 4}}, {"price": {"PPxY": 3}}, ["documents.price.PPxY"]),
        ({"price": {"SPxY": 5}}, {}, []),
        ({"price": {"SPxY": 5, "currency": "USD"}}, {}, ["documents.price"]),
        ({"l": [1, 2]}, {"l": [1]}, ["documents.l"]),
        ({"a": {"b": 1}}, {"a": [1]}, ["documents.a"]),
    ],
)
def test_what_counts_as_the_same(stored: Any, shown: Any, expected: list[str]) -> None:
    """Nulls and prices that are left out and secrets that are masked do; another value or type does not."""
    body = {"event": "e", "summary": "s", "details": "d", "object": {"id": ORDER}, "documents": stored}
    record = AuditRecord.model_validate({**body, "id": "AUD-1", "documents": shown})
    assert differences(body, record, "o", 1) == expected


def test_a_vendor_compares_what_it_is_shown(run: Run, path: Path) -> None:
    """Prices that the platform hides from its account are not taken for altered."""
    token = "idt:TKN-1111-1111:vendor"
    price = {"SPxY": 165, "markup": 10, "PPxY": 150, "currency": "USD"}
    with running(strict=True) as emulator:
        with AuditTrail(path, sink=emulator.url, token=token, extension="shop") as trail:
            trail.record("order.approved", object=ORDER, documents={"order": {"id": ORDER, "price": price}})
            assert trail.flush(30)
        with AuditApi(emulator.url, token=token) as client:
            (record,) = client.records.list("like(event,'extensions.*')", select="documents")
        assert record.documents is not None
        assert record.documents["order"]["price"] == {"PPxY": 150, "currency": "USD"}
        result = run("reconcile", "--outbox", path, MPT_API_TOKEN=token)
    assert (result.returncode, result.stdout) == (0, "1 delivered: all there, once, as captured\n")


def test_documents_nested_beyond_pythons_stack_are_compared() -> None:
    """One difference at the bottom is found, and named."""
    deep: Any = 1
    other: Any = 2
    for _ in range(3000):
        deep, other = [deep], [other]
    body = {"event": "e", "summary": "s", "details": "d", "object": {"id": ORDER}, "documents": {"x": deep}}
    record = AuditRecord.model_construct(
        id="AUD-1", event="e", summary="s", details="d", object=None, documents={"x": other}
    )
    found = differences(body, record, "o", 1)
    assert len(found) == 2
    assert found[0].startswith("documents.x[0][0]")


def test_numbers_are_held_on_disk(path: Path, capture: Callable[..., list[str]]) -> None:
    """Page by page; they come back in order."""
    capture(*[ORDER] * 30)
    with Numbers(path) as numbers:
        numbers.fill(None, None)
        assert [known.seq for known in numbers.of_state("pending")] == list(range(1, 31))
        numbers.found(7, "AUD-1", None)
        assert [known.seq for known in numbers.of_state("pending", only_absent=True)] == [
            *range(1, 7),
            *range(8, 31),
        ]
        assert numbers.known(31) is None
