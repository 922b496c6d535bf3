"""A writer that is alone captures without the lock between processes: what that must not cost the others."""

from __future__ import annotations

import linecache
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from auditbox.errors import OutboxBusy
from auditbox.outbox.base import Draft
from auditbox.outbox.files import FileLock
from auditbox.outbox.handover import WriterLock
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.outbox.statements import SQL

from .conftest import draft

Make = Callable[..., SqliteOutbox]

WRITER = """
import os, signal, sys
from auditbox.outbox.base import Draft
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.uuid7 import uuid7
outbox, stops = SqliteOutbox(sys.argv[1]), sys.argv[2:] == ["stops"]
while True:
    one = Draft(uuid7(), "L", b"{}")
    if not outbox.append_alone(one):
        outbox.append([one])
    alone = outbox._store._is_alone
    print(one.id, alone, flush=True)
    if alone and stops:
        stops = False
        os.kill(os.getpid(), signal.SIGSTOP)
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nowhere else is it known who is there")


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def assert_complete(path: Path, *ids: str) -> None:
    """Every number is given once, and these are stored."""
    found = rows(path, "SELECT seq, id FROM entry ORDER BY seq")
    assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
    assert set(ids) <= {id for _, id in found}


def capture(outbox: SqliteOutbox, one: Draft) -> str:
    """As a trail does; returns the id."""
    if not outbox.append_alone(one):
        outbox.append([one])
    return one.id


def until_alone(outbox: SqliteOutbox) -> None:
    deadline = time.monotonic() + 30
    while not outbox._store._is_alone and time.monotonic() < deadline:
        capture(outbox, draft())
        time.sleep(0.003)
    assert outbox._store._is_alone


def is_open_to_others(outbox: SqliteOutbox) -> bool:
    """Whether another process would open it at once."""
    lock = WriterLock(outbox.path.with_name("audit.db.lock"))
    try:
        return lock.try_acquire() and lock.share()
    finally:
        lock.forget()


def look(outbox: SqliteOutbox) -> None:
    """As the upkeep does, on its own thread."""
    thread = threading.Thread(target=outbox._store.glance)
    thread.start()
    thread.join()


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look of the upkeep but the test's own, and no waiting."""
    for module in ("connection", "store"):
        monkeypatch.setattr(f"auditbox.outbox.{module}.GLANCE", 3600.0)
    monkeypatch.setattr("auditbox.outbox.upkeep.PERIOD", 3600.0)
    monkeypatch.setattr("auditbox.outbox.connection._TOGETHER", 0.0)
    monkeypatch.setattr("auditbox.outbox.connection._MET", 0.0)
    monkeypatch.setattr("auditbox.outbox.store._JOIN", 0.0)


@pytest.fixture
def lone(make: Make, still: None) -> SqliteOutbox:
    """An outbox whose captures go on alone."""
    outbox = make()
    outbox.append([draft()])
    look(outbox)
    assert outbox.append_alone(draft())
    assert not is_open_to_others(outbox)
    return outbox


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Programs that capture all the time, and print what they captured and whether they are alone."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(tmp_path / "audit.db"), *options]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for program in started:
        program.kill()
        program.wait()
        if program.stdout:
            program.stdout.close()


def printed(program: subprocess.Popen[str], count: int) -> list[tuple[str, bool]]:
    """The next lines of a program."""
    assert program.stdout is not None
    lines = [program.stdout.readline().split() for _ in range(count)]
    return [(id, alone == "True") for id, alone in lines]


def printed_until_alone(program: subprocess.Popen[str]) -> list[str]:
    """What it captures until it is alone."""
    ids, alone = [], False
    deadline = time.monotonic() + 30
    while not alone and time.monotonic() < deadline:
        ((id, alone),) = printed(program, 1)
        ids.append(id)
    assert alone
    return ids


def test_who_is_alone_takes_no_lock_of_ours(lone: SqliteOutbox) -> None:
    """SQLite's own is enough where nobody else has written."""
    lock = FileLock(lone.path.with_name("audit.db.lock"))
    assert lock.try_acquire()
    assert lone.append_alone(draft())
    lock.forget()
    assert_complete(lone.path)


def test_nobody_stays_alone_after_the_last_capture(lone: SqliteOutbox) -> None:
    """The second look ends it, or whatever else is committed."""
    look(lone)
    assert not is_open_to_others(lone)
    look(lone)
    assert is_open_to_others(lone)
    assert lone.append_alone(draft())
    assert not is_open_to_others(lone)
    lone.append([draft()])
    assert is_open_to_others(lone)
    assert_complete(lone.path)


def test_nobody_is_alone_where_the_upkeep_does_not_look(
    lone: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stuck, or has ended: nobody would end it."""
    lone.append([draft()])
    monkeypatch.setattr("auditbox.outbox.connection.GLANCE", 0.0)
    assert lone.append_alone(draft())
    assert is_open_to_others(lone)


def test_the_log_can_be_begun_anew_after_the_last_capture(make: Make) -> None:
    """SQLite's read transaction, which is kept from one capture to the next, does not outlast it."""
    outbox = make()
    until_alone(outbox)
    deadline = time.monotonic() + 30
    with closing(sqlite3.connect(outbox.path, timeout=0)) as other:
        while other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] and time.monotonic() < deadline:
            time.sleep(0.01)
    assert is_open_to_others(outbox)
    assert outbox.wal_bytes() == 0


@pytest.mark.parametrize("late", [True, False])
def test_an_outbox_that_is_dropped_is_open_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Without a close, and before the garbage collector comes."""
    outbox = SqliteOutbox(tmp_path / "audit.db")
    until_alone(outbox)
    again = SqliteOutbox(tmp_path / "audit.db")
    if late:  # the thread of its upkeep sees nothing but that it is gone
        monkeypatch.setattr("auditbox.outbox.upkeep.Upkeep.look", lambda _: None)
    del outbox
    deadline = time.monotonic() + 30
    while not is_open_to_others(again) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_open_to_others(again)


def test_where_another_has_the_outbox_open_nobody_is_alone(lone: SqliteOutbox, make: Make) -> None:
    """Who was, sees it at its next capture or look; when the other one is gone, it is alone again."""
    other = make()
    other.append([draft()])
    assert not other._store._lock.has_joined
    capture(lone, draft())
    for _ in range(3):
        other.append([draft()])
        assert other._store._lock.has_joined
        capture(lone, draft())
        assert lone.append_alone(draft())
        assert is_open_to_others(lone)
    other.close()
    capture(lone, draft())
    assert lone.append_alone(draft())
    assert not is_open_to_others(lone)
    assert_complete(lone.path)


def test_the_next_capture_sees_who_has_come(
    lone: SqliteOutbox, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the other one has written anything."""
    monkeypatch.setattr("auditbox.outbox.connection._MET", 3600.0)
    other = make()
    assert other.last_seq() == 2
    capture(lone, draft())
    assert is_open_to_others(lone)


def test_a_look_sees_who_has_come(lone: SqliteOutbox, make: Make) -> None:
    """Also while something is captured all the time, and before the other one has written."""
    other = make()
    assert other.last_seq() == 2
    assert not is_open_to_others(lone)
    look(lone)
    assert is_open_to_others(lone)


def test_whoever_comes_waits_for_no_longer_than_a_look(
    writer: Callable[..., subprocess.Popen[str]], make: Make
) -> None:
    """Beside a program that captures all the time; every number is given once."""
    first = writer()
    before = printed_until_alone(first)
    outbox = make(busy_timeout=2.0)
    ours = [capture(outbox, draft()) for _ in range(300)]
    theirs = before + [id for id, _ in printed(first, 300)]
    assert outbox._store._lock.has_joined
    assert_complete(outbox.path, *ours, *theirs)


def test_a_kill_of_who_is_alone_leaves_the_outbox_to_others(
    writer: Callable[..., subprocess.Popen[str]], make: Make
) -> None:
    """All that had returned is there, and the next one goes on behind it."""
    told: list[str] = []
    for _ in range(5):
        program = writer()
        told += printed_until_alone(program)
        program.kill()
        rest = program.stdout.read() if program.stdout else ""
        told += [line.split()[0] for line in rest.split("\n")[:-1]]
        outbox = make(busy_timeout=0.5)
        told.append(capture(outbox, draft()))
        assert outbox._store._lock.has_joined
        outbox.close()
    assert_complete(make().path, *told)


def test_who_is_stopped_while_it_is_alone_stops_nobody_else(
    writer: Callable[..., subprocess.Popen[str]], make: Make
) -> None:
    """They go on after a moment; and so does it, behind what they have written."""
    program = writer("stops")
    told = printed_until_alone(program)
    os.waitpid(program.pid, os.WUNTRACED)
    outbox = make()
    ours = [capture(outbox, draft()) for _ in range(50)]
    program.send_signal(signal.SIGCONT)
    told += [id for id, _ in printed(program, 50)]
    ours += [capture(outbox, draft()) for _ in range(50)]
    assert_complete(outbox.path, *ours, *told)


@pytest.mark.parametrize("late", ["insert", "note"])
def test_who_is_held_up_within_a_capture_goes_on_behind_the_others(
    lone: SqliteOutbox, make: Make, late: str
) -> None:
    """SQLite refuses its insert, as others have written; or they go on behind it, and its note comes late."""
    other = make()

    def meanwhile() -> None:
        ours.extend(capture(other, draft("MEANWHILE")) for _ in range(3))

    ours: list[str] = []
    lone._store._cursor = Held(lone._store._cursor, late, meanwhile)  # type: ignore[assignment]
    ours.append(capture(lone, draft("HELD")))
    for _ in range(3):
        ours.append(capture(lone, draft()))
        ours.append(capture(other, draft()))
    assert_complete(lone.path, *ours)
    assert rows(lone.path, "SELECT count(*) FROM entry WHERE lane = 'HELD'") == [(1,)]


def test_a_note_that_comes_late_is_not_believed(lone: SqliteOutbox, make: Make) -> None:
    """Where it says a number that was given meanwhile, to an entry that is gone by now."""
    other = make()

    def meanwhile() -> None:
        other.append([draft() for _ in range(3)])
        other._store.write(
            lambda db: db.execute("DELETE FROM entry WHERE seq < (SELECT max(seq) FROM entry)")
        )

    lone._store._cursor = Held(lone._store._cursor, "note", meanwhile)  # type: ignore[assignment]
    assert lone.append_alone(draft())
    third = make()
    capture(lone, draft("LONE"))
    capture(third, draft("THIRD"))
    capture(other, draft("OTHER"))
    found = rows(lone.path, "SELECT seq, lane FROM entry WHERE seq > 6 ORDER BY seq")
    assert found == [(7, "LONE"), (8, "THIRD"), (9, "OTHER")]


def test_many_that_come_beside_one_that_is_held_up_wait_together(
    lone: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one after the other, behind the lock: all capture within the bound of each."""
    monkeypatch.setattr("auditbox.outbox.store._JOIN", 0.25)
    stored = []

    def come() -> None:
        outbox = SqliteOutbox(lone.path, busy_timeout=3.0)
        stored.append(capture(outbox, draft()))
        outbox.close()

    threads = [threading.Thread(target=come) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored) == 30
    assert_complete(lone.path, *stored)


def test_a_slow_commit_of_who_is_alone_is_waited_for(lone: SqliteOutbox, make: Make) -> None:
    """It has SQLite's lock and not ours: the bound is that of the outbox, not SQLite's."""
    other, begun = make(busy_timeout=30.0), threading.Event()

    def write_slowly() -> None:
        with closing(sqlite3.connect(lone.path, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            begun.set()
            time.sleep(2.5)
            db.execute("ROLLBACK")

    slow = threading.Thread(target=write_slowly)
    slow.start()
    begun.wait()
    other.append([draft()])
    slow.join()
    assert not other._store._lock.has_joined
    assert_complete(lone.path)


@pytest.mark.parametrize("end", ["close", "fork"])
def test_a_signal_handler_that_captures_while_the_file_is_closed_spoils_nothing(
    lone: SqliteOutbox, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """It may be alone again at that moment, on the connection that is closed next."""
    store, told = lone._store, list[str]()
    assert store.reader is not None
    close = store.reader.close

    def interrupted() -> None:
        one = draft()
        if lone.append_alone(one):
            told.append(one.id)
        close()

    monkeypatch.setattr(store.reader, "close", interrupted)
    if end == "close":
        store.close()
    else:
        store.before_fork()
        store.after_fork_in_parent()
    monkeypatch.undo()
    told += [capture(lone, draft()), capture(lone, draft())]
    assert_complete(lone.path, *told)


def test_a_lock_without_a_file_has_not_joined(tmp_path: Path) -> None:
    """It could not be opened again: nobody would know."""
    lock = WriterLock(tmp_path / "audit.db.lock")
    assert not lock.share()
    lock.join(0)
    assert lock.has_joined
    lock.forget()
    assert not lock.has_joined


class Held:
    """A cursor whose process is held up once, before or after the insert, while others do something."""

    def __init__(self, cursor: sqlite3.Cursor | None, late: str, meanwhile: Callable[[], None]) -> None:
        assert cursor is not None
        self.connection, self._cursor = cursor.connection, cursor
        self._late, self._meanwhile = late, meanwhile

    def execute(self, statement: str, given: tuple[object, ...]) -> None:
        late, self._late = self._late, ""
        if late == "insert":
            self._meanwhile()
        self._cursor.execute(statement, given)
        if late == "note":
            self._meanwhile()


def test_damage_is_not_repaired_under_who_may_still_write(lone: SqliteOutbox, make: Make) -> None:
    """It could go on in the file that was set aside; whoever meets the damage says so, and does it later."""
    other = make()
    other.append([draft()])
    error = sqlite3.DatabaseError("damage")
    with pytest.raises(OutboxBusy, match="does not go on"):
        other._store.read(lambda _: other._store._salvage(error))
    capture(lone, draft())
    other.append([draft()])
    other._store.read(lambda _: other._store._salvage(error))
    told = [capture(lone, draft()), capture(other, draft())]
    assert set(told) <= {id for (id,) in rows(lone.path, "SELECT id FROM entry")}


def test_a_writer_that_shares_no_lock_at_all_is_noticed(lone: SqliteOutbox) -> None:
    """SQLite refuses the next insert, whose number has been given meanwhile; the capture is stored."""
    with closing(sqlite3.connect(lone.path)) as other:
        other.execute(SQL["append"], (3, "other", "OTHER", b"{}", 0))
        other.commit()
    assert not lone.append_alone(draft("NEXT"))
    lone.append([draft("NEXT")])
    assert lone.append_alone(draft("LAST"))
    found = rows(lone.path, "SELECT seq, lane FROM entry WHERE seq > 2 ORDER BY seq")
    assert found == [(3, "OTHER"), (4, "NEXT"), (5, "LAST")]


def test_both_sides_of_a_fork_capture_on(make: Make) -> None:
    """Neither is alone any more, nor has anything from before."""
    outbox = make()
    until_alone(outbox)
    if (pid := os.fork()) == 0:
        with suppress(OutboxBusy):
            for _ in range(50):
                capture(outbox, draft("CHILD"))
        os.kill(os.getpid(), signal.SIGKILL)
    for _ in range(50):
        capture(outbox, draft("PARENT"))
    os.waitpid(pid, 0)
    found = rows(outbox.path, "SELECT lane, count(*) FROM entry WHERE lane IN ('CHILD', 'PARENT') GROUP BY 1")
    assert found == [("CHILD", 50), ("PARENT", 50)]
    assert_complete(outbox.path)


class Torn(BaseException):
    """What a signal handler raises."""


class Tear:
    """Raises before the line of this number that is run in what goes alone and ends it."""

    def __init__(self, line: int) -> None:
        self.left = line

    def is_at_a_try(self, frame: FrameType) -> bool:
        """There is no instruction there before which a signal could be handled."""
        return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() == "try:"

    def __call__(self, frame: FrameType, event: str, _: object) -> Tear | None:
        if event == "call":
            return self if frame.f_code.co_name in ("append_alone", "_go_alone", "_be_together") else None
        if event == "line" and not self.is_at_a_try(frame):
            self.left -= 1
            if self.left == 0:
                raise Torn
        return self


def steps(outbox: SqliteOutbox, drafts: list[Draft]) -> Iterator[str]:
    """Three captures, what ends them, and one more; yields what is captured for sure."""
    for one in drafts[:3]:
        if outbox.append_alone(one):
            yield one.id
    outbox._store.glance()
    outbox._store.glance()
    if outbox.append_alone(drafts[3]):
        yield drafts[3].id


def test_an_exception_of_a_signal_handler_leaves_the_outbox_to_others(make: Make, still: None) -> None:
    """Before any line: the next looks open it; what was told is there, and every number is given once.

    Its traceback, in which the frames live on, is kept as by a program that logs it later.
    """
    kept: list[Torn] = []
    line, whole, told = 0, False, list[str]()
    while not whole:
        line += 1
        outbox = make()
        outbox.append([draft()])
        look(outbox)
        drafts, tear = [draft() for _ in range(4)], Tear(line)
        sys.settrace(tear)
        try:
            for id in steps(outbox, drafts):
                told.append(id)
            whole = True
        except Torn as torn:
            kept.append(torn)
        finally:
            sys.settrace(None)
        if line % 2:
            told.append(capture(outbox, draft()))
        look(outbox)
        look(outbox)
        assert is_open_to_others(outbox)
        other = make(busy_timeout=0.1)
        told += [capture(other, draft()), capture(outbox, draft())]
        other.close()
        outbox.close()
    assert len(kept) > 60
    assert_complete(make().path, *told)


class Two:
    """Two that share an outbox, and what they have captured, in the order of its numbers."""

    def __init__(self, make: Make, chance: random.Random) -> None:
        self.make, self.chance = make, chance
        self.outboxes = [self.opened(), self.opened()]
        self.given: list[str] = []

    def opened(self) -> SqliteOutbox:
        return self.make(busy_timeout=0.001)

    def captures(self, which: int) -> None:
        self.given.append(capture(self.outboxes[which], draft()))

    def captures_many(self, which: int) -> None:
        drafts = [draft() for _ in range(self.chance.randrange(1, 4))]
        self.outboxes[which].append(drafts)
        self.given += [one.id for one in drafts]

    def looks(self, which: int) -> None:
        self.outboxes[which]._store.glance()

    def forgets(self, which: int) -> None:
        """As retention may that keeps nothing: a number that was given is in the file no more."""
        self.outboxes[which]._store.write(
            lambda db: db.execute("DELETE FROM entry WHERE seq < (SELECT max(seq) FROM entry)")
        )

    def closes(self, which: int) -> None:
        self.outboxes[which].close()

    def is_killed(self, which: int) -> None:
        store = self.outboxes[which]._store
        store._lock.forget()
        store._close()
        self.outboxes[which] = self.opened()

    def is_held_up(self, which: int) -> None:
        """Within a capture, while the other one goes on."""
        store, one = self.outboxes[which]._store, draft()
        if store._is_alone:
            before, late = len(self.given), self.chance.choice(["insert", "note"])

            def meanwhile() -> None:
                for _ in range(self.chance.randrange(8)):
                    with suppress(OutboxBusy):
                        self.chance.choice(ACTIONS[:-1])(self, 1 - which)

            store._cursor = Held(store._cursor, late, meanwhile)  # type: ignore[assignment]
            capture(self.outboxes[which], one)
            self.given.insert(before if late == "note" else len(self.given), one.id)


ACTIONS: list[Callable[[Two, int], None]] = [
    *[Two.captures] * 8, Two.captures_many, Two.looks, Two.looks, Two.forgets, Two.closes, Two.is_killed,
    Two.is_held_up,
]  # fmt: skip


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("seed", range(30))
def test_every_number_is_given_once_whoever_is_alone(make: Make, seed: int) -> None:
    """Captures, looks, retention, closes, kills, and captures that are held up, of two in any order: all
    stand in the order in which they were captured."""
    chance = random.Random(seed)
    two = Two(make, chance)
    two.captures(0)
    for _ in range(300):
        with suppress(OutboxBusy):
            chance.choice(ACTIONS)(two, chance.randrange(2))
        for seq, id in rows(two.outboxes[0].path, "SELECT seq, id FROM entry"):
            assert two.given[seq - 1] == id
    assert rows(two.outboxes[0].path, "SELECT max(seq) FROM entry") == [(len(two.given),)]
