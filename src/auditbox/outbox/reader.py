"""A connection for what the relay reads ahead: no capture waits for it, as readers of SQLite block nobody."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from auditbox.errors import OutboxDamaged
from auditbox.outbox import stranded
from auditbox.outbox.layout import READ_TEXT
from auditbox.outbox.store import Store

T = TypeVar("T")


class Reader:
    """Reads beside a store, in the very files that it has open; whatever is odd with them is the store's.

    It is read-only, so that closing it never moves or deletes anything. The store closes it before its own
    connection: else SQLite would keep the index of a log that was deleted, for this process alone.
    """

    def __init__(self, path: Path, store: Store) -> None:
        self._path, self._text, self._store = path, str(path), store
        self._db: sqlite3.Connection | None = None
        self._files: stranded.Files = ()
        self._turn = threading.Lock()

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What work returns; it may be run once more, on the store's connection."""
        with self._turn:
            try:
                if (db := self._connection()) is not None:
                    return work(db)
            except (sqlite3.Error, UnicodeDecodeError, OutboxDamaged):
                self._close()
        return self._store.read(work)

    def close(self) -> None:
        """Closes the file; a later read opens it again."""
        with self._turn:
            self._close()

    def _connection(self) -> sqlite3.Connection | None:
        """None where the store has no file open, or another one than now stands at the path."""
        files = stranded.files(self._text)
        if not self._store.is_open or files != self._store.files:
            self._close()
            return None
        if self._db is None or files != self._files:
            self._close()
            self._db = sqlite3.connect(
                f"file:{quote(self._text)}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
            self._db.text_factory = READ_TEXT
            self._files = files
        return self._db

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def after_fork_in_child(self) -> None:
        """Starts afresh: a thread of the parent may have been about to read."""
        self._turn, self._db = threading.Lock(), None
