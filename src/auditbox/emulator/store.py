"""The emulator's records and event types in one SQLite file (or in memory).

One connection, used from the event loop's thread alone: a call is one transaction and is committed when it
returns. Records are never changed or deleted, so "everything up to a number" is a snapshot.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from auditbox.emulator.fields import RECORDS, Table, leaves, nest
from auditbox.emulator.rql.match import like
from auditbox.errors import ConfigurationError

COLUMNS = [field.column for field in RECORDS.fields]
_PATHS = [field.path for field in RECORDS.fields]
_MARKS = ", ".join("?" * (len(COLUMNS) + 2))
INSERT_RECORD = f"INSERT INTO record ({', '.join(COLUMNS)}, audience, documents) VALUES ({_MARKS})"  # noqa: S608
INSERT_TYPE = "INSERT OR IGNORE INTO event_type (id, key, name, description) VALUES (?, ?, ?, ?)"
LATEST = (
    "SELECT record.type, audience.viewers FROM record JOIN audience ON audience.id = record.audience "
    "WHERE object_id = ? ORDER BY timestamp DESC, seq DESC LIMIT 1"
)
SEEN = (
    "SELECT 1 FROM record WHERE object_id = ? "
    "AND audience IN (SELECT audience FROM viewer WHERE id = ?) LIMIT 1"
)
_APPLICATION = 0x41554445  # "AUDE": which files are an emulator's
BACKFILL = "UPDATE event_type SET name = ? WHERE key = ? AND coalesce(name, '') = ''"


class Latest(NamedTuple):
    """The visibility of a record."""

    type: str | None
    viewers: list[dict[str, Any]]


class Store:
    """Keeps what the emulator was told.

    Args:
        path: the database file; None keeps everything in memory.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.db = _open(path)
        self.db.create_function("rql_like", 3, like, deterministic=True)
        self._audiences: dict[str, int] = {}
        self._named = {row["key"] for row in self.db.execute("SELECT key FROM event_type WHERE name <> ''")}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside it is stored, or nothing."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def add(self, record: dict[str, Any]) -> dict[str, Any]:
        """Stores a record, with its event type where that is new; returns it with its id."""
        audience = self._audience(record.get("viewers") or [])
        with self.transaction():
            self._provision(record["event"], record.get("summary") or record["event"])
            return self._insert(record, audience)

    def add_all(self, records: Sequence[dict[str, Any]]) -> None:
        """Stores many records in one transaction; those whose id is known already are left alone."""
        audiences = [self._audience(record.get("viewers") or []) for record in records]
        with self.transaction():
            for record, audience in zip(records, audiences, strict=True):
                if not self.db.execute("SELECT 1 FROM record WHERE id = ?", [record.get("id")]).fetchone():
                    self._provision(record["event"], record.get("summary") or record["event"])
                    self._insert(record, audience)

    def _insert(self, record: dict[str, Any], audience: int) -> dict[str, Any]:
        documents = record.get("documents")
        text = None if documents is None else json.dumps(documents, ensure_ascii=False)
        while True:
            whole = record if record.get("id") else {"id": new_id("AUD", 4), **record}
            found = dict(leaves(whole))
            row = [found.get(path) for path in _PATHS]
            try:
                self.db.execute(INSERT_RECORD, [*row, audience, text])
            except sqlite3.IntegrityError:
                if whole is record:
                    raise
                continue
            return whole

    def _audience(self, viewers: Sequence[Mapping[str, Any]]) -> int:
        text = json.dumps(viewers, ensure_ascii=False)
        if text not in self._audiences:
            with self.transaction():
                self.db.execute("INSERT OR IGNORE INTO audience (viewers) VALUES (?)", [text])
                row = self.db.execute("SELECT id FROM audience WHERE viewers = ?", [text]).fetchone()
                rows = [
                    (row["id"], position, *(viewer.get(name) for name in ("id", "name", "type", "icon")))
                    for position, viewer in enumerate(viewers)
                ]
                self.db.executemany("INSERT OR IGNORE INTO viewer VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._audiences[text] = row["id"]
        return self._audiences[text]

    def _provision(self, key: str, name: str) -> None:
        if key not in self._named:
            self.add_event_type({"key": key, "name": name})
            self.db.execute(BACKFILL, [name, key])
            self._named.add(key)

    def add_event_type(self, given: Mapping[str, Any]) -> None:
        """Stores an event type unless its key is known."""
        wanted = given.get("id")
        while True:
            row = [wanted or new_id("AET", 2), given["key"], given.get("name"), given.get("description")]
            self.db.execute(INSERT_TYPE, row)
            known = self.db.execute("SELECT 1 FROM event_type WHERE key = ?", [given["key"]]).fetchone()
            if known or wanted:
                return

    def update_event_type(self, id: str, changes: Mapping[str, str]) -> None:
        """Changes ``name`` and ``description``, whichever is there."""
        for column in ("name", "description"):
            if column in changes:
                self.db.execute(
                    f"UPDATE event_type SET {column} = ? WHERE id = ?",  # noqa: S608
                    [changes[column], id],
                )

    def sees(self, account: str, object_id: str) -> bool:
        """Whether some record of an object has this account among its viewers."""
        return self.db.execute(SEEN, [object_id, account]).fetchone() is not None

    def latest(self, object_id: str) -> Latest | None:
        """What a new record of an object inherits from its most recent one."""
        row = self.db.execute(LATEST, [object_id]).fetchone()
        return Latest(row["type"], json.loads(row["viewers"])) if row else None

    def rows(self, sql: str, values: Sequence[Any]) -> Iterator[sqlite3.Row]:
        """The rows of a query, one after the other."""
        return iter(self.db.execute(sql, values))

    def last_seq(self, table: Table) -> int:
        """The newest number in a table."""
        sql = f"SELECT coalesce(max(seq), 0) FROM {table.name}"  # noqa: S608
        return int(self.db.execute(sql).fetchone()[0])

    def close(self) -> None:
        """Closes the file."""
        self.db.close()


def _open(path: str | Path | None) -> sqlite3.Connection:
    try:
        # Whatever the server's loop thread is, it is one at a time: there is no lock to take here.
        db = sqlite3.connect(str(path or ":memory:"), isolation_level=None, check_same_thread=False)
    except sqlite3.Error as exc:
        raise ConfigurationError(f"{path} cannot be opened: {exc}") from None
    try:
        _prepare(db, path)
    except sqlite3.Error as exc:
        db.close()
        raise ConfigurationError(f"{path} is no emulator's database: {exc}") from None
    except ConfigurationError:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: str | Path | None) -> None:
    db.row_factory = sqlite3.Row
    owner = db.execute("PRAGMA application_id").fetchone()[0]
    used = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if used and owner != _APPLICATION:
        raise ConfigurationError(f"{path} is another program's database: give the emulator a file of its own")
    db.execute(f"PRAGMA application_id = {_APPLICATION}")
    db.execute("PRAGMA journal_mode = WAL")
    # A killed emulator loses nothing without fsync; only a power cut would, and that is no promise here.
    db.execute("PRAGMA synchronous = OFF")
    db.executescript(resources.files(__package__).joinpath("schema.sql").read_text("utf-8"))


def as_object(row: sqlite3.Row, table: Table) -> dict[str, Any]:
    """A row in the API's shape; what is null is absent."""
    names = row.keys()
    value = nest((field.path, row[field.column]) for field in table.fields)
    if "timestamp" in value:
        value["timestamp"] = f"{value['timestamp'][:23]}Z"
    if "documents" in names and row["documents"] not in (None, "{}"):
        value["documents"] = json.loads(row["documents"])
    if "viewers" in names and row["viewers"] != "[]":
        value["viewers"] = json.loads(row["viewers"])
    return value


def new_id(prefix: str, groups: int) -> str:
    """A random id in the platform's form, such as ``AUD-0123-4567-8901-2345``."""
    digits = f"{random.randrange(10 ** (4 * groups)):0{4 * groups}d}"
    return "-".join([prefix, *(digits[at : at + 4] for at in range(0, len(digits), 4))])
