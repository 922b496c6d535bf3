"""A connection whose write-ahead log was deleted under it: what only it still sees is put into the file.

It happens where a program opens and closes the database file itself, which drops this process's locks on it:
the next that closes the outbox takes itself for the last, and deletes the log. It happens by ``rm``, too.
What was committed since stands in a file without a name, and is gone with the process.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from auditbox.errors import OutboxBusy

Files = tuple[tuple[int, int] | None, ...]
"""Device and inode of the database, its write-ahead log and the log's index; None: there is none."""


def files(database: str) -> Files:
    """What stands at the three paths now. Nothing of it changes while somebody has the outbox open."""
    return tuple(_identity(path) for path in (database, f"{database}-wal", f"{database}-shm"))


def leave(db: sqlite3.Connection, path: Path, known: Files) -> str:
    """What comes of a connection whose log, or its index, is not the one at the path any more.

    The caller holds the lock between processes, and closes it next. A checkpoint gives everything back, but
    only where nobody has the file open otherwise, or has changed it: pages of two logs must not be mixed.

    Raises:
        OutboxBusy: a reader keeps that from being done now; the connection must stay open.
    """
    if db.in_transaction:
        db.execute("ROLLBACK")
    _, log, index = files(str(path))
    # Where it is given up: interrupted, SQLite does no checkpoint when the last connection goes.
    written = log not in (None, known[1]) and _size(f"{path}-wal") > 0
    if written and index == known[2]:  # the one index is of the new log now, and says nothing of the old one
        db.interrupt()
        return "another process has carried over what it found; what came after that is lost"
    if written or index not in (None, known[2]) or not _holds_all_of(db, path):
        db.interrupt()
        return "others have written to a new one: what this process captured in between may be lost"
    busy, frames, moved = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if busy or moved < frames:
        raise OutboxBusy(f"a reader keeps what was written to outbox {path} from being carried over")
    return "all that was captured is carried over"


def _holds_all_of(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the database file, without any log, is an earlier state of what this connection sees."""
    file = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
    try:
        if not file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return True
        newest, epoch, claims = file.execute(_STATE).fetchone()
        entry = "SELECT id FROM entry WHERE seq = ?"
        before = db.execute(_STATE).fetchone()
        same = file.execute(entry, (newest,)).fetchone() == db.execute(entry, (newest,)).fetchone()
        return bool(same and epoch <= before[1] and claims <= before[2])
    except (sqlite3.Error, TypeError):
        return False
    finally:
        file.close()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _size(path: str) -> int:
    with suppress(OSError):
        return os.stat(path).st_size
    return 0


_STATE = "SELECT (SELECT max(seq) FROM entry), (SELECT epoch FROM relay), (SELECT claims FROM lead)"
