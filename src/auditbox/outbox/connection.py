"""The connection to the file under an outbox: one a process, and the newest number that it knows."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditbox.outbox import ballast, layout, stranded, wal
from auditbox.outbox.files import logger
from auditbox.outbox.handover import WriterLock
from auditbox.outbox.room import Room
from auditbox.outbox.statements import SQL
from auditbox.outbox.transaction import Transaction

if TYPE_CHECKING:
    from auditbox.outbox.mark import Mark
    from auditbox.outbox.reader import Reader

_NEWEST = SQL["newest"]
_SNAPSHOT = SQL["snapshot"]
GLANCE = 0.1
"""Seconds after which a writer looks at the files again, where the upkeep has not done so meanwhile."""
_TOGETHER = 0.002
"""Seconds for which nobody captures alone after something else was committed, as more of that may come."""
_MET = 1.0
"""The same, after another process has written, or was found to have the outbox open."""


class Connected:
    """One connection to the file of an outbox, and what is remembered of it.

    Made when it is first asked for, and again where the file was replaced or the connection closed. Whoever
    calls holds the locks between threads and between processes. (A base, and no part, of the Store: what a
    capture asks of it is then one look at the store's own attributes.)
    """

    def __init__(
        self, path: Path, *, destination: str | None, synchronous: str, room: Room, create: bool
    ) -> None:
        self.path, self.name = path, ""
        self._text = str(path)  # a Path costs 2 µs more each time it is looked at
        self._options: dict[str, Any] = {
            "create": create, "synchronous": synchronous, "destination": destination,
        }  # fmt: skip
        self._room = room
        self.reader: Reader | None = None
        """Reads the same files beside, and has none open any longer."""
        self.mark: Mark | None = None
        """The relay's, of which a forked child keeps nothing."""
        self._db: sqlite3.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None
        self._snapshot: sqlite3.Cursor | None = None
        self._is_alone, self._alone_from, self._glanced_at = False, 0.0, 0.0
        self._files: stranded.Files = ()
        self._look_at = 0.0
        self._seq: int | None = None
        self._lock = WriterLock(path.with_name(path.name + ".lock"))

    @property
    def is_open(self) -> bool:
        """Whether a connection is open now."""
        return self._db is not None

    @property
    def files(self) -> stranded.Files:
        """The files that are open; nothing where there are none."""
        return self._files

    def _connection(self) -> sqlite3.Connection:
        now = time.monotonic()
        if self._db is not None:
            if now < self._look_at:
                return self._db
            if self._same_file():
                self._look_at = now + GLANCE
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
        self._look_at, self._seq = now + GLANCE, None
        self._lock.note(self._newest(self._db))
        return self._db

    def _allot_wal(self, db: sqlite3.Connection) -> None:
        """Where each commit is synced: a WAL of full size, so that no sync has to note a new one."""
        if self._options["synchronous"] == "FULL" and not ballast.is_short(self.path):
            with Transaction(db):  # nobody else is writing behind it
                wal.allot(self._room.wal, min(wal.KEPT, self._room.max_bytes // 8))

    def _all_in_place(self) -> bool:
        """Whether the files that are open, and the lock's, are those that others find; needs no lock."""
        return self._lock.in_place() and self._same_file()

    def _same_file(self) -> bool:
        return self._files == stranded.files(self._text)

    def _leave(self) -> None:
        """Closes the connection; what went into a log that was deleted is carried over, as far as can be."""
        if self.reader is not None:
            self.reader.close()
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
        self._be_together()
        db = self._db
        self._db = self._cursor = None  # before: who is interrupted leaves none that is closed
        if self.reader is not None:
            self.reader.close()
        if db is not None:
            db.close()

    # -- capturing alone ---------------------------------------------------------------------------

    def _go_alone(self, db: sqlite3.Connection, now: float) -> None:
        """Holding the lock: the next captures need none, if no other process has the outbox open.

        A query that is left open keeps SQLite's read transaction, which follows our own commits: the next
        insert begins none, and is refused where anybody else has committed. Meanwhile the log cannot be
        begun anew; so a look of the upkeep must have been lately, and the next one ends it when it is idle.
        """
        if now >= self._glanced_at + GLANCE:
            return
        if not self._lock.be_sole():
            self._alone_from = now + _MET
            return
        try:
            self._snapshot = db.execute(_SNAPSHOT)
        except sqlite3.Error:  # the insert tells what it is
            self._lock.share()
        else:
            self._is_alone = True

    def _be_together(self) -> None:
        """Ends it; the next call does, where an exception of a signal handler came in between."""
        self._is_alone, self._alone_from = False, time.monotonic() + _TOGETHER
        if self._snapshot is not None:
            with suppress(
                sqlite3.ProgrammingError
            ):  # a signal handler has captured while it was being closed
                self._snapshot.close()
        self._lock.share()
        self._snapshot = None

    # -- the newest number -------------------------------------------------------------------------

    def _caught_up(self) -> int | None:
        """Holding the lock, when another process has written: the newest number; None: ask for it."""
        look_at, self._look_at, self._seq = self._look_at, 0.0, None  # before the mark says that it is done
        if self._db is not None:
            self._alone_from = time.monotonic() + _MET
        self._seq = self._lock.take_over()
        if self._seq is not None:
            self._look_at = look_at
        return self._seq

    def renumber(self) -> None:
        """Within a write that has appended by itself: the newest number is read again."""
        self._seq = None
        self._lock.unsettle()

    def _newest(self, db: sqlite3.Connection) -> int:
        """The newest number; remembered while no other process has written."""
        if self._seq is None:
            self._seq = int(db.execute(_NEWEST).fetchone()[0])
        return self._seq
