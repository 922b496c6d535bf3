"""One look into the file of an outbox: read-only, consistent, and without a trace.

A read-only connection that finds no ``-wal`` (nobody has the outbox open) would leave an empty one and a
``-shm`` behind. So a file at rest is read as immutable, and read again should it have been opened meanwhile.
The file is never opened but by SQLite: see :mod:`auditbox.outbox.files`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from sqlite_utils import Database

from auditbox.errors import NotAnOutbox, OutboxError, OutboxTooNew, OutboxUnusable
from auditbox.outbox import layout

T = TypeVar("T")
META = "SELECT version, destination FROM meta"
_PATIENCE = 5.0
"""Seconds to wait while another process recovers the WAL of one that was killed."""


class ReadOnly:
    """Runs work on a read-only connection to the outbox at this path."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def look(self, work: Callable[[Database], T]) -> T:
        """What work returns; it runs in one transaction, on a connection of its own.

        Raises:
            OutboxUnusable: there is no outbox, or it cannot be read; and its subclasses.
        """
        self._check_file()
        if (before := self._at_rest()) is not None:
            try:
                seen = self._open(work, "mode=ro&immutable=1")
            except OutboxError:
                if self._at_rest() == before:
                    raise
            else:
                if self._at_rest() == before:
                    return seen
        return self._open(work, "mode=ro")

    def beside(self, suffix: str) -> Path:
        """A file that belongs to the outbox."""
        return self._path.with_name(self._path.name + suffix)

    def wal_bytes(self) -> int:
        """The size of the WAL; 0 without one."""
        try:
            return os.stat(self.beside("-wal")).st_size
        except OSError:
            return 0

    def _at_rest(self) -> tuple[int, int, int] | None:
        """What tells one state of a file at rest from another; None where somebody may have it open."""
        if self.beside("-wal").exists():
            return None
        found = os.stat(self._path)
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _check_file(self) -> None:
        path = self._path
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            size = 0
        except OSError as error:
            raise layout.translated(error, path) from error
        if size == 0:
            raise OutboxUnusable(f"there is no outbox at {path}: name the file that the application writes")
        if not path.is_file():
            raise NotAnOutbox(f"{path} is not an auditbox outbox: name the file that the application writes")
        if not os.access(path, os.R_OK):
            raise OutboxUnusable(f"outbox {path} may not be read by this user: run as the user that owns it")

    def _open(self, work: Callable[[Database], T], mode: str) -> T:
        uri = f"file:{quote(str(self._path))}?{mode}"
        try:
            db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_PATIENCE)
            try:
                return self._within(db, work)
            finally:
                db.close()
        except (sqlite3.Error, OSError) as error:
            raise layout.translated(error, self._path) from error

    def _within(self, db: sqlite3.Connection, work: Callable[[Database], T]) -> T:
        db.text_factory = layout.READ_TEXT
        db.execute("PRAGMA trusted_schema = OFF")
        tools = Database(db, execute_plugins=False)
        db.execute("BEGIN")
        self._check_version(tools)
        return work(tools)

    def _check_version(self, db: Database) -> None:
        path = self._path
        if db.execute("PRAGMA application_id").fetchone()[0] != layout.APPLICATION_ID:
            raise NotAnOutbox(f"{path} is not an auditbox outbox: name the file that the application writes")
        version = next(db.query(META))["version"]
        if version > layout.VERSION:
            raise OutboxTooNew(
                f"outbox {path} has layout {version}, this auditbox knows {layout.VERSION}: upgrade auditbox"
            )
        if version < layout.VERSION:
            raise OutboxUnusable(
                f"outbox {path} has the older layout {version}: start its application or relay once; "
                "that brings it up to date"
            )
