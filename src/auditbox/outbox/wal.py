"""The write-ahead log: its checkpoints; whether much of it is in use, and a start at full size.

Its file is the only one of SQLite's that others may open: SQLite holds its locks on the ``-shm``.
What is looked at here is described in sqlite.org/fileformat2.html#the_write_ahead_log.
"""

from __future__ import annotations

import os
from pathlib import Path
from sqlite3 import Connection

KEPT = 8 << 20
"""Bytes that the file keeps when it is begun anew: to write over pages that are there costs half, and a sync
that changes no size leaves the filesystem's own journal alone."""
_HEADER, _FRAME_HEADER = 32, 24
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def sync(path: Path) -> bool:
    """Forces the log to the disk, on a descriptor of its own; False where there is none."""
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        return False
    try:
        getattr(os, "fdatasync", os.fsync)(descriptor)
    finally:
        os.close(descriptor)
    return True


def reaches(path: Path, size: int) -> bool:
    """Whether so many bytes were written since the log was last begun anew; the file may be larger.

    Frames of this turn carry the salt of the header; behind them is what an earlier turn has left. (One
    look, and no search: each call of the system may cost its caller a turn at Python's lock.)
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        return False
    try:
        header = os.pread(descriptor, _HEADER, 0)
        frame = int.from_bytes(header[8:12]) + _FRAME_HEADER
        found = os.pread(descriptor, _FRAME_HEADER, _HEADER + size // frame * frame)
        return any(header) and found[8:16] == header[16:24]
    finally:
        os.close(descriptor)


def allot(path: Path, size: int) -> None:
    """Writes zeros behind the log until it has this size, and syncs it. The caller holds SQLite's write lock.

    Zeros are no frames: whoever recovers the log stops before them.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        if (missing := size - (end := os.fstat(descriptor).st_size)) > 0:
            os.pwrite(descriptor, bytes(missing), end)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checkpoint(db: Connection) -> None:
    """Moves the WAL's content into the database file; waits for nobody, and keeps the WAL's file as it is."""
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def truncate(db: Connection) -> None:
    """Moves the WAL's content into the database file and empties the WAL, unless a reader holds it."""
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
