"""What is written to the file under an outbox: one writer at a time, one place for transactions."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from fcntl import LOCK_UN, flock
from os import getpid
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar
from zlib import crc32

from auditbox.errors import OutboxBusy, OutboxDamaged, OutboxError, OutboxForked, OutboxFull, OutboxUnusable
from auditbox.outbox import forking, layout
from auditbox.outbox.base import Draft
from auditbox.outbox.combiner import Combiner
from auditbox.outbox.connection import GLANCE, Connected
from auditbox.outbox.files import LOCK_NOW, logger, prepare_directory
from auditbox.outbox.frames import ENTRIES, HOLDS
from auditbox.outbox.handover import CHECK, FILES, MARK, NEWEST
from auditbox.outbox.job import Job, is_the_threads_own
from auditbox.outbox.room import ROW, Room
from auditbox.outbox.rows import checksum
from auditbox.outbox.salvage import salvage
from auditbox.outbox.statements import SQL, batched, run
from auditbox.outbox.transaction import Transaction

if TYPE_CHECKING:
    from auditbox.outbox.upkeep import Upkeep

T = TypeVar("T")
_APPEND = SQL["append"]
_JOIN = 0.25
"""The longest wait, in seconds, for a process that captures alone to see that it is alone no more. It may be
stopped, or its interpreter busy; what others write then is as safe."""
_NAP, _WORK = 0.001, 0.0004
"""Seconds for which a thread gives way to one that stores, and for which it does not after that: somebody may
be storing all the time, and what is stored must go out, too."""


class Store(Connected):
    """Serialises everything that touches the file.

    Threads of this process combine (see combiner); a lock on ``<file>.lock`` stands between processes.
    The file is opened by the first job (see connection), and again after a fork.
    """

    def __init__(
        self, path: Path, *, destination: str | None, synchronous: str, room: Room, bound: float, create: bool
    ) -> None:
        super().__init__(path, destination=destination, synchronous=synchronous, room=room, create=create)
        self.last_before_fork = True
        self.upkeep: Upkeep | None = None
        """Told of what is appended alone."""
        self._bound, self._held = bound, False
        self._combiner = Combiner(self._commit, bound)
        self._glanced: int | None = None
        self._pid = os.getpid()
        self._patient_from = 0.0
        forking.register(self)

    def append(self, drafts: Sequence[Draft]) -> None:
        """Appends in one transaction, together with whoever else waits."""
        self._run(Job(drafts))

    def append_alone(self, draft: Draft) -> bool:  # noqa: PLR0912, PLR0915 - one frame, as it says
        """The usual capture: nobody else is writing, nothing has changed. False: it takes the long way.

        Does for one draft what :meth:`_commit` does for a batch, in a third of the time. It writes out
        Combiner.enter_alone, leave and checksum: each call would cost every capture a microsecond or two.
        """
        combiner, lock, room = self._combiner, self._lock, self._room
        lead = combiner._lead
        if combiner._queue or not lead.acquire(False):
            return False
        if combiner._leading:  # this very thread leads, and was interrupted by a signal
            lead.release()
            return False
        combiner._leading = True
        try:
            cursor, newest, descriptor = self._cursor, self._seq, lock.descriptor
            id, lane, body = draft
            need = 2 * (len(body) + ROW)
            if (
                cursor is None
                or newest is None
                or descriptor is None
                or room.left < need
                or cursor.connection.in_transaction
                or (now := monotonic()) >= self._look_at
                or self._pid != getpid()
            ):
                return False
            words = lock.words
            alone = self._is_alone and words[MARK] == lock.mark
            if not alone:
                if self._snapshot is not None:
                    self._be_together()
                flock(descriptor, LOCK_NOW)
            try:
                if not alone:
                    if words[MARK] != lock.mark and (newest := self._caught_up()) is None:
                        return False
                    if now >= self._alone_from:
                        self._go_alone(cursor.connection, now)
                seq, self._seq = newest + 1, None
                crc = crc32(body, crc32(f"{seq}|{id}|{lane}|".encode(errors="replace")))
                words[FILES] = 0
                cursor.execute(_APPEND, (seq, id, lane, body, crc))
                words[NEWEST], words[CHECK], words[FILES] = seq, seq ^ lock.key, lock.files
                self._seq = seq
                room.left -= need
            finally:
                if not alone:
                    flock(descriptor, LOCK_UN)
        except BlockingIOError:
            return False
        except sqlite3.IntegrityError:  # somebody writes under another lock: the long way finds out
            self._look_at = 0.0
            return False
        except sqlite3.Error as error:
            if self._snapshot is not None:  # perhaps another process has written: the long way tells
                return False
            room.left = 0
            raise layout.translated(error, self.path) from error
        finally:
            combiner._leading = False
            lead.release()
            if combiner._queue or lead._is_owned():  # type: ignore[attr-defined]
                combiner.left()
        upkeep = self.upkeep
        if upkeep is not None and not upkeep.dirty:
            upkeep.written()
        return True

    def try_append(self, drafts: Sequence[Draft]) -> bool:
        """Appends if no other thread or process is writing; False at once otherwise."""
        if self._pid != os.getpid():
            raise OutboxForked
        return self._combiner.try_run(Job(drafts, patient=False))

    def give_way(self) -> None:
        """Waits a moment for a thread that is storing something, so that its caller goes on the sooner.

        For a thread that would do much in Python now: whoever stores gives Python's lock away with each
        system call, and would get it back late each time.
        """
        if self._combiner._leading is True and monotonic() >= self._patient_from:
            time.sleep(_NAP)
            self._patient_from = monotonic() + _WORK

    def glance(self) -> None:
        """Looks at the files in place of the captures to come; after the last one, nobody is alone any more.

        To be called every twentieth of a second while something is captured.
        """
        look_at, files = self._look_at, self._files
        if self._db is None or self._pid != getpid():
            return
        in_place = self._all_in_place()
        since, self._glanced, self._glanced_at = self._glanced, self._seq, monotonic()
        if self._combiner.enter_alone():
            try:
                if since == self._seq or not self._lock.is_mine():
                    self._be_together()
                    self._lock.release()  # an exception of a signal handler may have left it taken
                if look_at and self._look_at == look_at and self._files is files:  # nobody has looked since
                    self._look_at = monotonic() + GLANCE if in_place else 0.0
            finally:
                self._combiner.leave()
        elif since == self._seq and self._snapshot is not None:
            with suppress(OutboxError):
                self.read(lambda _: None)  # whoever leads was torn out of it, or is stuck: a job finds out

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs work in a transaction of its own and returns what it returns."""
        result: T = self._run(Job(work=work))
        return result

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs work on the connection, outside a transaction: a read, or a pragma."""
        result: T = self._run(Job(work=work, bare=True))
        return result

    def close(self) -> None:
        """Closes the file under the locks: SQLite checkpoints when the last connection goes."""
        if self._db is not None and self._pid == os.getpid():
            self._held = self._combiner.hold()
            try:
                self._be_together()
                self._lock.acquire(self._bound)
                self._lock.unsettle()  # SQLite may delete the WAL
                self._leave()
            finally:
                self._lock.forget()
                self.after_fork_in_parent()

    # -- fork --------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Waits for the writer, then closes: a connection that a child inherits loses its commits."""
        self._held = self._combiner.hold()
        if self._db is not None and not self._db.in_transaction:
            self._be_together()
            with suppress(OutboxError):  # held elsewhere for too long: SQLite's own lock must do
                self._lock.acquire(self._bound)
                self._lock.unsettle()
            try:
                self._leave()
            except OutboxError:  # the child must not have it, whatever becomes of it
                self._close()
        self._lock.forget()

    def after_fork_in_parent(self) -> None:
        """Goes on; the next job opens the file again."""
        held, self._held = self._held, False
        if held:
            self._combiner.let_go()

    def after_fork_in_child(self) -> None:
        """Starts afresh: no other thread has survived, so nobody holds or waits for anything."""
        self._pid, self._db, self._cursor, self._held = os.getpid(), None, None, False
        self._is_alone, self._snapshot = False, None
        self._lock.forget()  # where nothing was called before the fork
        if self.reader is not None:
            self.reader.after_fork_in_child()
        if self.mark is not None:
            self.mark.close()
        self._combiner = Combiner(self._commit, self._bound)

    # -- one batch ---------------------------------------------------------------------------------

    def _run(self, job: Job) -> Any:
        if self._pid != os.getpid():
            raise OutboxForked
        return self._combiner.run(job)

    def _commit(self, batch: list[Job]) -> None:
        """All appends in one transaction, every other work by itself; finishes every job."""
        try:
            if self._snapshot is not None:
                self._be_together()
            if self._db is None:
                prepare_directory(self.path, create=self._options["create"])
            bound = self._bound if any(job.patient for job in batch) else 0
            if self._db is None:
                self._lock.join(min(_JOIN, bound))
            self._lock.acquire(bound)
            try:
                self._wait_for_sqlite(batch, bound)
            except (sqlite3.DatabaseError, OutboxDamaged) as error:
                if not layout.is_damage(error):
                    raise
                self._salvage(error)
                self._work_off([job for job in batch if not job.done])
            finally:
                self._lock.release()
        except (OutboxError, sqlite3.Error, OSError, ValueError, TypeError) as error:
            if is_the_threads_own(error):
                raise
            _fail(batch, self._ours(error))

    def _ours(self, error: Exception) -> OutboxError:
        if isinstance(error, OutboxError):
            return error
        if isinstance(error, (sqlite3.Error, OSError)):
            return layout.translated(error, self.path)
        # Its text may hold what was captured.
        return OutboxUnusable(f"outbox {self.path} could not store: {type(error).__name__}")

    def _wait_for_sqlite(self, batch: list[Job], bound: float) -> None:
        """Works off; up to the bound beside one that is sole, who may have SQLite's lock and not ours."""
        deadline = monotonic() + bound
        while True:
            try:
                return self._work_off([job for job in batch if not job.done])
            except sqlite3.OperationalError as error:
                if self._lock.has_joined or not layout.is_busy(error) or monotonic() >= deadline:
                    raise

    def _work_off(self, batch: list[Job]) -> None:
        if time.monotonic() >= self._look_at and not self._lock.in_place():
            logger.error("%s was deleted or replaced while it was in use", self._lock.path)
            self._lock.forget()
            self._lock.acquire(self._bound)
            self._lock.unsettle()  # it may be an older one, with an older number
            self._seq, self._look_at = None, 0.0
        if self._lock.words[MARK] != self._lock.mark:
            self._caught_up()
        if not self._lock.has_joined:
            self._lock.join(0)
        db = self._connection()
        if db.in_transaction:  # the exception of a signal handler came between BEGIN and what undoes it
            db.execute("ROLLBACK")
        if appends := [job for job in batch if job.work is None]:
            try:
                self._append_all(db, appends)
            except (OutboxFull, sqlite3.OperationalError) as error:
                full = layout.translated(error, self.path) if isinstance(error, sqlite3.Error) else error
                if not isinstance(full, OutboxFull):
                    raise
                _fail(appends, full)  # and no other work of the batch: what the relay settles makes room
        for job in batch:
            if job.work is not None:
                self._do(db, job)

    def _salvage(self, error: Exception) -> None:
        """Carries what is intact over into a new file; under the lock, so that everybody follows."""
        if not self._lock.has_joined:  # one that was held up could go on in the file that is set aside
            raise OutboxBusy(f"outbox {self.path} is damaged, and a process that writes to it does not go on")
        self._close()
        self._lock.unsettle()  # until the new file is open, nothing that is noted holds for any
        found = salvage(self.path)
        logger.error("outbox %s was damaged (%s): %s", self.path, error, found)

    def _append_all(self, db: sqlite3.Connection, jobs: list[Job]) -> None:
        drafts = jobs[0].drafts if len(jobs) == 1 else [draft for job in jobs for draft in job.drafts]
        need = self._room.need(drafts)
        if not self._room.spend(need):
            self._room.make(db, need)
        try:
            self._insert(db, drafts)
        except sqlite3.IntegrityError as error:
            if not layout.is_taken(error):
                raise
            self._look_at = 0.0  # at our lock, which somebody does not share: SQLite's own must do
            try:
                with Transaction(db):
                    self._insert(db, drafts)
            finally:
                self._seq = None
        if self._seq is not None:
            self._lock.note(self._seq)
        for job in jobs:
            job.done = True

    def _insert(self, db: sqlite3.Connection, drafts: Sequence[Draft]) -> None:
        """All of them under the numbers that follow the newest, or none."""
        seq = self._newest(db)
        rows = [
            (number, id, lane, body, checksum(number, id, lane, body))
            for number, (id, lane, body) in enumerate(drafts, seq + 1)
        ]
        self._lock.unsettle()
        try:
            batches = batched("append", rows)
            # One statement is a transaction of its own.
            with nullcontext() if len(batches) == 1 or db.in_transaction else Transaction(db):
                run(db, batches)
            self._seq = seq + len(rows)
        finally:
            if self._seq == seq:
                self._seq = None

    def _do(self, db: sqlite3.Connection, job: Job) -> None:
        assert job.work is not None
        try:
            if job.bare:
                job.result = job.work(db)
            else:
                with Transaction(db):
                    job.result = job.work(db)
            job.done = True
        except (OutboxDamaged, sqlite3.Error, OSError):
            raise
        except Exception as error:
            if is_the_threads_own(error):
                raise
            job.finish(error=error)


def _fail(jobs: list[Job], error: OutboxError) -> None:
    for job in jobs:
        if not job.done:
            job.finish(error=error)


ENTRIES.update({Store.append_alone.__code__, Store.glance.__code__})
HOLDS.update(
    function.__code__
    for function in (Store.close, Store.before_fork, Store.after_fork_in_parent, *forking.HOOKS)
)
