"""The ledger: what became of every number, for ever."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from auditbox.outbox import transitions
from auditbox.outbox.base import Dead, Delivered, Draft, Now
from auditbox.outbox.inspection import Inspection
from auditbox.outbox.ledger import Day, digest
from auditbox.outbox.rows import checksum
from auditbox.outbox.salvage import salvage
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.uuid7 import uuid7

Make = Callable[..., SqliteOutbox]
FIRST = date(2026, 1, 1)
NOW = Now(1_767_400_000.0, 1000.0, 1_767_400_000.0)
VERSION_1 = Path(__file__).parent / "data" / "version1.db"


def captured(day: int, second: int, lane: str) -> Draft:
    return Draft(uuid7((1_767_225_600 + 86400 * day + second) * 1000), lane, b"{}")


def settled(outbox: SqliteOutbox) -> dict[int, str]:
    """Three of one day, two of the next: 1 and 4 are delivered, 2 and 3 dead, 5 is under way; their ids."""
    outbox.append([captured(0, n, f"A{n}") for n in range(3)] + [captured(1, n, f"B{n}") for n in range(2)])
    epoch = outbox.take_over(NOW, 0)
    claims = outbox.exchange(epoch, [], 5, NOW, 60).claims
    refused = [Dead(seq, 0.0, {"reason": "400"}) for seq in (2, 3)]
    outbox.exchange(epoch, [Delivered(1, "R1", 1.0), Delivered(4, "R4", 1.0), *refused], 0, NOW, 60)
    return {claim.entry.seq: claim.entry.id for claim in claims}


def days(path: Path) -> list[Day]:
    return Inspection(path).ledger()


def test_a_day_says_what_became_of_its_entries(make: Make) -> None:
    """Numbers, counts, and a digest that whoever has the delivered records can work out."""
    outbox = make()
    ids = settled(outbox)
    first, second = days(outbox.path)
    assert (first.date, first.first, first.last) == (FIRST, 1, 3)
    assert (first.entries, first.delivered, first.dead, first.discarded, first.pending) == (3, 1, 2, 0, 0)
    assert (second.first, second.last, second.delivered, second.pending) == (4, 5, 1, 1)
    assert first.digest == digest([(1, ids[1])])
    assert [day.day for day in Inspection(outbox.path).ledger(date(2026, 1, 2))] == [second.day]
    assert [day.day for day in Inspection(outbox.path).ledger(until=FIRST)] == [first.day]


def test_the_digest_does_not_depend_on_the_order_of_delivery() -> None:
    """It is a sum; other numbers or ids give another."""
    pairs = [(1, "a"), (2, "b"), (3, "c")]
    assert digest(pairs) == digest(reversed(pairs))
    assert len({digest(pairs), digest(pairs[:2]), digest([(1, "b"), (2, "a"), (3, "c")])}) == 3


def test_a_replay_takes_the_death_back_and_a_discard_leaves_a_tombstone(make: Make) -> None:
    """The counts follow; what was given up is explained by number and reason."""
    outbox = make()
    ids = settled(outbox)
    letters = outbox.dead_letters()
    outbox.replay(letters[:1], NOW)
    outbox.discard(letters[1:], "agreed with Ann", NOW)
    first = days(outbox.path)[0]
    assert (first.dead, first.discarded, first.pending) == (0, 1, 1)
    (tombstone,) = Inspection(outbox.path).tombstones(1, 3)
    assert (tombstone.seq, tombstone.last, tombstone.id) == (3, 3, ids[3])
    assert tombstone.reason == "agreed with Ann (it was dead because: 400)"
    assert Inspection(outbox.path).tombstones(4, 5) == []


def test_retention_forgets_entries_and_not_what_became_of_them(make: Make) -> None:
    """Ledger and tombstones stay as they are when entries and receipts go."""
    outbox = make()
    settled(outbox)
    outbox.discard(outbox.dead_letters()[1:], "agreed", NOW)
    before, why = days(outbox.path), Inspection(outbox.path).tombstones()
    assert outbox._store.write(lambda db: transitions.forget(db, NOW.wall + 1, 100)) == 3
    assert (days(outbox.path), Inspection(outbox.path).tombstones()) == (before, why)
    assert Inspection(outbox.path).story("3") is None


def test_a_salvage_carries_the_ledger_over(make: Make) -> None:
    """Also what was forgotten by then; the numbers that are skipped have their tombstone."""
    outbox = make()
    settled(outbox)
    outbox.discard(outbox.dead_letters()[1:], "agreed", NOW)
    outbox._store.write(lambda db: transitions.forget(db, NOW.wall + 1, 100))
    before = days(outbox.path)
    outbox.close()
    salvage(outbox.path)
    assert days(outbox.path) == before
    given_up, skipped = Inspection(outbox.path).tombstones()
    assert (given_up.seq, skipped.seq, skipped.id) == (3, 6, None)
    assert skipped.last > 100_000


def test_what_a_salvage_cannot_carry_over_is_named(make: Make) -> None:
    """The number of a lost entry has a tombstone, and its day counts it as lost."""
    outbox = make()
    settled(outbox)
    outbox.append([captured(1, 5, "C"), captured(1, 6, "C")])
    outbox.close()
    with sqlite3.connect(outbox.path) as db:
        db.execute("UPDATE entry SET checksum = checksum + 1 WHERE seq IN (3, 6)")
    db.close()
    assert salvage(outbox.path).lost == 2
    first, second = days(outbox.path)
    assert (first.dead, first.lost, first.pending) == (1, 1, 0)
    assert (second.entries, second.pending, second.lost) == (3, 2, 0)
    reasons = {(one.seq, one.last): one.reason for one in Inspection(outbox.path).tombstones(1, 7)}
    assert reasons == {(3, 3): "lost: the outbox was damaged", (6, 6): "lost: the outbox was damaged"}


def test_receipts_that_are_lost_count_once_in_the_end(make: Make) -> None:
    """What is looked up and found again was delivered before: the digest of its day is not known any more."""
    outbox = make()
    settled(outbox)
    outbox.close()
    with sqlite3.connect(outbox.path) as db:
        db.execute("DELETE FROM receipt")
    db.close()
    salvage(outbox.path)
    epoch = outbox.take_over(NOW, 0)
    found = outbox.exchange(epoch, [], 16, NOW, 60).claims
    assert {(claim.entry.seq, claim.action) for claim in found} == {
        (1, "verify"),
        (4, "verify"),
        (5, "verify"),
    }
    outbox.exchange(epoch, [Delivered(claim.entry.seq, "R", 1.0) for claim in found], 0, NOW, 60)
    first, second = days(outbox.path)
    assert (first.delivered, first.dead, first.pending, first.digest) == (1, 2, 0, "")
    assert (second.delivered, second.pending, second.digest) == (2, 0, "")


def test_an_outbox_of_version_1_gets_its_ledger(tmp_path: Path) -> None:
    """It counts what is still kept; what had been forgotten, and what was given up, has tombstones."""
    path = tmp_path / "audit.db"
    shutil.copy(VERSION_1, path)
    os.chmod(path, 0o600)
    with sqlite3.connect(f"file:{VERSION_1}?mode=ro&immutable=1", uri=True) as old:
        entries = old.execute("SELECT seq, id, lane, body, checksum FROM entry").fetchall()
        delivered = old.execute(
            "SELECT seq, id FROM receipt JOIN entry USING (seq) WHERE outcome = 'delivered'"
        ).fetchall()
    old.close()
    outbox = SqliteOutbox(path, keep_delivered=1e12)
    outbox.last_seq()
    outbox.close()
    with sqlite3.connect(path) as new:
        assert new.execute("SELECT seq, id, lane, body, checksum FROM entry").fetchall() == entries
        assert new.execute("SELECT version FROM meta").fetchone() == (3,)
        assert new.execute("PRAGMA user_version").fetchone() == (3,)
    new.close()
    first, second = days(path)
    assert (first.first, first.last, first.entries, first.delivered) == (4, 8, 5, 5)
    assert (second.first, second.last, second.delivered, second.dead, second.discarded) == (9, 15, 2, 1, 1)
    assert second.pending == 3
    assert digest(delivered[:5]) == first.digest
    forgotten, given_up = Inspection(path).tombstones()
    assert (forgotten.seq, forgotten.last, forgotten.id) == (1, 3, None)
    assert given_up.reason.startswith("agreed")
    epoch = outbox.take_over(NOW, 0)
    claims = outbox.exchange(epoch, [], 16, NOW, 60).claims
    assert len(claims) == 5
    assert "send" in {claim.action for claim in claims}, "nothing is in doubt that was not sent"
    outbox.close()


def test_a_relay_of_an_earlier_auditbox_that_has_the_file_open_ends(tmp_path: Path) -> None:
    """It would send what a later one has sent; captures of its process go on."""
    path = tmp_path / "audit.db"
    shutil.copy(VERSION_1, path)
    os.chmod(path, 0o600)
    earlier = sqlite3.connect(path, isolation_level=None)
    assert earlier.execute("UPDATE relay SET cursor = cursor, heartbeat = 1").rowcount == 1
    later = SqliteOutbox(path, keep_delivered=1e12)
    newest = later.last_seq()
    with pytest.raises(sqlite3.OperationalError, match="heartbeat"):
        earlier.execute("UPDATE relay SET cursor = cursor, heartbeat = 1")
    row = (newest + 1, "id", "lane", b"{}", checksum(newest + 1, "id", "lane", b"{}"))
    earlier.execute("INSERT INTO entry (seq, id, lane, body, checksum) VALUES (?, ?, ?, ?, ?)", row)
    earlier.close()
    assert later.last_seq() == newest + 1
    later.close()


def test_a_correction_takes_the_next_number(make: Make) -> None:
    """In one transaction with the end of what it replaces; captures of the same process go on above it."""
    outbox = make()
    settled(outbox)
    letter, _ = outbox.dead_letters()
    assert outbox.fix(letter, captured(1, 9, "A9"), "wrong", NOW) == 6
    outbox.append([captured(1, 10, "A9")])
    assert outbox.last_seq() == 7
    assert outbox.fix(letter, captured(1, 11, "A9"), "again", NOW) is None
    assert outbox.last_seq() == 7
    assert [one.seq for one in Inspection(outbox.path).tombstones()] == [letter[0]]
