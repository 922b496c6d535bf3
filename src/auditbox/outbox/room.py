"""How much an outbox may take on disk, counted without asking the disk each time; and how room is made."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from auditbox.checks import checked, is_count
from auditbox.errors import OutboxFull
from auditbox.outbox import ballast, transitions
from auditbox.outbox.transaction import Transaction
from auditbox.outbox.wal import checkpoint, truncate

if TYPE_CHECKING:
    from auditbox.outbox.base import Draft

ROW = 128
"""Bytes that an entry takes beside its body: id, lane, checksum, SQLite's own."""

_PORTION = 2 << 20
"""In the WAL, where each commit takes whole pages, small entries come to several times as much."""
_EVICTION = 256
_HUGE_WAL = 32 << 20
"""Bytes of the WAL's file at which whoever captures does not wait for the upkeep's checkpoint any more."""
_LARGEST = 512 * 1024
"""Bytes that a record of the default max_record_bytes takes, WAL included."""


def full_disk(path: Path) -> str:
    """What is said of a full disk."""
    return f"the disk that holds outbox {path} is full: free some space; captures go on by themselves"


class Room:
    """Counts down what is left of ``max_bytes``; measures only when the count has run out."""

    def __init__(self, path: Path, wal: Path, max_bytes: int) -> None:
        enough = is_count(max_bytes) and max_bytes >= 1 << 20
        checked("max_bytes", max_bytes, enough, "a whole number, at least 1 MiB (1048576)")
        self._path, self.wal, self.max_bytes = path, wal, max_bytes
        self.left = 0
        """Bytes that may be written before the disk is asked again."""

    @staticmethod
    def need(drafts: Sequence[Draft]) -> int:
        """The bytes that these take: everything is written into the WAL, and from there into the file."""
        return 2 * (sum([len(draft.body) for draft in drafts]) + ROW * len(drafts))

    def spend(self, need: int) -> bool:
        """Whether there is room for this many bytes, as far as was counted."""
        self.left -= need
        return self.left >= 0

    def measure(self, db: sqlite3.Connection) -> int:
        """What is left, in bytes (negative: over), by the pages in use and the WAL's size.

        Raises:
            OutboxFull: the disk is full, and what space there is, is kept for what makes room.
        """
        if not ballast.ensure(self._path, self.max_bytes):
            self.left = 0
            raise OutboxFull(full_disk(self._path))
        pages = (
            db.execute("PRAGMA page_count").fetchone()[0] - db.execute("PRAGMA freelist_count").fetchone()[0]
        )
        used = pages * db.execute("PRAGMA page_size").fetchone()[0] + self.wal_bytes()
        # Measured again after each portion, so that what other processes write is seen, and the WAL's size.
        left = self.max_bytes - used
        self.left = min(left, self.max_bytes // 64, _PORTION)
        return int(left)

    def make(self, db: sqlite3.Connection, need: int) -> None:
        """Checkpoints, then forgets what is settled, oldest first, until this many bytes fit.

        Raises:
            OutboxFull: only undelivered entries are left.
        """
        left = self.measure(db)
        if self.wal_bytes() >= _HUGE_WAL:
            checkpoint(db)
        if left >= need:
            return
        truncate(db)
        while self.measure(db) < need:
            with Transaction(db):
                forgotten = transitions.forget(db, float("inf"), _EVICTION)
            if not forgotten:
                raise OutboxFull(
                    f"outbox {self._path} holds max_bytes={self.max_bytes} of undelivered entries: "
                    "raise max_bytes, or see why delivery waits (auditbox status)"
                )
            truncate(db)

    def require(self, db: sqlite3.Connection) -> None:
        """Raises OutboxFull where the append of a largest record would."""
        self.make(db, _LARGEST)

    def wal_bytes(self) -> int:
        """The size of the WAL."""
        try:
            return os.stat(self.wal).st_size
        except FileNotFoundError:
            return 0
