"""A writer that is alone keeps the lock from one capture to the next: what that must not cost the others."""

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
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.outbox.statements import SQL

from .conftest import draft

Make = Callable[..., SqliteOutbox]

WRITER = """
import sys
from auditbox.outbox.base import Draft
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.uuid7 import uuid7
outbox = SqliteOutbox(sys.argv[1])
while True:
    one = Draft(uuid7(), "L", b"{}")
    if not outbox.append_alone(one):
        outbox.append([one])
    print(one.id, outbox._store._keeps, flush=True)
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nowhere else is it known who is there")


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def capture(outbox: SqliteOutbox, one: Draft) -> Draft:
    """As a trail does."""
    if not outbox.append_alone(one):
        outbox.append([one])
    return one


def until_it_keeps(outbox: SqliteOutbox) -> None:
    deadline = time.monotonic() + 30
    while not outbox._store._keeps and time.monotonic() < deadline:
        capture(outbox, draft())
        time.sleep(0.003)
    assert outbox._store._keeps


def is_free(outbox: SqliteOutbox) -> bool:
    lock = FileLock(outbox.path.with_name("audit.db.lock"))
    try:
        return lock.try_acquire()
    finally:
        lock.forget()


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look of the upkeep's thread in between, and no gap after one."""
    monkeypatch.setattr("auditbox.outbox.connection.GLANCE", 3600.0)
    monkeypatch.setattr("auditbox.outbox.upkeep.PERIOD", 3600.0)
    monkeypatch.setattr("auditbox.outbox.connection._GAP", 0.0)


@pytest.fixture
def keeper(make: Make, still: None) -> SqliteOutbox:
    """An outbox that has the lock, and goes on with it."""
    outbox = make()
    outbox.append([draft()])
    assert outbox.append_alone(draft())
    assert not is_free(outbox)
    return outbox


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Programs that capture all the time, and print what they captured and whether they keep the lock."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(tmp_path / "audit.db")]
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
    return [(id, keeps == "True") for id, keeps in lines]


def test_a_look_lets_go_of_a_lock_that_no_capture_has_needed_since(keeper: SqliteOutbox) -> None:
    """And of none that is in use; so does a commit of any other kind."""
    keeper.glance()
    assert not is_free(keeper)
    keeper.glance()
    assert is_free(keeper)
    assert keeper.append_alone(draft())
    assert not is_free(keeper)
    keeper.append([draft()])
    assert is_free(keeper)
    assert rows(keeper.path, "SELECT count(*), max(seq) FROM entry") == [(4, 4)]


def test_a_look_lets_go_of_a_lock_that_was_kept_for_long(
    keeper: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For whoever waits for it without being known to be there; and it is not taken again at once."""
    monkeypatch.setattr("auditbox.outbox.connection._GAP", 3600.0)
    keeper._store._keep_until = 0.0
    keeper.glance()
    assert is_free(keeper)
    assert keeper.append_alone(draft())
    assert is_free(keeper)


def test_the_log_can_be_begun_anew_after_the_last_capture(make: Make) -> None:
    """SQLite's read transaction, which is kept, too, does not outlast it; nor does the lock."""
    outbox = make()
    until_it_keeps(outbox)
    deadline = time.monotonic() + 30
    with closing(sqlite3.connect(outbox.path, timeout=0)) as other:
        while other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] and time.monotonic() < deadline:
            time.sleep(0.01)
    assert is_free(outbox)
    assert outbox.wal_bytes() == 0


def test_where_another_has_the_outbox_open_nobody_keeps_the_lock(keeper: SqliteOutbox, make: Make) -> None:
    """The other one gets it at the next look, however much is captured; when it is gone, it is kept again."""
    other = make(busy_timeout=0.01)
    with pytest.raises(OutboxBusy):
        other.append([draft()])
    assert keeper.append_alone(draft())
    keeper.glance()
    for _ in range(3):
        other.append([draft()])
        capture(keeper, draft())
        assert keeper.append_alone(draft())
        assert is_free(keeper)
    other.close()
    keeper._store._keep_from = 0.0
    capture(keeper, draft())
    assert keeper.append_alone(draft())
    assert not is_free(keeper)
    assert rows(keeper.path, "SELECT count(*), max(seq) FROM entry") == [(14, 14)]


def test_whoever_comes_waits_for_no_longer_than_a_look(
    writer: Callable[[], subprocess.Popen[str]], make: Make
) -> None:
    """Beside a program that captures all the time; every number is given once."""
    first = writer()
    before = printed(first, 300)
    assert any(keeps for _, keeps in before)
    outbox = make(busy_timeout=2.0)
    ours = [capture(outbox, draft()).id for _ in range(300)]
    theirs = [id for id, _ in before + printed(first, 300)]
    found = rows(outbox.path, "SELECT seq, id FROM entry ORDER BY seq")
    assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
    ids = [id for _, id in found]
    assert len(ids) == len(set(ids))
    assert {*ours, *theirs} <= set(ids)


def test_a_kill_of_who_keeps_the_lock_frees_it(
    writer: Callable[[], subprocess.Popen[str]], make: Make
) -> None:
    """All that had returned is there, and the next one goes on behind it."""
    told: set[str] = set()
    for _ in range(5):
        program = writer()
        lines = printed(program, 200)
        assert any(keeps for _, keeps in lines)
        program.kill()
        rest = program.stdout.read() if program.stdout else ""
        told |= {id for id, _ in lines} | {line.split()[0] for line in rest.split("\n")[:-1]}
        outbox = make(busy_timeout=0.5)
        told.add(capture(outbox, draft()).id)
        outbox.close()
    found = rows(make().path, "SELECT seq, id FROM entry ORDER BY seq")
    assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
    assert told <= {id for _, id in found}


def test_who_is_stopped_with_the_lock_makes_others_busy_until_it_goes_on(
    writer: Callable[[], subprocess.Popen[str]], make: Make
) -> None:
    """Nothing is lost by it: they say so, and capture afterwards."""
    program = writer()
    while not printed(program, 1)[0][1]:
        pass
    program.send_signal(signal.SIGSTOP)
    outbox, one = make(busy_timeout=0.3), draft("AFTER")
    with suppress(OutboxBusy):  # or it was stopped in a moment without the lock
        outbox.append([draft("BEFORE")])
    program.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 30
    while True:
        try:
            outbox.append([one])
            break
        except OutboxBusy:
            assert time.monotonic() < deadline
    assert rows(outbox.path, "SELECT count(*) FROM entry WHERE lane = 'AFTER'") == [(1,)]


def test_a_writer_that_shares_no_lock_at_all_is_noticed(keeper: SqliteOutbox) -> None:
    """SQLite refuses the next insert, whose number has been given meanwhile; the capture is stored."""
    with closing(sqlite3.connect(keeper.path)) as other:
        other.execute(SQL["append"], (3, "other", "OTHER", b"{}", 0))
        other.commit()
    assert not keeper.append_alone(draft("NEXT"))
    keeper.append([draft("NEXT")])
    assert keeper.append_alone(draft("LAST"))
    found = rows(keeper.path, "SELECT seq, lane FROM entry WHERE seq > 2 ORDER BY seq")
    assert found == [(3, "OTHER"), (4, "NEXT"), (5, "LAST")]


def test_both_sides_of_a_fork_capture_on(make: Make) -> None:
    """Neither keeps the other from the lock, nor has it from before."""
    outbox = make()
    until_it_keeps(outbox)
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


class Torn(BaseException):
    """What a signal handler raises."""


class Tear:
    """Raises before the line of this number that is run in what keeps the lock and lets go of it."""

    def __init__(self, line: int) -> None:
        self.left = line

    def is_at_a_try(self, frame: FrameType) -> bool:
        """There is no instruction there before which a signal could be handled."""
        return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() == "try:"

    def __call__(self, frame: FrameType, event: str, _: object) -> Tear | None:
        if event == "call":
            return self if frame.f_code.co_name in ("append_alone", "_keep", "_let_go") else None
        if event == "line" and not self.is_at_a_try(frame):
            self.left -= 1
            if self.left == 0:
                raise Torn
        return self


def look_twice(outbox: SqliteOutbox) -> None:
    """As the upkeep does, on its own thread."""
    for _ in range(2):
        thread = threading.Thread(target=outbox.glance)
        thread.start()
        thread.join()


def steps(outbox: SqliteOutbox, drafts: list[Draft]) -> Iterator[Draft]:
    """Three captures and what ends them; yields what is captured for sure."""
    for one in drafts[:3]:
        if outbox.append_alone(one):
            yield one
    outbox.glance()
    outbox.glance()
    if outbox.append_alone(drafts[3]):
        yield drafts[3]


def test_an_exception_of_a_signal_handler_leaves_the_lock_to_others(
    make: Make, still: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any line: the next look frees it; what was told is there, and no number is given twice.

    Its traceback, in which the frames live on, is kept as by a program that logs it later.
    """
    kept: list[Torn] = []
    line, whole = 0, False
    while not whole:
        line += 1
        outbox, told = make(), []
        outbox.append([draft()])
        drafts, tear = [draft() for _ in range(4)], Tear(line)
        sys.settrace(tear)
        try:
            for one in steps(outbox, drafts):
                told.append(one.id)
            whole = True
        except Torn as torn:
            kept.append(torn)
        finally:
            sys.settrace(None)
        look_twice(outbox)
        if line % 2:
            told.append(capture(outbox, draft()).id)
            look_twice(outbox)
        assert is_free(outbox), line
        other = make(busy_timeout=0.1)
        told.append(capture(other, draft()).id)
        told.append(capture(outbox, draft()).id)
        ids = [id for (id,) in rows(outbox.path, "SELECT id FROM entry ORDER BY seq")]
        assert [id for id in ids if id in told] == told
        other.close()
        outbox.close()
    assert len(kept) > 60
    found = rows(make().path, "SELECT count(*), max(seq) FROM entry")
    assert found[0][0] == found[0][1]


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("seed", range(20))
def test_no_number_is_given_twice_whoever_keeps_the_lock(
    make: Make, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Captures, looks, retention, closes and kills of two that share an outbox, in any order: all stand in
    the order in which they were captured."""
    monkeypatch.setattr("auditbox.outbox.connection._MET", 0.0)
    chance, given = random.Random(seed), []
    outboxes = [make(busy_timeout=0.001), make(busy_timeout=0.001)]

    def killed(which: int) -> None:
        store = outboxes[which]._store
        store._lock.forget()
        store._close()
        outboxes[which] = make(busy_timeout=0.001)

    for _ in range(300):
        which = chance.randrange(2)
        outbox, one = outboxes[which], draft()
        match chance.choice("ccccccccbggrxk"):
            case "c":
                with suppress(OutboxBusy):
                    given.append(capture(outbox, one).id)
            case "b":
                with suppress(OutboxBusy):
                    outbox.append([one])
                    given.append(one.id)
            case "g":
                outbox.glance()
            case "r":
                with suppress(OutboxBusy):
                    outbox._store.write(
                        lambda db: db.execute("DELETE FROM entry WHERE seq < (SELECT max(seq) FROM entry)")
                    )
            case "x":
                with suppress(OutboxBusy):
                    outbox.close()
            case _:
                killed(which)
        for seq, id in rows(outbox.path, "SELECT seq, id FROM entry") if given else []:
            assert given[seq - 1] == id
    assert rows(outboxes[0].path, "SELECT max(seq) FROM entry") == [(len(given),)]
