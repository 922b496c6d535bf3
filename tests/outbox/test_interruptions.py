"""Exceptions out of signal handlers, forks of several threads, and a close beside captures."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from auditbox.errors import OutboxBusy, OutboxError
from auditbox.outbox.base import Draft
from auditbox.outbox.combiner import _INSPECTED
from auditbox.outbox.job import Interrupted, Job
from auditbox.outbox.sqlite import SqliteOutbox

from .conftest import draft


class TimeLimit(Exception):
    """What a soft time limit raises."""


may_fall_into_a_finalizer = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)
"""Python ignores it there, and says so: in one of what an earlier test has left, for one."""


def committed(outbox: SqliteOutbox) -> set[str]:
    db = sqlite3.connect(f"file:{outbox.path}?mode=ro", uri=True)
    ids = {id for (id,) in db.execute("SELECT id FROM entry")}
    db.close()
    return ids


@may_fall_into_a_finalizer
def test_an_exception_out_of_a_signal_handler_leaves_a_working_outbox(outbox: SqliteOutbox) -> None:
    """Wherever it falls: what returned is committed, and every thread captures afterwards."""
    outbox.append([draft()])

    def limit(*_: object) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, limit)
    safe: set[str] = set()
    interrupted = 0
    try:
        while interrupted < 300:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + interrupted * 1e-6)
                for _ in range(5_000):  # then armed again: Python ignores what a finalizer raises
                    one = draft()
                    outbox.append([one])
                    safe.add(one.id)
            except TimeLimit:
                interrupted += 1
            except OutboxError:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    outbox.append([draft()])  # whoever was interrupted lets go at its next capture at the latest
    others = capture_in_threads(outbox, 4)
    assert len(others) == 4
    assert safe | set(others) <= committed(outbox)


@pytest.mark.parametrize("noted", [True, False])
def test_a_lead_that_was_left_behind_is_taken_over(outbox: SqliteOutbox, noted: bool) -> None:
    """The interrupted thread never captures again: the others do, and none meets OutboxBusy."""
    outbox.append([draft()])
    combiner = outbox._store._combiner
    combiner._lead.acquire()
    combiner._leading = noted
    captured = capture_in_threads(outbox, 4)
    assert len(captured) == 4
    assert set(captured) <= committed(outbox)
    outbox.append([draft()])  # and the one that was interrupted goes on, too
    assert len(committed(outbox)) == 6


def test_a_lead_that_ends_while_it_is_inspected_is_not_taken(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever led notes that nobody does, and the next one may lead already: the lock stays."""
    combiner = outbox._store._combiner

    def through_meanwhile() -> bool:
        combiner._leading = False
        return False

    monkeypatch.setattr(combiner, "_somebody_may_lead", through_meanwhile)
    lead = combiner._lead
    combiner._look_for_the_leader()
    assert combiner._lead is lead
    assert combiner._leading is False


def test_an_inspection_that_begins_under_way_changes_nothing(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has the lock leads, and returns when it has committed."""
    combiner = outbox._store._combiner
    outbox.append([draft()])

    def begins() -> bool:
        combiner._leading = _INSPECTED
        return False

    monkeypatch.setattr(combiner, "_steps_aside", begins)
    monkeypatch.setattr(combiner, "_give_up_mine", lambda: pytest.fail("the lock was given away"))
    one = draft()
    combiner.run(Job([one]))
    assert one.id in committed(outbox)


def test_a_hold_that_was_left_behind_ends(outbox: SqliteOutbox) -> None:
    """A close, or a fork, that was interrupted between any two instructions locks nobody out."""
    outbox.append([draft()])
    outbox._store._combiner.hold()
    captured = capture_in_threads(outbox, 4)
    assert len(captured) == 4
    outbox._store._combiner.hold()
    outbox.append([draft()])  # nor the one that was interrupted, who then lets go
    captured += capture_in_threads(outbox, 2)
    assert len(captured) == 6
    outbox.close()
    outbox.append([draft()])
    assert len(committed(outbox)) == 9


@may_fall_into_a_finalizer
def test_a_close_that_is_interrupted_locks_nobody_out(outbox: SqliteOutbox) -> None:
    """Wherever the exception falls; the next close goes through."""

    def limit(*_: object) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, limit)
    try:
        for interrupted in range(60):
            with suppress(TimeLimit):
                signal.setitimer(signal.ITIMER_REAL, 0.0003 + interrupted * 3e-5)
                with suppress(OutboxError):
                    for _ in range(2_000):  # not for ever: Python ignores what a finalizer raises
                        outbox.append([draft()])
                        outbox._store.close()
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert len(capture_in_threads(outbox, 2)) == 2
            outbox._store.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_inspection_that_is_left_behind_locks_nobody_out(outbox: SqliteOutbox) -> None:
    """As by an exception that falls between taking both locks and what gives them back."""
    outbox.append([draft()])
    combiner = outbox._store._combiner
    combiner._inspecting.acquire()
    combiner._lead.acquire()
    assert len(capture_in_threads(outbox, 2)) == 2
    outbox._store.close()
    assert len(capture_in_threads(outbox, 2)) == 2
    assert len(committed(outbox)) == 5


def test_what_is_left_behind_is_found_within_a_short_bound(make: Callable[..., SqliteOutbox]) -> None:
    """By a lone thread, with nobody else to look for it."""
    outbox = make(busy_timeout=0.9)
    outbox.append([draft()])
    combiner = outbox._store._combiner
    combiner._inspecting.acquire()
    combiner._lead.acquire()
    assert len(capture_in_threads(outbox, 1)) == 1


def test_a_lead_that_is_in_use_is_not_taken(outbox: SqliteOutbox) -> None:
    """However long it takes: whoever waits looks at it, and leaves it alone."""
    outbox.append([draft()])
    begun, go_on = threading.Event(), threading.Event()

    def work(_: object) -> None:
        begun.set()
        go_on.wait()

    long = threading.Thread(target=outbox._store.write, args=(work,))
    long.start()
    begun.wait()
    lead = outbox._store._combiner._lead
    others = threading.Thread(target=capture_in_threads, args=(outbox, 3))
    others.start()
    others.join(0.8)
    assert outbox._store._combiner._lead is lead
    go_on.set()
    long.join()
    others.join()
    assert len(committed(outbox)) == 4


@may_fall_into_a_finalizer
def test_threads_capture_while_the_main_one_is_interrupted_again_and_again(outbox: SqliteOutbox) -> None:
    """It captures no more until all are through; what returned is committed once."""
    outbox.append([draft()])

    def limit(*_: object) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, limit)
    try:
        for interrupted in range(40):
            with suppress(TimeLimit, OutboxError):
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + interrupted * 1e-5)
                for _ in range(5_000):  # not for ever: Python ignores what a finalizer raises
                    outbox.append([draft()])
            assert len(capture_in_threads(outbox, 2)) == 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def lead_for_another(outbox: SqliteOutbox, mine: Job, other: Job, told: list[type[Exception]]) -> None:
    """Runs this thread's job in a batch that another thread's is in as well, and notes what that was told."""
    combiner = outbox._store._combiner
    begun, go_on = threading.Event(), threading.Event()

    def keep(_: object) -> None:
        begun.set()
        go_on.wait()

    def wait() -> None:
        try:
            combiner.run(other)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            told.append(type(error))

    def arrange() -> None:
        while len(combiner._queue) < 1:
            time.sleep(0.001)
        waits.start()
        while len(combiner._queue) < 2:
            time.sleep(0.001)
        go_on.set()

    keeps, waits = threading.Thread(target=outbox._store.write, args=(keep,)), threading.Thread(target=wait)
    arranges = threading.Thread(target=arrange)
    keeps.start()
    begun.wait()
    arranges.start()
    try:
        combiner.run(mine)
    finally:
        for thread in (arranges, keeps, waits):
            thread.join(20)
            assert not thread.is_alive()


def test_the_exception_of_a_signal_handler_is_raised_where_it_fell(outbox: SqliteOutbox) -> None:
    """Not in the thread whose job this one was doing: that is told that it was interrupted."""
    outbox.append([draft()])
    told: list[type[Exception]] = []

    def limit(*_: object) -> None:
        raise TimeLimit

    def interrupted(_: object) -> None:
        assert threading.current_thread() is threading.main_thread()
        signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, limit)
    try:
        with pytest.raises(TimeLimit):
            lead_for_another(outbox, Job([draft()]), Job(work=interrupted), told)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told == [Interrupted]
    assert len(capture_in_threads(outbox, 2)) == 2


def test_who_waits_for_a_leader_that_is_torn_out_again_and_again_is_told(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its commit, and while it tells what came of it: the one who waits finds out by itself."""
    outbox.append([draft()])
    main, finish, once = threading.main_thread(), Job.finish, [True]
    told: list[type[Exception]] = []

    def torn(job: Job, *arguments: Any, **named: Any) -> None:
        if threading.current_thread() is main:
            raise TimeLimit
        finish(job, *arguments, **named)

    def commit(batch: list[Job]) -> None:
        if threading.current_thread() is main and once:
            once.clear()
            raise TimeLimit
        outbox._store._commit(batch)

    monkeypatch.setattr(Job, "finish", torn)
    monkeypatch.setattr(outbox._store._combiner, "_commit", commit)
    with pytest.raises(TimeLimit):
        lead_for_another(outbox, Job([draft()]), Job([draft()]), told)
    assert told == [Interrupted]
    assert len(capture_in_threads(outbox, 2)) == 2


def test_a_thread_at_the_end_of_its_stack_holds_no_other_up(make: Callable[..., SqliteOutbox]) -> None:
    """Wherever its RecursionError falls while it leads."""
    outbox = make(busy_timeout=1.0)
    outbox.append([draft()])
    over = threading.Event()

    def deep(frames: int) -> None:
        if frames:
            return deep(frames - 1)
        return outbox.append([draft()])

    def at_the_end() -> None:
        for left in list(range(6, 60)) * 40:
            with suppress(RecursionError, OutboxError):
                deep(sys.getrecursionlimit() - left)
        over.set()

    def capture() -> None:
        while not over.is_set():
            with suppress(OutboxError):
                outbox.append([draft()])

    threads = [threading.Thread(target=at_the_end), *[threading.Thread(target=capture) for _ in range(2)]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [thread.is_alive() for thread in threads] == [False] * 3
    assert len(capture_in_threads(outbox, 2)) == 2


class Torn:
    """Stands before a store's append: its leader is torn each time, after the commit (True) or before."""

    def __init__(self, append: Callable[[Sequence[Draft]], None], *committed: bool) -> None:
        self._append, self._coming = append, list(committed)

    def __call__(self, drafts: Sequence[Draft]) -> None:
        tears = bool(self._coming)
        if not tears or self._coming.pop(0):
            self._append(drafts)
        if tears:
            raise Interrupted


def in_order(outbox: SqliteOutbox) -> list[str]:
    db = sqlite3.connect(f"file:{outbox.path}?mode=ro", uri=True)
    ids = [id for (id,) in db.execute("SELECT id FROM entry ORDER BY seq")]
    db.close()
    return ids


@pytest.mark.parametrize("committed", [[True], [False], [False, False], [False, True]])
def test_what_an_interrupted_leader_leaves_in_doubt_is_stored_once(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch, committed: list[bool]
) -> None:
    """It is looked for before it is appended again; who waited for that leader need not know of it."""
    drafts = [draft() for _ in range(3)]
    monkeypatch.setattr(outbox._store, "append", Torn(outbox._store.append, *committed))
    outbox.append(drafts)
    assert in_order(outbox) == [one.id for one in drafts]


def test_what_stays_in_doubt_is_said_with_what_it_is_about(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody can look either, or each attempt is interrupted; a later look finds out."""
    drafts = [draft() for _ in range(3)]
    with monkeypatch.context() as broken:
        broken.setattr(outbox._store, "append", Torn(outbox._store.append, *[False] * 4))
        with pytest.raises(Interrupted) as interrupted:
            outbox.append(drafts)
    assert interrupted.value.drafts == drafts
    assert in_order(outbox) == []
    with monkeypatch.context() as broken:
        broken.setattr(outbox._store, "append", Torn(outbox._store.append, True))
        broken.setattr(outbox._store, "read", busy)
        with pytest.raises(Interrupted) as interrupted:
            outbox.append(drafts)
    outbox.append_missing(interrupted.value.drafts)
    assert in_order(outbox) == [one.id for one in drafts]


def busy(_: object) -> None:
    raise OutboxBusy


def test_a_look_whose_leader_is_torn_as_well_is_no_answer(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is done again."""
    waits, read, looks = draft(), outbox._store.read, []

    def looked(work: Callable[[sqlite3.Connection], object]) -> object:
        looks.append(work)
        if len(looks) == 1:
            raise Interrupted
        return read(work)

    monkeypatch.setattr(outbox._store, "append", Torn(outbox._store.append, True))
    monkeypatch.setattr(outbox._store, "read", looked)
    thread = threading.Thread(target=outbox.append, args=([waits],))
    thread.start()
    thread.join()
    assert len(looks) == 2
    assert in_order(outbox) == [waits.id]


def test_who_waits_for_a_leader_that_is_torn_after_its_commit_is_stored_once(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of it: the leader takes another thread's entry along, commits, and meets the exception."""
    outbox.append([draft()])
    combiner = outbox._store._combiner
    commit, waits, returned = combiner._commit, draft("WAITS"), threading.Event()

    def other() -> None:
        outbox.append([waits])
        returned.set()

    thread = threading.Thread(target=other)

    def torn(batch: list[Job]) -> None:
        monkeypatch.setattr(combiner, "_commit", commit)
        thread.start()
        while not combiner._queue:
            threading.Event().wait(0.001)
        combiner._hand.append(combiner._queue.popleft())  # as if it had come a moment earlier
        batch.append(combiner._hand[-1])
        commit(batch)
        for job in batch:
            job.done = False  # and before it was told so
        raise TimeLimit

    monkeypatch.setattr(combiner, "_commit", torn)
    leads = draft("LEADS")
    with pytest.raises(TimeLimit):
        outbox.append([leads])
    thread.join()
    assert returned.is_set()
    assert in_order(outbox)[1:] == [leads.id, waits.id]


def capture_in_threads(outbox: SqliteOutbox, count: int) -> list[str]:
    """One capture in each of them; the ids of those that returned."""
    done: list[str] = []

    def capture() -> None:
        one = draft("THREAD")
        outbox.append([one])
        done.append(one.id)

    threads = [threading.Thread(target=capture) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_threads_that_fork_at_once_leave_everybody_able_to_capture(outbox: SqliteOutbox) -> None:
    """Their hooks take turns; every child and the parent go on."""
    outbox.append([draft()])
    statuses: list[int] = []

    def fork() -> None:
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                try:
                    outbox.append([draft("CHILD")])
                    os._exit(0)
                finally:
                    os._exit(1)
            statuses.append(os.waitpid(pid, 0)[1])

    threads = [threading.Thread(target=fork) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outbox.append([draft()])
    assert statuses == [0] * 16
    assert len(committed(outbox)) == 18


def test_captures_beside_a_close_are_stored(make: Callable[..., SqliteOutbox]) -> None:
    """Close, and the next capture opens again; nobody meets a closed file."""
    outbox = make()
    outbox.append([draft()])
    stop, safe, failed = threading.Event(), [], []

    def capture() -> None:
        while not stop.is_set():
            one = draft()
            try:
                outbox.append([one])
                safe.append(one.id)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
                failed.append(error)

    threads = [threading.Thread(target=capture) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        outbox.close()
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert set(safe) <= committed(outbox)
