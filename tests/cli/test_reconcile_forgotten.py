"""``auditbox reconcile``: numbers whose entries are not kept any more, and numbers that never had one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from auditbox import AuditTrail
from auditbox.api import AuditApi
from auditbox.emulator import Emulator, running
from auditbox.outbox import transitions
from auditbox.outbox.base import Draft
from auditbox.outbox.inspection import Inspection
from auditbox.outbox.salvage import salvage
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.uuid7 import uuid7

from .conftest import ORDER, TOKEN, Run

OTHER = "AGR-1111-1111-1111"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
"""Of the first day; captures are an hour apart."""
Deliver = Callable[..., None]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Emulator]:
    """An emulator with a file."""
    with running(db=tmp_path / "api.db") as emulator:
        yield emulator


@pytest.fixture
def tamper(tmp_path: Path, api: Emulator) -> Callable[..., None]:
    """Changes what the emulator holds of a number, behind its back."""

    def tamper(sql: str, seq: int, *values: object) -> None:
        with sqlite3.connect(tmp_path / "api.db") as db:
            where = "json_extract(documents, '$.auditbox.seq') = ?"
            assert db.execute(f"{sql} WHERE {where}", (*values, seq)).rowcount == 1
        db.close()

    return tamper


@pytest.fixture
def deliver(path: Path, api: Emulator) -> Deliver:
    """Captures records at these days (0 is the first one) and delivers them."""

    def deliver(*days: float, about: str = ORDER) -> None:
        outbox = SqliteOutbox(path)
        for number, day in enumerate(days):
            id = uuid7(int((NOON + 86400 * day) * 1000) + number)
            body = {"event": "extensions.shop.order.approved", "summary": "s", "details": "d"}
            body |= {"object": {"id": about}, "documents": {"auditbox": {"id": id}}}
            outbox.append([Draft(id, about, json.dumps(body).encode())])
        outbox.close()
        with AuditTrail(path, sink=api.url, token=TOKEN, extension="shop") as trail:
            trail.flush(30)

    return deliver


@pytest.fixture
def forget(path: Path) -> Callable[[], int]:
    """Retention: everything settled goes but the newest entry; how many went."""

    def forget() -> int:
        outbox = SqliteOutbox(path)
        gone = outbox._store.write(lambda db: transitions.forget(db, 1e12, 10_000))
        outbox.close()
        return gone

    return forget


@pytest.fixture
def reconcile(run: Run, path: Path) -> Callable[..., Any]:
    """The lines and the counts of ``--json``, and the exit status; every number ever given is in a count."""

    def reconcile(*arguments: object) -> tuple[list[dict[str, Any]], dict[str, int], int]:
        done = run("reconcile", "--outbox", path, "--json", *arguments, MPT_API_TOKEN=TOKEN)
        assert done.returncode in {0, 1}, done.stderr
        *lines, counts = map(json.loads, done.stdout.splitlines())
        if not arguments:
            states = ("delivered", "pending", "dead", "discarded", "gap")
            assert sum(counts[state] for state in states) == Inspection(path).last_seq()
        return lines, counts, done.returncode

    return reconcile


def test_what_is_forgotten_is_found_by_number_and_id(
    run: Run, path: Path, deliver: Deliver, forget: Callable[[], int], reconcile: Any
) -> None:
    """All of it: also where only the newest entry is kept."""
    deliver(0, 0, 1, 1, 2)
    assert forget() == 4
    lines, counts, status = reconcile()
    assert (lines, counts["delivered"], counts["forgotten"], status) == ([], 5, 4, 0)
    text = run("reconcile", "--outbox", path, MPT_API_TOKEN=TOKEN).stdout
    assert text == "5 delivered: all there, once, as captured (4 no longer kept here: by number and id)\n"


def test_what_is_forgotten_and_gone_is_missing(
    run: Run, path: Path, deliver: Deliver, forget: Callable[[], int], reconcile: Any, tamper: Any
) -> None:
    """Numbers that follow one another are one finding."""
    deliver(*[0] * 6, 1)
    forget()
    for seq in (2, 3, 5):
        tamper("DELETE FROM record", seq)
    lines, counts, status = reconcile()
    assert [(line["finding"], line["seq"], line["last"]) for line in lines] == [
        ("missing", 2, 3),
        ("missing", 5, None),
    ]
    assert (counts["delivered"], counts["forgotten"], counts["missing"], status) == (7, 6, 3, 1)
    text = run("reconcile", "--outbox", path, MPT_API_TOKEN=TOKEN).stdout
    assert text.startswith("missing    2-3  delivered by the ledger, forgotten here since")


def test_another_id_than_was_delivered_is_altered(
    deliver: Deliver, forget: Callable[[], int], reconcile: Any, tamper: Any
) -> None:
    """The ledger's digest of the day tells; the other days are as they were."""
    deliver(0, 0, 1, 1, 2)
    forget()
    other = uuid7(int((NOON + 86400) * 1000) + 7)
    tamper("UPDATE record SET documents = json_set(documents, '$.auditbox.id', ?)", 3, other)
    ((altered,), counts, status) = reconcile()
    assert (altered["finding"], altered["seq"], altered["last"], status) == ("altered", 3, 4, 1)
    assert altered["text"].startswith("2026-03-02: ")
    assert counts["missing"] == 0
    tamper("UPDATE record SET documents = json_remove(documents, '$.auditbox.id')", 3)
    assert [line["finding"] for line in reconcile()[0]] == ["altered"]


def test_a_second_copy_of_what_is_forgotten_is_doubled(
    api: Emulator, deliver: Deliver, forget: Callable[[], int], reconcile: Any
) -> None:
    """The trail alone tells."""
    deliver(0, 0)
    forget()
    with AuditApi(api.url, token=TOKEN) as client:
        *_, one = client.records.iterate(select="documents")
        client.records.create(
            event=one.event, summary="s", details="d", object=ORDER, documents=one.documents
        )
    ((doubled,), _, status) = reconcile()
    assert (doubled["finding"], doubled["seq"], status) == ("doubled", 1, 1)


def test_since_and_until_choose_among_the_forgotten(
    deliver: Deliver, forget: Callable[[], int], reconcile: Any, tamper: Any
) -> None:
    """What the trail has by its own id; what it has not by the days of the ledger and the numbers around."""
    deliver(0, 0.1, 0.2, 1, 1.1, 1.2, 2, 2.1)
    forget()
    day = ["--since", "2026-03-02", "--until", "2026-03-03"]
    lines, counts, status = reconcile(*day)
    assert (lines, counts["delivered"], counts["forgotten"], status) == ([], 3, 3, 0)
    assert reconcile("--until", "2026-03-01T13:00Z")[1]["delivered"] == 1
    assert reconcile("--since", "2100-01-01")[1]["delivered"] == 0
    tamper("DELETE FROM record", 2)
    lines, counts, status = reconcile(*day)
    assert (lines, counts["delivered"], status) == ([], 3, 0)
    tamper("DELETE FROM record", 5)
    ((missing,), counts, status) = reconcile(*day)
    assert (missing["seq"], counts["delivered"], counts["missing"], status) == (5, 3, 1, 1)
    assert reconcile("--since", "2026-03-01T13:00Z", "--until", "2026-03-01T14:00Z")[1]["missing"] == 1
    assert reconcile("--since", "2026-03-01T17:00Z", "--until", "2026-03-01T18:00Z")[1]["missing"] == 0


def test_a_day_that_the_ledger_has_lost_is_looked_for_all_the_same(
    path: Path, deliver: Deliver, forget: Callable[[], int], reconcile: Any, tamper: Any
) -> None:
    """By its numbers, in the whole trail."""
    deliver(0, 0, 1, 2)
    forget()
    with sqlite3.connect(path) as db:
        assert db.execute("DELETE FROM ledger WHERE first = 1").rowcount == 1
    db.close()
    assert reconcile()[::2] == ([], 0)
    tamper("DELETE FROM record", 1)
    ((missing,), _, status) = reconcile()
    assert (missing["seq"], missing["last"], status) == (1, None, 1)


def test_a_clock_that_was_ahead_makes_nothing_missing(
    deliver: Deliver, forget: Callable[[], int], reconcile: Any
) -> None:
    """Records that arrived, by the server's clock, long before their capture are looked for as well."""
    deliver(36500, 36500.1)
    forget()
    lines, counts, status = reconcile()
    assert (lines, counts["delivered"], counts["forgotten"], status) == ([], 2, 1, 0)


def test_what_was_given_up_is_explained_for_ever(
    run: Run, path: Path, api: Emulator, deliver: Deliver, forget: Callable[[], int], reconcile: Any
) -> None:
    """By its tombstone, with number, id and reason, long after the entry has gone."""
    api.script({"action": "status", "status": 400, "object": OTHER})
    deliver(0, about=OTHER)
    run("dead", "discard", "1", "--reason", "agreed with Ann", "--outbox", path)
    deliver(1, 2)
    assert forget() == 2
    ((given_up,), counts, status) = reconcile()
    assert (given_up["explained"], given_up["seq"], status) == ("discarded", 1, 0)
    assert given_up["text"].startswith("agreed with Ann (it was dead because: 400")
    assert (counts["delivered"], counts["forgotten"], counts["discarded"]) == (2, 1, 1)
    assert reconcile("--since", "2026-03-02")[1]["discarded"] == 0


def test_numbers_that_were_skipped_are_explained(
    path: Path, deliver: Deliver, forget: Callable[[], int], reconcile: Any
) -> None:
    """After damage they jump, and the tombstone says why; the days before and after are accounted for."""
    deliver(0, 0, 1)
    forget()
    salvage(path)
    deliver(2)
    ((gap,), counts, status) = reconcile()
    assert (gap["explained"], gap["seq"], status) == ("gap", 4, 0)
    assert gap["last"] - gap["seq"] + 1 == counts["gap"] >= 100_000
    assert "damaged" in gap["text"]
    assert (counts["delivered"], counts["forgotten"]) == (4, 2)
    assert reconcile("--until", "2026-03-02")[1]["gap"] == 0


def test_what_is_there_of_numbers_that_were_lost_is_said(
    path: Path, deliver: Deliver, reconcile: Any
) -> None:
    """An entry that arrived, and was lost to damage before its receipt was written."""
    deliver(0, 0, 1)
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM receipt WHERE seq = 2")
        db.execute("INSERT INTO open (seq, lane, state) VALUES (2, 'x', 'verify')")
        db.execute("UPDATE entry SET checksum = 0 WHERE seq = 2")
    db.close()
    salvage(path)
    lines, counts, status = reconcile()
    assert [(line["seq"], line["last"]) for line in lines] == [(2, None), (4, lines[1]["last"])]
    assert lines[0]["text"] == "lost: the outbox was damaged; the Audit API has 1 record of it"
    assert (counts["delivered"], status) == (2, 0)
