"""What writers leave for each other in the file of their lock: the newest number, and whether it counts."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from auditbox.outbox.base import Delivered, Now
from auditbox.outbox.files import FileLock
from auditbox.outbox.handover import FILES, WriterLock, noted
from auditbox.outbox.inspection import Inspection
from auditbox.outbox.sqlite import SqliteOutbox

from .conftest import draft

FRAME = 24 + 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


def in_a_child(work: Callable[[], object]) -> None:
    """Does it in another process, which is killed then."""
    if (pid := os.fork()) == 0:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def capture(path: Path, count: int) -> None:
    outbox = SqliteOutbox(path)
    for _ in range(count):
        outbox.append([draft()])


def rows(path: Path) -> list[tuple[int, str]]:
    db = sqlite3.connect(path)
    try:
        return db.execute("SELECT seq, lane FROM entry ORDER BY seq").fetchall()
    finally:
        db.close()


def name_of(path: Path) -> str:
    with sqlite3.connect(path) as db:
        (name,) = db.execute("SELECT outbox FROM meta").fetchone()
    db.close()
    return str(name)


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 4
    with file.open("r+b") as same:
        same.write(content)


def test_what_a_killed_program_has_captured_is_noted_beside_its_outbox(path: Path) -> None:
    """Also where nothing has relayed yet, so that a missing newest part is known to be missing."""
    in_a_child(lambda: capture(path, 3))
    assert noted(path, name_of(path)) == 3


@pytest.mark.parametrize("place", [4, 10, 18, 24, 2000])
def test_damage_in_the_last_transaction_is_told(
    path: Path, caplog: pytest.LogCaptureFixture, place: int
) -> None:
    """It looks like a transaction that a kill has interrupted; but its number had been noted."""
    in_a_child(lambda: capture(path, 3))
    log = path.with_name("audit.db-wal")
    flip(log, log.stat().st_size - FRAME + place)
    outbox = SqliteOutbox(path)
    outbox.append([draft("NEXT")])
    outbox.close()
    whole = [(seq, lane) for seq, lane in rows(path) if lane not in ("sentinel", "NEXT")]
    lost = 3 - len(whole)
    assert lost
    assert f"its newest part is gone: {lost} entries at least" in caplog.text
    assert sum(stone.last - stone.seq + 1 for stone in Inspection(path).tombstones()) == lost
    assert rows(path)[-1] == (4, "NEXT")


def test_processes_that_take_turns_give_every_number_once(path: Path) -> None:
    """Each takes the newest number from the other's note."""
    outbox = SqliteOutbox(path)
    for turn in range(4):
        outbox.append([draft(f"HERE-{turn}")])
        in_a_child(lambda: capture(path, 2))
    outbox.append([draft("HERE-4")])
    outbox.close()
    assert [seq for seq, _ in rows(path)] == list(range(1, 14))


def test_a_writer_that_was_killed_between_commit_and_note_leaves_no_number_to_be_given_twice(
    path: Path, tmp_path: Path
) -> None:
    """Its entry may even be forgotten before anybody else captures."""
    mine = SqliteOutbox(path)
    mine.append([draft()])
    lock = WriterLock(path.with_name("audit.db.lock"))
    lock.acquire(5)
    lock.words[0], lock.words[FILES] = lock.mark, 0  # as the other one leaves it before its commit
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO entry SELECT 9, id, lane, body, checksum FROM entry")
    db.close()
    lock.release()
    mine.append([draft("NEXT")])
    mine.close()
    assert [seq for seq, _ in rows(path)] == [1, 9, 10]


@pytest.mark.parametrize("word", [1, 2])
def test_a_damaged_note_says_nothing(path: Path, caplog: pytest.LogCaptureFixture, word: int) -> None:
    """The outbox is taken as it is, and goes on."""
    in_a_child(lambda: capture(path, 3))
    flip(path.with_name("audit.db.lock"), word * 8 + 3)
    outbox = SqliteOutbox(path)
    outbox.append([draft("NEXT")])
    outbox.close()
    assert "newest part" not in caplog.text
    assert rows(path)[-1] == (4, "NEXT")


def test_the_note_of_another_outbox_says_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The database was deleted, and its lock was not."""
    in_a_child(lambda: capture(path, 3))
    for suffix in ("", "-wal", "-shm"):
        path.with_name(f"audit.db{suffix}").unlink()
    outbox = SqliteOutbox(path)
    outbox.append([draft("NEXT")])
    outbox.close()
    assert "newest part" not in caplog.text
    assert rows(path) == [(1, "NEXT")]


def test_an_outbox_of_an_earlier_day_is_known_to_be_one(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Put back from a copy: what is missing is told, and no number is given twice."""
    outbox = SqliteOutbox(path)
    outbox.append([draft()])
    outbox.close()
    copy = path.read_bytes()
    in_a_child(lambda: capture(path, 3))
    for suffix in ("-wal", "-shm"):
        path.with_name(f"audit.db{suffix}").unlink()
    with path.open("r+b") as same:
        same.truncate()
        same.write(copy)
    outbox = SqliteOutbox(path)
    outbox.append([draft("NEXT")])
    outbox.close()
    assert "its newest part is gone: 3 entries at least" in caplog.text
    assert rows(path)[-1] == (5, "NEXT")


def test_an_older_lock_file_put_in_place_gives_no_number_twice(path: Path, tmp_path: Path) -> None:
    """Also where what had the numbers since is delivered and forgotten."""
    outbox = SqliteOutbox(path, keep_delivered=0)
    outbox.append([draft()])
    lock, copy = path.with_name("audit.db.lock"), tmp_path / "copy"
    copy.write_bytes(lock.read_bytes())
    for _ in range(5):
        outbox.append([draft()])
    now = Now(1000.0, 1000.0, 1000.0)
    epoch, settled = outbox.take_over(now, 0), []
    while claims := outbox.exchange(epoch, settled, 4, now, 60).claims:
        settled = [Delivered(claim.entry.seq, "R", 1.0) for claim in claims]
    assert outbox.retain() >= 5
    copy.rename(lock)
    time.sleep(0.06)
    outbox.append([draft("NEXT")])
    outbox.close()
    assert rows(path)[-1] == (7, "NEXT")


def test_after_an_orderly_restart_of_the_machine_nothing_is_in_doubt(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever opens the outbox second finds the log of the first, and knows that this is all."""
    outbox = SqliteOutbox(path)
    outbox.take_over(Now(1000.0, 1000.0, 1000.0), 0)
    outbox.append([draft()])
    outbox.close()
    with sqlite3.connect(path) as db:
        assert db.execute("UPDATE lead SET clock = 'another-boot 1'").rowcount == 1
    db.close()
    first = SqliteOutbox(path)
    first.append([draft()])
    second = SqliteOutbox(path)
    second.append([draft()])
    second.close()
    first.close()
    assert caplog.text == ""


def descriptors(path: Path) -> int:
    """How many this process has of a file."""
    found, count = path.stat(), 0
    for descriptor in map(int, os.listdir("/dev/fd")):
        with suppress(OSError):  # that of the listing itself
            count += os.path.samestat(os.fstat(descriptor), found)
    return count


@pytest.mark.parametrize("kind", [FileLock, WriterLock])
def test_a_lock_that_is_dropped_gives_its_descriptor_back(path: Path, kind: type[FileLock]) -> None:
    """And the lock with it, unless another process shares it; one that was given back can be taken again."""
    lock, other = kind(path), kind(path)
    lock.acquire(1)
    lock.forget()
    lock.acquire(1)

    def drop() -> None:
        nonlocal lock
        del lock

    in_a_child(drop)
    assert not other.try_acquire()
    drop()
    assert other.try_acquire()
    del other
    assert descriptors(path) == 0


def test_an_outbox_that_is_dropped_gives_its_descriptors_back(path: Path) -> None:
    """A program that makes one for each of its tasks, and closes none, goes on for ever."""
    for _ in range(20):
        SqliteOutbox(path).append([draft()])
    deadline = time.monotonic() + 20  # the upkeep's threads look at them now and then
    while descriptors(path.with_name("audit.db.lock")) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)
    assert descriptors(path.with_name("audit.db.lock")) == 0
