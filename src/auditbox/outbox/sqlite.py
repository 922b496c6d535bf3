"""SqliteOutbox: the Outbox protocol on one SQLite file (WAL), shared by threads and processes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from sqlite3 import Connection

from auditbox.errors import ConfigurationError
from auditbox.outbox import forking, transitions
from auditbox.outbox.base import Depth, Draft, Exchanged, Now, Settlement
from auditbox.outbox.room import Room
from auditbox.outbox.statements import SQL
from auditbox.outbox.store import Store
from auditbox.outbox.upkeep import Upkeep

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
        if durability not in SYNCHRONOUS:
            raise ConfigurationError(f"durability={durability!r}: one of {', '.join(SYNCHRONOUS)}")
        if not busy_timeout > 0:
            raise ConfigurationError(f"busy_timeout={busy_timeout!r}: seconds, more than 0")
        if not keep_delivered >= 0:
            raise ConfigurationError(f"keep_delivered={keep_delivered!r}: seconds, 0 or more")
        if os.fspath(path) in ("", ":memory:"):
            raise ConfigurationError(f"outbox path {os.fspath(path)!r}: a file, such as 'audit.db'")
        self.path = Path(path).expanduser().absolute()
        self.wal = self._beside("-wal")
        self.relay_lock = self._beside(".relay")
        self.destination, self.durability = destination, durability
        self._keep_delivered = keep_delivered
        self._room = Room(self.wal, max_bytes)
        self._store = Store(
            self.path,
            destination=destination,
            synchronous=SYNCHRONOUS[durability],
            room=self._room,
            bound=busy_timeout,
            create=create,
        )
        self._upkeep = Upkeep(self)
        self._data_version = -1
        self._behind = durability == "none"
        forking.register(self._upkeep)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    # -- capturing ---------------------------------------------------------------------------------

    def append(self, drafts: Sequence[Draft]) -> None:
        """Stores all drafts or none; see :class:`~auditbox.outbox.base.Outbox`."""
        if self._behind and self._store.is_open and self._upkeep.write_behind(drafts):
            return
        self._store.append(drafts)
        if not self._upkeep.dirty:
            self._upkeep.written()

    def append_now(self, drafts: Sequence[Draft]) -> None:
        """As append, never behind."""
        self._store.append(drafts)
        self._upkeep.written()

    def try_append(self, drafts: Sequence[Draft]) -> bool:
        """As append, but False at once where it would wait for another writer or for the disk."""
        if self._behind or self.durability == "power" or not self._store.is_open:
            return False
        stored = self._store.try_append(drafts)
        if stored:
            self._upkeep.written()
        return stored

    def ready(self) -> None:
        """Returns if an append could be stored now; raises the OutboxError that it would meet."""
        self._store.read(self._store.require_room)

    # -- delivering --------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The outbox's own id."""
        if not self._store.name:
            self._store.read(lambda _: None)
        return self._store.name

    def take_over(self, now: Now, verify_after: float) -> int:
        """Starts a new epoch; see :class:`~auditbox.outbox.base.Outbox`."""
        return self._store.write(lambda db: transitions.take_over(db, os.getpid(), now, verify_after))

    def exchange(
        self, epoch: int, settlements: Sequence[Settlement], limit: int, now: Now, longest_wait: float
    ) -> Exchanged:
        """Settles and claims; see :class:`~auditbox.outbox.base.Outbox`."""
        exchanged = self._store.write(
            lambda db: transitions.exchange(db, epoch, settlements, limit, now, longest_wait)
        )
        self._upkeep.written()
        return exchanged

    def next_due(self, now: Now, longest_wait: float) -> float | None:
        """Seconds until something can be claimed (0: now); None where nothing is left."""
        return self._store.read(lambda db: transitions.next_due(db, now, longest_wait))

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
        return self._store.read(lambda db: transitions.unsettled(db, upto))

    def depth(self) -> Depth:
        """What the outbox holds."""
        return self._store.read(transitions.depth)

    # -- dead letters ------------------------------------------------------------------------------

    def dead_letters(self, id: str | None = None) -> list[DeadLetter]:
        """Every dead letter, or the one with this id."""
        return self._store.read(lambda db: db.execute(SQL["dead_letters"], {"id": id}).fetchall())

    def replay(self, letters: Sequence[DeadLetter], now: Now) -> list[str]:
        """Sends dead letters again; returns the ids that later records of their lane have overtaken."""
        return self._store.write(
            lambda db: [id for seq, id, lane in letters if transitions.replay(db, seq, lane, now)]
        )

    def discard(self, letters: Sequence[DeadLetter], reason: str, now: Now) -> None:
        """Gives dead letters up for good; their receipts keep the reason."""

        def work(db: Connection) -> None:
            for seq, _, lane in letters:
                transitions.discard(db, seq, lane, reason, now)

        self._store.write(work)

    # -- upkeep ------------------------------------------------------------------------------------

    def wal_bytes(self) -> int:
        """The size of the WAL."""
        return self._room.wal_bytes()

    def checkpoint(self) -> None:
        """Moves the WAL's content into the database file; does not wait for readers."""
        if self._store.is_open and self.wal_bytes():
            self._store.read(lambda db: db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())

    def retain(self, limit: int = 500) -> int:
        """Forgets settled entries older than ``keep_delivered``, in small transactions; returns how many."""
        if not self._store.is_open:
            return 0
        before, total = time.time() - self._keep_delivered, 0
        while forgotten := self._store.write(lambda db: transitions.forget(db, before, limit)):
            total += forgotten
        if total:
            self._store.read(lambda db: db.execute("PRAGMA incremental_vacuum(2000)").fetchall())
        return total

    def close(self) -> None:
        """Stores what is written behind and closes the file; a later call opens it again."""
        self._upkeep.stop()
        self._store.close()
