"""The file under an outbox: one connection a process, one writer at a time, one place for transactions."""

from __future__ import annotations

import functools
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

from auditbox.errors import OutboxDamaged, OutboxError, OutboxForked, OutboxFull, OutboxUnusable
from auditbox.outbox import ballast, forking, layout, stranded, transitions, wal
from auditbox.outbox.base import Draft
from auditbox.outbox.combiner import ENTRIES, HOLDS, Combiner, Job
from auditbox.outbox.files import LOCK_NOW, logger, prepare_directory
from auditbox.outbox.handover import CHECK, FILES, MARK, NEWEST, WriterLock
from auditbox.outbox.room import ROW, Room
from auditbox.outbox.rows import checksum
from auditbox.outbox.salvage import salvage
from auditbox.outbox.statements import SQL
from auditbox.outbox.transaction import Transaction

if TYPE_CHECKING:
    from auditbox.outbox.upkeep import Upkeep

T = TypeVar("T")
_NEWEST, _APPEND = SQL["newest"], SQL["append"]
_AT_ONCE = 64
"""Rows that one statement appends: it is a transaction of its own, and gives Python's lock away once."""
_EVICTION = 256
_HUGE_WAL = 32 << 20
"""Bytes of the WAL's file at which whoever captures does not wait for the upkeep's checkpoint any more."""
_GLANCE = 0.05
"""Seconds after which the files are looked at again: with a deleted file all that it held is gone anyway."""
_LARGEST = 512 * 1024
"""Bytes that a record of the default max_record_bytes takes, WAL included."""


class Store:
    """Serialises everything that touches the file.

    Threads of this process combine (see combiner); a lock on ``<file>.lock`` stands between processes.
    The file is opened by the first job, and again after a fork or when it was replaced.
    """

    def __init__(
        self, path: Path, *, destination: str | None, synchronous: str, room: Room, bound: float, create: bool
    ) -> None:
        self.path, self.name = path, ""
        self.last_before_fork = True
        self.upkeep: Upkeep | None = None
        """Told of what is appended alone."""
        self._text = str(path)  # a Path costs 2 µs more each time it is looked at
        self._options: dict[str, Any] = {
            "create": create, "synchronous": synchronous, "destination": destination,
        }  # fmt: skip
        self._bound, self._room = bound, room
        self._db: sqlite3.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None
        self._files: stranded.Files = ()
        self._look_at = 0.0
        self._seq: int | None = None
        self._lock = WriterLock(path.with_name(path.name + ".lock"))
        self._combiner = Combiner(self._commit, bound)
        self._pid = os.getpid()
        forking.register(self)

    @property
    def is_open(self) -> bool:
        """Whether a connection is open now."""
        return self._db is not None

    def append(self, drafts: Sequence[Draft]) -> None:
        """Appends in one transaction, together with whoever else waits."""
        self._run(Job(drafts))

    def append_alone(self, draft: Draft) -> bool:
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
                or monotonic() >= self._look_at
                or self._pid != getpid()
            ):
                return False
            flock(descriptor, LOCK_NOW)
            try:
                words = lock.words
                if words[MARK] != lock.mark and (newest := self._caught_up()) is None:
                    return False
                seq, self._seq = newest + 1, None
                crc = crc32(body, crc32(f"{seq}|{id}|{lane}|".encode(errors="replace")))
                words[FILES] = 0
                cursor.execute(_APPEND, (seq, id, lane, body, crc))
                words[NEWEST], words[CHECK], words[FILES] = seq, seq ^ lock.key, lock.files
                self._seq = seq
                room.left -= need
            finally:
                flock(descriptor, LOCK_UN)
        except BlockingIOError:
            return False
        except sqlite3.IntegrityError:  # somebody writes under another lock: the long way finds out
            self._look_at = 0.0
            return False
        except sqlite3.Error as error:
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

    def _caught_up(self) -> int | None:
        """Holding the lock, when another process has written: the newest number; None: ask for it."""
        look_at, self._look_at, self._seq = self._look_at, 0.0, None  # before the mark says that it is done
        self._seq = self._lock.take_over()
        if self._seq is not None:
            self._look_at = look_at
        return self._seq

    def try_append(self, drafts: Sequence[Draft]) -> bool:
        """Appends if no other thread or process is writing; False at once otherwise."""
        if self._pid != os.getpid():
            raise OutboxForked
        return self._combiner.try_run(Job(drafts, patient=False))

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
        if self._held:
            self._combiner.let_go()

    def after_fork_in_child(self) -> None:
        """Starts afresh: no other thread has survived, so nobody holds or waits for anything."""
        self._pid, self._db, self._cursor = os.getpid(), None, None
        self._combiner = Combiner(self._commit, self._bound)

    # -- one batch ---------------------------------------------------------------------------------

    def _run(self, job: Job) -> Any:
        if self._pid != os.getpid():
            raise OutboxForked
        return self._combiner.run(job)

    def _commit(self, batch: list[Job]) -> None:
        """All appends in one transaction, every other work by itself; finishes every job."""
        try:
            if self._db is None:
                prepare_directory(self.path, create=self._options["create"])
            self._lock.acquire(self._bound if any(job.patient for job in batch) else 0)
            try:
                self._work_off(batch)
            except (sqlite3.DatabaseError, OutboxDamaged) as error:
                if not layout.is_damage(error):
                    raise
                self._salvage(error)
                self._work_off([job for job in batch if not job.done])
            finally:
                self._lock.release()
        except OutboxError as error:
            _fail(batch, error)
        except (sqlite3.Error, OSError) as error:
            _fail(batch, layout.translated(error, self.path))
        except (ValueError, TypeError) as error:  # its text may hold what was captured
            _fail(batch, OutboxUnusable(f"outbox {self.path} could not store: {type(error).__name__}"))

    def _work_off(self, batch: list[Job]) -> None:
        if time.monotonic() >= self._look_at and not self._lock.in_place():
            logger.error("%s was deleted or replaced while it was in use", self._lock.path)
            self._lock.forget()
            self._lock.acquire(self._bound)
            self._lock.unsettle()  # it may be an older one, with an older number
            self._seq, self._look_at = None, 0.0
        if self._lock.words[MARK] != self._lock.mark:
            self._caught_up()
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
        self._close()
        found = salvage(self.path)
        logger.error("outbox %s was damaged (%s): %s", self.path, error, found)

    def _append_all(self, db: sqlite3.Connection, jobs: list[Job]) -> None:
        drafts = jobs[0].drafts if len(jobs) == 1 else [draft for job in jobs for draft in job.drafts]
        need = self._room.need(drafts)
        if not self._room.spend(need):
            self._make_room(db, need)
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
            if len(rows) <= _AT_ONCE:
                db.execute(_append(len(rows)), [value for row in rows for value in row])
            else:
                with nullcontext() if db.in_transaction else Transaction(db):
                    db.executemany(_APPEND, rows)
            self._seq = seq + len(rows)
        finally:
            if self._seq == seq:
                self._seq = None

    def renumber(self) -> None:
        """Within a write that has appended by itself: the newest number is read again."""
        self._seq = None
        self._lock.unsettle()

    def _newest(self, db: sqlite3.Connection) -> int:
        """The newest number; remembered while no other process has written."""
        if self._seq is None:
            self._seq = int(db.execute(_NEWEST).fetchone()[0])
        return self._seq

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
        except Exception as error:  # noqa: BLE001 - it is this job's, and no other caller's that leads
            job.finish(error=error)

    def _make_room(self, db: sqlite3.Connection, need: int) -> None:
        """Checkpoints, then forgets what is settled, oldest first, until this many bytes fit.

        Raises:
            OutboxFull: only undelivered entries are left.
        """
        left = self._room.measure(db)
        if self._room.wal_bytes() >= _HUGE_WAL:
            checkpoint(db)
        if left >= need:
            return
        truncate(db)
        while self._room.measure(db) < need:
            with Transaction(db):
                forgotten = transitions.forget(db, float("inf"), _EVICTION)
            if not forgotten:
                raise OutboxFull(
                    f"outbox {self.path} holds max_bytes={self._room.max_bytes} of undelivered entries: "
                    "raise max_bytes, or see why delivery waits (auditbox status)"
                )
            truncate(db)

    def require_room(self, db: sqlite3.Connection) -> None:
        """Raises OutboxFull where the append of a largest record would."""
        self._make_room(db, _LARGEST)

    # -- the connection ----------------------------------------------------------------------------

    def _connection(self) -> sqlite3.Connection:
        now = time.monotonic()
        if self._db is not None:
            if now < self._look_at:
                return self._db
            if self._same_file():
                self._look_at = now + _GLANCE
                return self._db
            if self._files and stranded.files(self._text)[0] != self._files[0]:
                logger.error(
                    "outbox %s was deleted or replaced while it was open; a new one is started", self.path
                )
        self._leave()
        self._lock.unsettle()
        self._files, self._look_at = (), 0.0  # until all that belongs to the new one is there
        self._db, self.name = layout.open_database(self.path, **self._options, first=not self.name)
        self._allot_wal(self._db)
        self._cursor = self._db.cursor()
        self._files = stranded.files(self._text)
        self._lock.describe(self.name, self._files)
        self._look_at, self._seq = now + _GLANCE, None
        self._lock.note(self._newest(self._db))
        return self._db

    def _allot_wal(self, db: sqlite3.Connection) -> None:
        """Where each commit is synced: a WAL of full size, so that no sync has to note a new one."""
        if self._options["synchronous"] == "FULL" and not ballast.is_short(self.path):
            with Transaction(db):  # nobody else is writing behind it
                wal.allot(self._room.wal, min(wal.KEPT, self._room.max_bytes // 8))

    def _same_file(self) -> bool:
        return self._files == stranded.files(self._text)

    def _leave(self) -> None:
        """Closes the connection; what went into a log that was deleted is carried over, as far as can be."""
        found = stranded.files(self._text)
        if self._db is None or not self._files or found == self._files or found[0] != self._files[0]:
            self._close()
        else:
            outcome = stranded.leave(self._db, self.path, self._files)
            self._close()
            logger.error(
                "the write-ahead log of outbox %s was deleted while it was open, by hand or because this "
                "program has opened and closed the file itself: %s", self.path, outcome,
            )  # fmt: skip

    def _close(self) -> None:
        db, self._db, self._cursor = (
            self._db,
            None,
            None,
        )  # before: who is interrupted leaves none that is closed
        if db is not None:
            db.close()


@functools.cache
def _append(rows: int) -> str:
    """The statement that appends so many rows."""
    return _APPEND + ", (?, ?, ?, ?, ?)" * (rows - 1)


def _fail(jobs: list[Job], error: OutboxError) -> None:
    for job in jobs:
        if not job.done:
            job.finish(error=error)


ENTRIES.add(Store.append_alone.__code__)
HOLDS.update(
    function.__code__
    for function in (Store.close, Store.before_fork, Store.after_fork_in_parent, *forking.HOOKS)
)


def checkpoint(db: sqlite3.Connection) -> None:
    """Moves the WAL's content into the database file; waits for nobody, and keeps the WAL's file as it is."""
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def truncate(db: sqlite3.Connection) -> None:
    """Moves the WAL's content into the database file and empties the WAL, unless a reader holds it."""
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
