"""The WAL as a file: kept and written over, never without bounds, of full size where it is synced."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from auditbox.outbox import wal
from auditbox.outbox.sqlite import SqliteOutbox
from tests.outbox.conftest import draft

Make = Callable[..., SqliteOutbox]
KEPT = 256 << 10


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small WAL, and no thread that looks after it."""
    monkeypatch.setattr("auditbox.outbox.wal.KEPT", KEPT)
    monkeypatch.setattr("auditbox.outbox.upkeep.PERIOD", 3600.0)


def fill(outbox: SqliteOutbox, size: int) -> None:
    """Captures until the WAL's file has this size."""
    while outbox.wal_bytes() < size:
        outbox.append([draft(body=b"x" * 3000)])


def test_a_wal_reaches_what_was_written_in_this_turn(make: Make) -> None:
    """Its size says nothing: what an earlier turn has left stands behind."""
    outbox = make()
    assert not wal.reaches(outbox.wal, 0)
    fill(outbox, 100_000)
    assert wal.reaches(outbox.wal, 90_000)
    assert not wal.reaches(outbox.wal, 200_000)
    outbox.checkpoint()
    outbox.append([draft()])
    assert outbox.wal_bytes() >= 100_000
    assert wal.reaches(outbox.wal, 0)
    assert not wal.reaches(outbox.wal, 50_000)


def test_a_wal_is_written_over_and_keeps_its_size(make: Make) -> None:
    """Up to KEPT; a larger one goes back to it."""
    outbox = make()
    for _ in range(3):
        fill(outbox, KEPT - 20_000)
        outbox.checkpoint()
        before = outbox.wal_bytes()
        outbox.append([draft()])
        assert outbox.wal_bytes() == before
    fill(outbox, 2 * KEPT)
    outbox.checkpoint()
    outbox.append([draft()])
    assert outbox.wal_bytes() == KEPT


def test_whoever_captures_checkpoints_a_huge_wal(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when the thread that does it otherwise never has its turn."""
    monkeypatch.setattr("auditbox.outbox.room._HUGE_WAL", 2 * KEPT)
    monkeypatch.setattr("auditbox.outbox.room._PORTION", 50_000)
    outbox = make()
    largest = 0
    for _ in range(1000):
        outbox.append([draft(body=b"x" * 3000)])
        largest = max(largest, outbox.wal_bytes())
    assert 2 * KEPT < largest < 4 * KEPT
    assert outbox.path.stat().st_size > 2_000_000


def test_power_starts_with_a_wal_of_full_size(make: Make) -> None:
    """Zeros behind what is written; recovery stops before them, and every entry is there."""
    outbox = make(durability="power")
    for _ in range(5):
        outbox.append([draft()])
    content = outbox.wal.read_bytes()
    assert len(content) == KEPT
    assert content.endswith(bytes(KEPT // 2))
    copy = outbox.path.with_name("copy.db")
    copy.write_bytes(outbox.path.read_bytes())
    copy.with_name("copy.db-wal").write_bytes(content)
    with sqlite3.connect(copy) as db:
        assert db.execute("SELECT count(*) FROM entry").fetchone() == (5,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_a_wal_that_was_killed_before_its_first_commit_is_an_empty_one(make: Make, tmp_path: Path) -> None:
    """Nothing but zeros: the outbox opens, and what is captured then is there."""
    outbox = make()
    outbox.append([draft()])
    outbox.close()
    outbox.wal.write_bytes(bytes(KEPT))
    outbox.append([draft()])
    assert outbox.last_seq() == 2


def test_a_wal_grows_to_its_size_behind_what_another_process_left(make: Make) -> None:
    """What is in it stays, and nothing is written over while others write."""
    first, second = make(), make(durability="power")
    for _ in range(3):
        first.append([draft()])
    threads = [threading.Thread(target=outbox.append, args=([draft()],)) for outbox in (first, second) * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert first.last_seq() == second.last_seq() == 13
    assert first.wal_bytes() == KEPT
