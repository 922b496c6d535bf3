"""Opening an outbox: its settings, its layout and version, whose it is; and SQLite's errors in our words."""

from __future__ import annotations

import errno
import functools
import os
import sqlite3
import sys
from collections.abc import Callable
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
from auditbox.outbox import ballast, handover, migration, quarantine, recovery, torn, wal
from auditbox.outbox.files import logger, prepare_file, unusable
from auditbox.outbox.mark import Mark, Sent
from auditbox.outbox.memo import Identity, Memo, Progress
from auditbox.outbox.presence import is_held
from auditbox.outbox.room import full_disk
from auditbox.outbox.rows import lead, position, relay_checksum
from auditbox.outbox.statements import SQL, read
from auditbox.outbox.transaction import Transaction
from auditbox.uuid7 import uuid7

if TYPE_CHECKING:
    from sqlite_utils import Database

VERSION = 3
_MARKED = 3
"""The first layout of which something may have been sent that is not on record."""
APPLICATION_ID = 0x41554458
"""``AUDX`` in the file's header says that a database is an outbox (sqlite.org/fileformat2.html)."""

MIGRATIONS: dict[int, Callable[[Database], Any]] = {
    2: migration.to_version_2,
    3: migration.to_version_3,
}
"""What leads from the version before to this one; each runs in the transaction that raises the version."""


def open_database(
    path: Path, *, create: bool, synchronous: str, destination: str | None, first: bool = True
) -> tuple[sqlite3.Connection, str]:
    """A connection to the outbox at this path, and the outbox's own id.

    The caller holds the lock between processes, so that only one of them creates, migrates or recovers.
    ``first``: this process has not had it open yet, so that somebody may have left it in whatever state.

    Raises:
        OutboxUnusable: and its subclasses, each with the way out.
        OutboxDamaged: it is ours and cannot be read: what is intact can be salvaged.
    """
    quarantine.adopt(path)
    memo = Memo(path)
    ours, unclean = memo.identity(), _size(path.with_name(path.name + "-wal")) > 0
    if create:
        prepare_file(path)
    if _is_full(path):  # to open it takes some space, too
        ballast.release(path)
    if ours and _size(path) == 0:  # SQLite would take it for new, and delete its write-ahead log
        raise OutboxDamaged(f"outbox {path} has been emptied")
    if ours and (torn.is_kept(path) or (first and unclean and torn.hides(path, ours.outbox))):
        raise OutboxDamaged(f"the write-ahead log of outbox {path} has a gap before its last commit")
    db = _connect(path)
    try:
        name, owner = _checked(db, path, create, synchronous, destination, ours)
        memo.identify(name, owner)
        _recover(db, path, memo.progress(name), handover.noted(path, name), unclean=unclean)
    except BaseException:
        db.close()
        raise
    return db, name


def _is_full(path: Path) -> bool:
    disk = os.statvfs(path.parent)
    return disk.f_bavail * disk.f_frsize < _LEAST_SPACE


def new_database(path: Path, name: str | None, destination: str | None) -> sqlite3.Connection:
    """A new outbox in this empty file, with the id and destination of an earlier one where they are known."""
    db = _connect(path)
    _configure(db, "FULL")
    _create(db, destination, name)
    return db


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


READ_TEXT = functools.partial(str, encoding="utf-8", errors="replace")
"""A connection's text factory: a flipped bit must not stop the relay. A function in Python costs more."""


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=1.0,
    )
    db.text_factory = READ_TEXT
    return db


def _configure(db: sqlite3.Connection, synchronous: str) -> None:
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute(f"PRAGMA journal_size_limit = {wal.KEPT}")
    db.execute("PRAGMA trusted_schema = OFF")
    if sys.platform == "darwin" and synchronous == "FULL":
        db.execute("PRAGMA fullfsync = ON")


def _checked(
    db: sqlite3.Connection,
    path: Path,
    create: bool,
    synchronous: str,
    destination: str | None,
    ours: Identity | None,
) -> tuple[str, str | None]:
    """The outbox's id and destination, once it is known to be an outbox that can be used.

    Whether a file that cannot be read is ours to set aside is a grave question: it is, if it carries our
    application id, or if it is the very file that was opened as an outbox before. (What SQLite says of a
    damaged file can hold damaged text, hence the UnicodeDecodeError.)
    """
    mark = ours is not None
    try:
        _configure(db, synchronous)
        mark = mark or db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        name, owner = _check(db, path, create and ours is None, ours)
        return name, _claim_destination(db, path, owner, destination, may_change=create)
    except (NotAnOutbox, sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if mark and (isinstance(error, (NotAnOutbox, UnicodeDecodeError)) or _is_ruin(error, path)):
            raise OutboxDamaged(f"outbox {path} cannot be read: {error}") from error
        if not mark and (isinstance(error, UnicodeDecodeError) or _code(error) in _UNREADABLE):
            raise NotAnOutbox(f"{path} is not an auditbox outbox: choose another path") from error
        raise


def _check(db: sqlite3.Connection, path: Path, create: bool, ours: Identity | None) -> tuple[str, str | None]:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables and create:
        _create(db, None)
    elif not tables or db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise NotAnOutbox(f"{path} is not an auditbox outbox: choose another path")
    version, name, owner = db.execute("SELECT version, outbox, destination FROM meta").fetchone() or (
        0,
        "",
        "",
    )
    if ours and (name, owner) != (ours.outbox, ours.destination):
        raise OutboxDamaged(f"outbox {path} is damaged: its own id or its destination has changed")
    if version != (db.execute("PRAGMA user_version").fetchone()[0] or 1):
        raise OutboxDamaged(f"outbox {path} is damaged: it says that it has two different layouts")
    if version > VERSION:
        raise OutboxTooNew(
            f"outbox {path} has layout {version}, this auditbox knows {VERSION}: upgrade auditbox"
        )
    if version < VERSION:
        _migrate(db, version)
        if version < _MARKED:  # whatever was sent is on record
            Mark(path, str(name), position(db)[1]).note(Sent(position(db)[0], None))
    _check_layout(db, path)
    return str(name), owner


def _check_layout(db: sqlite3.Connection, path: Path) -> None:
    if altered(db, missing=True):
        raise OutboxDamaged(f"outbox {path} is damaged: its tables are not as they were made")
    if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        raise OutboxDamaged(f"outbox {path} is damaged: its header says that it has no write-ahead log")
    db.execute(SQL["try_to_write"])


def altered(db: sqlite3.Connection, *, missing: bool) -> bool:
    """Whether SQLite remembers our tables otherwise than it was given them; do ``missing`` ones count?"""
    found = dict(db.execute("SELECT name, sql FROM sqlite_master"))
    return any(found.get(name, None if missing else sql) != sql for name, sql in _layout().items())


@functools.cache
def _layout() -> dict[str, str]:
    """What was created, as SQLite remembers it: the statements' texts, by the names of tables and indexes."""
    db = sqlite3.connect(":memory:")
    try:
        db.executescript(schema())
        return dict(db.execute("SELECT name, sql FROM sqlite_master"))
    finally:
        db.close()


def schema() -> str:
    """The statements that make an outbox."""
    return read("auditbox.outbox", "schema.sql") + read("auditbox.outbox", "schema2.sql")


def _create(db: sqlite3.Connection, destination: str | None, name: str | None = None) -> None:
    from sqlite_utils import Database

    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    # One transaction: a process that dies in between leaves an empty file, which counts as none.
    Database(db).executescript(
        f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; "
        f"PRAGMA user_version = {VERSION}; {schema()}"
    )
    db.execute(
        "INSERT INTO meta (version, outbox, destination) VALUES (?, ?, ?)",
        (VERSION, name or uuid7(), destination),
    )
    db.execute("INSERT INTO relay (checksum) VALUES (?)", (relay_checksum(0, 0),))
    db.execute("INSERT INTO lead (clock) VALUES (NULL)")
    db.execute("COMMIT")


def _migrate(db: sqlite3.Connection, version: int) -> None:
    from sqlite_utils import Database

    for target in range(version + 1, VERSION + 1):
        with Transaction(db):
            MIGRATIONS[target](Database(db))
            db.execute("UPDATE meta SET version = ?", (target,))
            db.execute(f"PRAGMA user_version = {target}")


def _recover(
    db: sqlite3.Connection, path: Path, progress: Progress | None, noted: int, *, unclean: bool
) -> None:
    if (reason := recovery.missing(db, progress, noted, unclean=unclean)) is None:
        recovery.begin_anew(db)
        return
    with Transaction(db):
        pending = recovery.recover(db, progress, noted, reason)
    logger.warning(
        "outbox %s: %s; %d pending entries are looked up before they are sent", path, reason, pending
    )


def _claim_destination(
    db: sqlite3.Connection, path: Path, owner: str | None, destination: str | None, *, may_change: bool
) -> str | None:
    """Where its entries go from now on: another place only if nothing may have gone to the first one.

    And only where the application says so, or somebody in so many words: a command may have been given a
    wrong environment.
    """
    if destination is None or destination == owner:
        return owner
    if owner is not None:
        may_change = may_change and not is_held(path.with_name(f"{path.name}.relay"))
        if not may_change or not _unanswered(db, path):
            raise WrongDestination(
                f"outbox {path} belongs to {owner}, not to {destination}: use one outbox per destination. "
                "While nothing was delivered and no process relays, the application may change it, or "
                "auditbox relay --url URL --change-destination"
            )
        logger.warning("outbox %s goes to %s now: nothing was delivered to %s", path, destination, owner)
    db.execute("UPDATE meta SET destination = ?", (destination,))
    return destination


def _unanswered(db: sqlite3.Connection, path: Path) -> bool:
    """Whether nothing was ever delivered, nor may have been."""
    name = str(db.execute("SELECT outbox FROM meta").fetchone()[0])
    sent = Mark(path, name).sent(position(db)[1])
    given = {"sent": lead(db)[1] if sent is None else sent.upto}
    return bool(db.execute(SQL["unanswered"], given).fetchone()[0])


_LEAST_SPACE = 64 << 10
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


_UNREADABLE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_TWICE = {
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID, sqlite3.SQLITE_CONSTRAINT_UNIQUE,
}  # fmt: skip


def _code(error: Exception) -> int:
    """SQLite's primary result code (sqlite.org/rescode.html)."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def is_damage(error: Exception) -> bool:
    """Whether SQLite, or a checksum of ours, says that an outbox is not what was written.

    Of a file that turns out to be none when it is opened, SQLite's words do not come this far. A number that
    is there twice is damage as well, once SQLite's own lock was asked for the newest one.
    """
    twice = getattr(error, "sqlite_errorcode", 0) in _TWICE
    return isinstance(error, OutboxDamaged) or _code(error) in _UNREADABLE or twice


def is_taken(error: Exception) -> bool:
    """Whether a number was given by somebody else meanwhile: one who does not share our lock."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY


def _is_ruin(error: Exception, path: Path) -> bool:
    """Whether this error, met while our own file was opened, comes of what stands in it."""
    if _code(error) == sqlite3.SQLITE_READONLY:  # says the header, too, where a bit of it has flipped
        return os.access(path, os.W_OK)
    return _code(error) in {*_UNREADABLE, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT}


def is_busy(error: Exception) -> bool:
    """Whether somebody else has SQLite's own lock."""
    return _code(error) in _BUSY


def translated(error: Exception, path: Path) -> OutboxError:
    """SQLite's or the system's error as one of ours, with the way out."""
    code = _code(error)
    if is_busy(error):
        return OutboxBusy(
            f"outbox {path} stays locked by a process that was held up while it wrote, "
            "or by a program that does not share auditbox's lock"
        )
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) in _NO_SPACE:
        return OutboxFull(full_disk(path))
    if code == sqlite3.SQLITE_NOTADB:
        return NotAnOutbox(f"{path} is not an auditbox outbox: choose another path")
    if code == sqlite3.SQLITE_CORRUPT:
        return OutboxDamaged(f"outbox {path} is damaged ({error}) and could not be salvaged: move it aside")
    return unusable(path, error)
