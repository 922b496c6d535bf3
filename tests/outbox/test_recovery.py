"""An outbox that has lost its newest part: nothing is doubled, no number is given twice, and it is told."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from auditbox.outbox import clock, recovery
from auditbox.outbox.base import Claim, Delivered, Draft, Now
from auditbox.outbox.inspection import Inspection
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.uuid7 import uuid7

Make = Callable[..., SqliteOutbox]
NOW = Now(time.time(), 1000.0, time.time() + 5)


def drafts(*lanes: str) -> list[Draft]:
    return [Draft(uuid7(), lane, b"{}") for lane in lanes]


def copy(outbox: SqliteOutbox, folder: Path) -> Path:
    """The database and its write-ahead log as they are now, and no more: as after a kill."""
    folder.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{outbox.path}{suffix}", folder / f"audit.db{suffix}")
    return folder / "audit.db"


def claimed(outbox: SqliteOutbox) -> list[Claim]:
    epoch = outbox.take_over(NOW, 0, clock.identity())
    return outbox.exchange(epoch, [], 16, NOW, 60).claims


def test_what_a_relay_has_claimed_and_is_gone_is_looked_up(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of the WAL is cut off: what may have been sent since is not sent blindly."""
    outbox = make()
    outbox.append(drafts("A", "B", "B"))
    claimed(outbox)
    cut = copy(outbox, tmp_path / "cut")
    epoch = outbox.take_over(NOW, 0, clock.identity())
    found = outbox.exchange(epoch, [], 16, NOW, 60).claims
    outbox.exchange(epoch, [Delivered(claim.entry.seq, "R", 1.0) for claim in found], 16, NOW, 60)
    shutil.copy(outbox.relay_lock, cut.with_name("audit.db.relay"))
    after = SqliteOutbox(cut)
    assert [claim.action for claim in claimed(after)] == ["verify", "verify"]
    assert "its newest part is gone" in caplog.text
    after.close()


def test_numbers_that_were_sent_are_not_given_again(make: Make, tmp_path: Path) -> None:
    """Entries are gone that a relay had seen: numbers go on above them, and a tombstone says why."""
    outbox = make()
    outbox.append(drafts("A"))
    cut = copy(outbox, tmp_path / "cut")
    outbox.append(drafts("B", "C"))
    assert len(claimed(outbox)) == 3
    shutil.copy(outbox.relay_lock, cut.with_name("audit.db.relay"))
    after = SqliteOutbox(cut)
    after.append(drafts("D"))
    assert after.last_seq() == 4
    assert {claim.entry.seq for claim in claimed(after)} == {1, 4}
    (tombstone,) = Inspection(cut).tombstones()
    assert (tombstone.seq, tombstone.last, tombstone.id) == (2, 3, None)
    assert "newest part is gone" in tombstone.reason
    after.close()


def machine_restarts(path: Path) -> None:
    """As if the machine had been started anew since: the connection leaves its WAL behind."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("UPDATE lead SET clock = 'another start'")
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{path}{suffix}-kept")
    db.close()
    for suffix in ("", "-wal"):
        shutil.move(f"{path}{suffix}-kept", f"{path}{suffix}")


def test_after_a_power_cut_what_was_reserved_is_looked_up(make: Make, tmp_path: Path) -> None:
    """Reserved numbers may have been sent and forgotten; those above them have not been."""
    outbox = make()
    outbox.append(drafts("A"))
    claimed(outbox)
    outbox.append(drafts(*[f"L{number}" for number in range(recovery.BLOCK + 10)]))
    cut = copy(outbox, tmp_path / "cut")
    machine_restarts(cut)
    after = SqliteOutbox(cut)
    epoch = after.take_over(NOW, 0, clock.identity())
    found: list[Claim] = []
    while claims := after.exchange(epoch, [], 100, NOW, 60).claims:
        found += claims
    last, newest = recovery.BLOCK + 1, recovery.BLOCK + 11
    assert [claim.entry.seq for claim in found if claim.action == "send"] == list(range(last + 1, newest + 1))
    assert [claim.entry.seq for claim in found if claim.action == "verify"] == list(range(1, last + 1))
    after.close()


def test_what_is_in_doubt_is_looked_for_since_before_its_capture(make: Make, tmp_path: Path) -> None:
    """When it was sent is forgotten: the look-up must not stop at what is younger than that."""
    outbox = make()
    claimed(outbox)
    outbox.append(drafts("A"))
    with sqlite3.connect(outbox.path) as db:
        db.execute("UPDATE lead SET reserved = 10")
    db.close()
    cut = copy(outbox, tmp_path / "cut")
    machine_restarts(cut)
    after = SqliteOutbox(cut)
    (claim,) = claimed(after)
    assert claim.action == "verify"
    assert claim.sent_at is not None
    assert claim.sent_at < NOW.sink - 3600
    assert after.last_seq() == 10
    after.close()


def test_a_machine_that_was_shut_down_in_good_order_puts_nothing_in_doubt(make: Make) -> None:
    """Closed, the outbox has no WAL, and nothing can be missing."""
    outbox = make()
    outbox.append(drafts("A", "A"))
    claimed(outbox)
    outbox.close()
    with sqlite3.connect(outbox.path) as db:
        db.execute("UPDATE lead SET clock = 'another start'")
    db.close()
    outbox.append(drafts("B"))
    assert outbox.last_seq() == 3
    assert [(claim.entry.seq, claim.action) for claim in claimed(outbox)] == [(1, "verify"), (3, "send")]
    assert Inspection(outbox.path).tombstones() == []


def test_numbers_are_on_the_disk_before_they_are_sent(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sync for a block of numbers, not one for each claim."""
    outbox, synced = make(), []
    monkeypatch.setattr("auditbox.outbox.wal.sync", synced.append)
    monkeypatch.setattr("auditbox.outbox.upkeep.PERIOD", 3600.0)  # which syncs, too
    outbox.append(drafts(*[f"L{number}" for number in range(recovery.BLOCK + 1)]))
    epoch, settled = outbox.take_over(NOW, 0), []
    for _ in range(recovery.BLOCK + 1):
        (claim,) = outbox.exchange(epoch, settled, 1, NOW, 60).claims
        settled = [Delivered(claim.entry.seq, "R", 1.0)]
        assert synced == [outbox.wal]
    outbox.append(drafts("A"))
    assert outbox.exchange(epoch, settled, 1, NOW, 60).claims[0].entry.seq == recovery.BLOCK + 2
    assert synced == [outbox.wal] * 2


def test_a_relay_makes_sure_of_what_another_has_reserved(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other may have died between its commit and its sync."""
    monkeypatch.setattr("auditbox.outbox.upkeep.PERIOD", 3600.0)  # which syncs, too
    first = make()
    first.append(drafts("A", "B", "C"))
    first.exchange(first.take_over(NOW, 0), [], 1, NOW, 60)
    synced: list[object] = []
    monkeypatch.setattr("auditbox.outbox.wal.sync", synced.append)
    second = make()
    epoch = second.take_over(NOW, 0)
    assert len(second.exchange(epoch, [], 1, NOW, 60).claims) == 1
    assert synced == [second.wal]
    second.exchange(epoch, [], 1, NOW, 60)
    assert synced == [second.wal]


def test_a_new_outbox_in_place_of_a_deleted_one_is_made_sure_of_too(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reserves the same numbers."""
    monkeypatch.setattr("auditbox.outbox.upkeep.PERIOD", 3600.0)  # which syncs, too
    monkeypatch.setattr("auditbox.outbox.connection.GLANCE", 0.0)
    outbox, synced = make(), []
    monkeypatch.setattr("auditbox.outbox.wal.sync", synced.append)
    for _ in range(2):
        outbox.append(drafts("A"))
        outbox.exchange(outbox.take_over(NOW, 0), [], 1, NOW, 60)
        for file in outbox.path.parent.glob("audit.db*"):
            file.unlink()
    assert synced == [outbox.wal] * 2
