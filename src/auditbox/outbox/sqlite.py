"""SqliteOutbox: the Outbox protocol on one SQLite file (WAL), shared by threads and processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection
from typing import Any, TypeVar

from auditbox.checks import checked, is_number
from auditbox.errors import ConfigurationError, OutboxError, OutboxFull
from auditbox.outbox import ballast, forking, pending, transitions, waiting, wal
from auditbox.outbox.base import Ahead, Depth, Draft, Exchanged, Look, Now, Settlement
from auditbox.outbox.files import logger
from auditbox.outbox.job import Interrupted
from auditbox.outbox.mark import Mark, Sent
from auditbox.outbox.memo import Memo, Progress
from auditbox.outbox.passage import Passage
from auditbox.outbox.reader import Reader
from auditbox.outbox.recovery import Reserved, reserve
from auditbox.outbox.room import Room, full_disk
from auditbox.outbox.rows import checksum, position
from auditbox.outbox.statements import SQL
from auditbox.outbox.store import Store
from auditbox.outbox.upkeep import Upkeep

T = TypeVar("T")
LARGE_WAL = wal.KEPT // 2
"""Written bytes at which the WAL is checkpointed: what comes until that is done has room in what is kept."""
SMALL_WAL = 128 << 10
_PAGES, _VACUUMS = 32, 100
"""Pages that are given back at a time (of a million, each takes SQLite 0.1 ms), and how often in
a round of upkeep; captures take their turns in between."""
_UNUSED = 64
"""Pages that may lie idle: giving them back costs more than they take."""
_AMONG = 10_000
"""The newest entries among which one is looked for that may have been stored a moment ago."""
_TRIES = 3
"""How often an append is begun that is interrupted each time."""
_LONGEST_WAIT = 86400
"""Seconds of ``busy_timeout``: a lock of the system takes no more than threading.TIMEOUT_MAX at a time."""
SYNCHRONOUS = {"crash": "NORMAL", "power": "FULL", "none": "NORMAL"}
"""Durability in SQLite's words (sqlite.org/pragma.html#pragma_synchronous)."""

DeadLetter = tuple[int, str, str]
"""Number, entry id and lane."""


class SqliteOutbox:
    """An Outbox in one SQLite file. Constructing it touches nothing.

    Args:
        path: the file; made absolute here. Its directory is made when it is first needed.
        destination: names where its entries go; None leaves that open to whoever relays.
        durability: what a returned append survives: ``"crash"``, ``"power"`` or ``"none"``.
        max_bytes: the most that the file and its WAL may take.
        keep_delivered: seconds for which settled entries are kept.
        busy_timeout: the longest wait for a turn to write, in seconds.
        create: False refuses to make the file (the command line never makes one).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        destination: str | None = None,
        durability: str = "crash",
        max_bytes: int = 1 << 30,
        keep_delivered: float = 7 * 86400,
        busy_timeout: float = 5.0,
        create: bool = True,
    ) -> None:
        known = isinstance(durability, str) and durability in SYNCHRONOUS
        checked("durability", durability, known, f"one of {', '.join(SYNCHRONOUS)}")
        waits = is_number(busy_timeout) and 0 < busy_timeout <= _LONGEST_WAIT
        checked(
            "busy_timeout",
            busy_timeout,
            waits,
            f"a number of seconds, more than 0 and at most {_LONGEST_WAIT} (a day)",
        )
        keeps = is_number(keep_delivered) and keep_delivered >= 0
        checked("keep_delivered", keep_delivered, keeps, "a number of seconds, 0 or more")
        checked("path", path, isinstance(path, str | os.PathLike), "a file, such as 'audit.db'")
        if os.fspath(path) in ("", ":memory:"):
            raise ConfigurationError(f"outbox path {os.fspath(path)!r}: a file, such as 'audit.db'")
        self.path = Path(path).expanduser().absolute()
        self.wal = self._beside("-wal")
        self.relay_lock = self._beside(".relay")
        self.destination, self.durability = destination, durability
        self._keep_delivered = keep_delivered
        self._room = Room(self.path, self.wal, max_bytes)
        self._store = Store(
            self.path,
            destination=destination,
            synchronous=SYNCHRONOUS[durability],
            room=self._room,
            bound=busy_timeout,
            create=create,
        )
        self._reader = Reader(self.path, self._store)
        self._store.reader = self._reader
        self._memo = Memo(self.path)
        self._on_disk = ("", 0)
        """Of which outbox, and up to which number, this process has synced the reservation."""
        self._upkeep = Upkeep(self, self._store.glance)
        self._data_version = -1
        self._behind = durability == "none"
        self._store.upkeep = self._upkeep
        self.append_alone = self._append_behind if self._behind else self._store.append_alone
        """Stores one draft if nobody else is writing; False: it takes :meth:`append`, nothing was stored."""
        self.give_way = self._store.give_way
        forking.register(self._upkeep)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    # -- capturing ---------------------------------------------------------------------------------

    def append(self, drafts: Sequence[Draft]) -> None:
        """Stores all drafts or none; see :class:`~auditbox.outbox.base.Outbox`."""
        if self._behind and self._store.is_open and self._upkeep.write_behind(drafts):
            return
        try:
            self.append_now(drafts)
        except OutboxFull:
            self._room.left = 0  # what the relay may set free now is not for captures
            raise

    def _append_behind(self, draft: Draft) -> bool:
        return self._store.is_open and self._upkeep.write_behind((draft,))

    def append_now(self, drafts: Sequence[Draft]) -> None:
        """As append, never behind."""
        try:
            self._store.append(drafts)
        except Interrupted:
            self.append_missing(drafts)
        else:
            self._upkeep.written()

    def append_missing(self, drafts: Sequence[Draft]) -> None:
        """As append, for drafts of which all are stored already, or none: looks for them first.

        Among the newest entries only: it must be called soon.

        Raises:
            Interrupted: it is still not known; its ``drafts`` are these.
        """
        doubt = Interrupted()
        doubt.drafts = drafts
        wanted = (_AMONG, drafts[-1].id)
        for _ in range(_TRIES):
            try:
                found = self._store.read(lambda db: db.execute(SQL["among_newest"], wanted).fetchone()[0])
            except Interrupted:
                continue
            except OutboxError as error:
                raise doubt from error
            with suppress(Interrupted):
                if not found:
                    self._store.append(drafts)
                self._upkeep.written()
                return
        raise doubt

    def try_append(self, drafts: Sequence[Draft]) -> bool:
        """As append, but False at once where it would wait for another writer or for the disk."""
        if self.durability == "power":
            return False
        if self._behind:
            return self._store.is_open and self._upkeep.write_behind(drafts)
        if len(drafts) == 1 and self._store.append_alone(drafts[0]):
            return True
        if not (self._store.is_open and self._store.try_append(drafts)):
            return False
        self._upkeep.written()
        return True

    def ready(self) -> None:
        """Returns if an append could be stored now; raises the OutboxError that it would meet."""
        self._store.read(self._room.require)

    # -- delivering --------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The outbox's own id."""
        if not self._store.name:
            self._store.read(lambda _: None)
        return self._store.name

    def take_over(self, now: Now, verify_after: float, clock: str | None = None) -> int:
        """Starts a new epoch; see :class:`~auditbox.outbox.base.Outbox`."""
        pid = os.getpid()

        def work(db: Connection) -> tuple[Mark, int, int]:
            before = position(db)[1]
            mark = Mark(self.path, self._store.name, before + 1)
            trusted = mark.fence() and (mark.knows_the_start or self.durability != "power")
            sent = mark.sent(before) if trusted else None
            transitions.take_over(db, pid, now, verify_after, clock, sent)
            return mark, *position(db)

        self._on_disk = ("", 0)
        mark, cursor, epoch = self._settle(work)
        mark.note(Sent(cursor, now.sink))
        mark.close()
        return epoch

    def mark(self, epoch: int) -> Mark | None:
        """Where the relay of this epoch notes how far it sends; None where it cannot, or may not any more."""
        mark = Mark(self.path, self.name, epoch)
        self._store.mark = mark
        return mark if mark.holds() else None

    def exchange(
        self,
        epoch: int,
        settlements: Sequence[Settlement],
        limit: int,
        now: Now,
        longest_wait: float,
        fresh_first: bool = False,
        ahead: Ahead | None = None,
    ) -> Exchanged:
        """Settles and claims; see :class:`~auditbox.outbox.base.Outbox`."""
        upto = 0 if ahead is None else ahead.reserve
        passage = None if ahead is None else Passage.of(ahead)

        def work(db: Connection) -> tuple[transitions.Moved, Reserved | None]:
            moved = transitions.exchange(
                db, epoch, settlements, limit, now, longest_wait, fresh_first, passage
            )
            return moved, reserve(db, max([upto, *(row[0] for row in moved.rows)]))

        moved, reserved = self._settle(work)
        if reserved is not None:
            if (self.name, reserved.upto) != self._on_disk:  # another relay may have died before its sync
                if self.durability != "power":
                    self.sync()
                self._on_disk = self.name, reserved.upto
            self._memo.note(Progress(self.name, reserved.newest, reserved.claims))
        self._upkeep.written()
        return moved.exchanged(now)

    def _settle(self, work: Callable[[Connection], T]) -> T:
        """What must go on when the disk is full, or it would stay so: the ballast is there for it."""
        if ballast.is_released(self.path):
            self._keep_wal_small()
        try:
            return self._store.write(work)
        except OutboxFull:
            if ballast.release(self.path):
                logger.warning("%s; delivery goes on in the space kept for it", full_disk(self.path))
            self._room.left = 0
            self._keep_wal_small()
            return self._store.write(work)

    def _keep_wal_small(self) -> None:
        """What is in the file already is written over, and takes no further space."""
        with suppress(OutboxError):
            self.checkpoint()

    @property
    def reserved(self) -> int:
        """Up to which number something may be sent: it is known on the disk."""
        name, upto = self._on_disk
        return upto if name == self.name else 0

    def look(self, after: int | None, count: int, now: Now, longest_wait: float) -> Look:
        """What comes next; see :class:`~auditbox.outbox.base.Outbox`."""

        def work(db: Connection) -> tuple[list[tuple[Any, ...]], bool, float | None]:
            return *transitions.beyond(db, after, count), pending.next_due(db, now, longest_wait)

        rows, blocked, due = self._reader.read(work)
        return Look([transitions.claim(row, now) for row in rows], blocked, due)

    def changed(self) -> bool:
        """Whether another connection has committed since the last call (``PRAGMA data_version``)."""
        before = self._data_version
        self._data_version = self._store.read(lambda db: db.execute("PRAGMA data_version").fetchone()[0])
        return before != self._data_version

    def last_seq(self) -> int:
        """The newest number; 0 where nothing was captured yet."""
        self._upkeep.flush_behind()
        newest: int = self._store.read(lambda db: db.execute(SQL["newest"]).fetchone()[0])
        return newest

    def unsettled(self, upto: int) -> tuple[int, int]:
        """How many entries up to this number are pending, and how many are dead."""
        return self._store.read(lambda db: pending.unsettled(db, upto))

    def depth(self) -> Depth:
        """What the outbox holds."""
        return self._store.read(pending.depth)

    def held(self) -> str | None:
        """What holds up entries under way, in words; see :mod:`auditbox.outbox.waiting`."""
        return self._store.read(waiting.held)

    # -- dead letters ------------------------------------------------------------------------------

    def dead_letters(self, id: str | None = None) -> list[DeadLetter]:
        """Every dead letter, or the one with this id."""
        return self._store.read(lambda db: db.execute(SQL["dead_letters"], {"id": id}).fetchall())

    def replay(self, letters: Sequence[DeadLetter], now: Now) -> list[str]:
        """Sends dead letters again; returns the ids that later records of their lane have overtaken."""
        return self._settle(
            lambda db: [id for seq, id, lane in letters if transitions.replay(db, seq, lane, now)]
        )

    def discard(self, letters: Sequence[DeadLetter], reason: str, now: Now) -> None:
        """Gives dead letters up for good; their receipts keep the reason, without secrets."""
        reason = _masked(reason)

        def work(db: Connection) -> None:
            for seq, _, lane in letters:
                transitions.discard(db, seq, lane, reason, now)

        self._settle(work)

    def fix(self, letter: DeadLetter, draft: Draft, reason: str, now: Now) -> int | None:
        """Appends the correction of a dead letter and gives that up, in one transaction.

        Returns:
            The correction's number; None where the letter is none any more, and nothing was changed.
        """
        seq, _, lane = letter
        id, new_lane, body = draft
        reason = _masked(reason)

        def work(db: Connection) -> int | None:
            if not transitions.discard(db, seq, lane, f"{reason}; replaced by {id}", now):
                return None
            number: int = db.execute(SQL["newest"]).fetchone()[0] + 1
            row = (number, id, new_lane, body, checksum(number, id, new_lane, body))
            self._store.renumber()
            db.execute(SQL["append"], row)
            return number

        return self._settle(work)

    # -- upkeep ------------------------------------------------------------------------------------

    def wal_bytes(self) -> int:
        """The size of the WAL."""
        return self._room.wal_bytes()

    def look_at_disk(self) -> None:
        """Makes the ballast again where there is space for it, and minds where there is none."""
        if self._store.is_open and not ballast.ensure(self.path, self._room.max_bytes):
            self._room.left = 0

    def sync(self) -> None:
        """Forces to the disk what was committed, without keeping anybody from writing."""
        wal.sync(self.wal)

    def is_wal_large(self) -> bool:
        """Whether the WAL is to be checkpointed: early enough for the ballast where space is short."""
        return wal.reaches(self.wal, SMALL_WAL if ballast.is_short(self.path) else LARGE_WAL)

    def checkpoint(self) -> None:
        """Moves the WAL's content into the database file; does not wait for readers."""
        if self._store.is_open and self.wal_bytes():
            self.sync()  # or SQLite would, with everybody waiting
            self._store.read(_empty_wal if ballast.is_short(self.path) else wal.checkpoint)

    def retain(self, limit: int = 500) -> int:
        """Forgets settled entries older than ``keep_delivered`` and gives their space back.

        In small transactions; returns how many entries were forgotten and pages given back.
        """
        if not self._store.is_open:
            return 0
        before, total = time.time() - self._keep_delivered, 0
        while forgotten := self._settle(lambda db: transitions.forget(db, before, limit)):
            total += forgotten
        for _ in range(_VACUUMS):
            if not (given_back := self._store.read(_vacuum)):
                break
            total += given_back
        return total

    def close(self) -> None:
        """Stores what is written behind and closes the file; a later call opens it again."""
        self._upkeep.stop()
        self._store.close()


def _masked(reason: str) -> str:
    from auditbox.redaction import Redaction

    return Redaction().text(reason)


def _vacuum(db: Connection) -> int:
    """Gives some unused pages back, if there are enough to be worth it; returns how many."""
    unused: int = db.execute("PRAGMA freelist_count").fetchone()[0]
    if unused < _UNUSED:
        return 0
    db.executescript(f"PRAGMA incremental_vacuum({_PAGES})")  # execute() takes one step, and that is a page
    return unused - int(db.execute("PRAGMA freelist_count").fetchone()[0])


def _empty_wal(db: Connection) -> None:
    """As a checkpoint, and gives the WAL's space back: captures must not fill it on a disk that is full."""
    db.execute("PRAGMA busy_timeout = 0")
    try:
        wal.truncate(db)
    finally:
        db.execute("PRAGMA busy_timeout = 1000")
