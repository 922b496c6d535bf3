"""Opening an outbox: its settings, its layout and version, whose it is; and SQLite's errors in our words."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from auditbox.errors import (
    NotAnOutbox,
    OutboxBusy,
    OutboxDamaged,
    OutboxError,
    OutboxFull,
    OutboxTooNew,
    WrongDestination,
)
from auditbox.outbox.files import prepare_file, unusable
from auditbox.outbox.transitions import relay_checksum
from auditbox.uuid7 import uuid7

if TYPE_CHECKING:
    from sqlite_utils import Database

VERSION = 1
APPLICATION_ID = 0x41554458
"""``AUDX`` in the file's header says that a database is an outbox (sqlite.org/fileformat2.html)."""

MIGRATIONS: dict[int, Callable[[Database], Any]] = {}
"""What leads from the version before to this one; each runs in the transaction that raises the version."""


def open_database(
    path: Path, *, create: bool, synchronous: str, destination: str | None
) -> tuple[sqlite3.Connection, str]:
    """A connection to the outbox at this path, and the outbox's own id.

    The caller holds the lock between processes, so that only one of them creates or migrates.

    Raises:
        OutboxUnusable: and its subclasses, each with the way out.
    """
    if create:
        prepare_file(path)
    db = _connect(path, synchronous)
    try:
        return db, _check(db, path, create, destination)
    except BaseException:
        db.close()
        raise


def new_database(path: Path, name: str | None, destination: str | None) -> sqlite3.Connection:
    """A new outbox in this empty file, with the id and destination of an earlier one where they are known."""
    db = _connect(path, "FULL")
    _create(db, destination, name)
    return db


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=1.0,
    )
    db.text_factory = lambda text: text.decode("utf-8", "replace")  # a flipped bit must not stop the relay
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("PRAGMA journal_size_limit = 4194304")
    db.execute("PRAGMA trusted_schema = OFF")
    if sys.platform == "darwin" and synchronous == "FULL":
        db.execute("PRAGMA fullfsync = ON")
    return db


def _check(db: sqlite3.Connection, path: Path, create: bool, destination: str | None) -> str:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables and create:
        _create(db, destination)
    elif not tables or db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise NotAnOutbox(f"{path} is not an auditbox outbox: choose another path")
    version, name, owner = db.execute("SELECT version, outbox, destination FROM meta").fetchone()
    if version > VERSION:
        raise OutboxTooNew(
            f"outbox {path} has layout {version}, this auditbox knows {VERSION}: upgrade auditbox"
        )
    if version < VERSION:
        _migrate(db, version)
    _claim_destination(db, path, owner, destination)
    return str(name)


def _create(db: sqlite3.Connection, destination: str | None, name: str | None = None) -> None:
    from sqlite_utils import Database

    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    schema = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    # One transaction: a process that dies in between leaves an empty file, which counts as none.
    Database(db).executescript(f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; {schema}")
    db.execute(
        "INSERT INTO meta (version, outbox, destination) VALUES (?, ?, ?)",
        (VERSION, name or uuid7(), destination),
    )
    db.execute("INSERT INTO relay (checksum) VALUES (?)", (relay_checksum(0, 0),))
    db.execute("COMMIT")


def _migrate(db: sqlite3.Connection, version: int) -> None:
    from sqlite_utils import Database

    for target in range(version + 1, VERSION + 1):
        db.execute("BEGIN IMMEDIATE")
        try:
            MIGRATIONS[target](Database(db))
            db.execute("UPDATE meta SET version = ?", (target,))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def _claim_destination(
    db: sqlite3.Connection, path: Path, owner: str | None, destination: str | None
) -> None:
    if destination is None or destination == owner:
        return
    if owner is not None:
        raise WrongDestination(
            f"outbox {path} belongs to {owner}, not to {destination}: use one outbox per destination"
        )
    db.execute("UPDATE meta SET destination = ?", (destination,))


_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_damage(error: Exception) -> bool:
    """Whether SQLite, or a checksum of ours, says that the file is not what was written."""
    return isinstance(error, OutboxDamaged) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


_DAMAGED = {sqlite3.SQLITE_CORRUPT}


def translated(error: Exception, path: Path) -> OutboxError:
    """SQLite's or the system's error as one of ours, with the way out."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        return OutboxBusy(f"outbox {path} is locked by a program that does not share auditbox's lock")
    if code == sqlite3.SQLITE_FULL:
        return OutboxFull(
            f"the disk that holds outbox {path} is full: free some space; captures go on by themselves"
        )
    if code == sqlite3.SQLITE_NOTADB:
        return NotAnOutbox(f"{path} is not an auditbox outbox: choose another path")
    if code in _DAMAGED:
        return OutboxDamaged(f"outbox {path} is damaged ({error}) and could not be salvaged: move it aside")
    return unusable(path, error)
