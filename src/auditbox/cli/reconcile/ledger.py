"""The outbox's side: which entries there are, what became of them, and what was found of each.

All of it stands in a temporary database that SQLite keeps on disk, so memory does not grow with the outbox.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlite_utils import Database

from auditbox.outbox.readonly import ReadOnly
from auditbox.outbox.transitions import checksum

_PAGE = 5000
_META = "SELECT outbox, destination FROM meta"
_ENTRIES = """
SELECT e.seq, e.id, e.lane, r.remote_id,
       coalesce(r.outcome, CASE o.state WHEN 'dead' THEN 'dead' ELSE 'pending' END) AS state
FROM entry e LEFT JOIN open o USING (seq) LEFT JOIN receipt r USING (seq)
WHERE e.seq > ? AND e.seq <= ? ORDER BY e.seq LIMIT ?
"""
_NEWEST = "SELECT coalesce(max(seq), 0) FROM entry"
_BODIES = "SELECT seq, id, lane, body, checksum FROM entry WHERE seq IN (SELECT value FROM json_each(?))"
_KNOWN = """
CREATE TABLE known (
    seq       INTEGER PRIMARY KEY,
    id        TEXT NOT NULL,
    lane      TEXT NOT NULL,
    state     TEXT NOT NULL,   -- delivered, discarded, dead, pending: when this ledger was filled
    remote_id TEXT,            -- the receipt's
    copies    INTEGER NOT NULL DEFAULT 0,
    first     TEXT             -- the id of the first record that was found
)
"""
_ADD = "INSERT INTO known (seq, id, lane, state, remote_id) VALUES (:seq, :id, :lane, :state, :remote_id)"
_COUNT = "SELECT count(*) FROM known WHERE state = ?"
_FOUND = "UPDATE known SET copies = copies + 1, first = coalesce(first, ?) WHERE seq = ?"
_ONE = "SELECT seq, id, lane, state, remote_id, copies, first FROM known WHERE seq = ?"
_OF_STATE = """
SELECT seq, id, lane, state, remote_id, copies, first FROM known
WHERE seq > ? AND state = ? AND (copies = 0 OR NOT ?) ORDER BY seq LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Known:
    """An entry, what became of it here, and what was found of it there."""

    seq: int
    id: str
    lane: str
    state: str
    remote_id: str | None
    copies: int
    first: str | None


class Ledger:
    """The entries of an outbox that were captured within a time. Use it as a context manager.

    Args:
        path: the outbox.

    Raises:
        OutboxUnusable: there is none, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self._file = ReadOnly(self.path)
        meta = self._file.look(lambda db: next(db.query(_META)))
        self.outbox: str = meta["outbox"]
        self.destination: str | None = meta["destination"]
        self.oldest: float | None = None
        self._scratch = sqlite3.connect("", isolation_level=None)
        self._scratch.execute(_KNOWN)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scratch.close()

    def fill(self, since: datetime | None, until: datetime | None) -> None:
        """Notes every entry there is now that was captured within this time, a page at a time."""
        last, seq = self._file.look(lambda db: int(db.execute(_NEWEST).fetchone()[0])), 0
        while rows := self._page(seq, last):
            seq = rows[-1]["seq"]
            within = [row for row in rows if self._is_within(row["id"], since, until)]
            self._scratch.execute("BEGIN")
            self._scratch.executemany(_ADD, within)
            self._scratch.execute("COMMIT")

    def _page(self, after: int, last: int) -> list[dict[str, Any]]:
        return self._file.look(lambda db: list(db.query(_ENTRIES, (after, last, _PAGE))))

    def _is_within(self, id: str, since: datetime | None, until: datetime | None) -> bool:
        try:
            at = int(id[:8] + id[9:13], 16) / 1000  # RFC 9562, UUIDv7
        except ValueError:
            return True
        if (since and at < since.timestamp()) or (until and at >= until.timestamp()):
            return False
        self.oldest = at if self.oldest is None else min(at, self.oldest)
        return True

    def known(self, seq: int) -> Known | None:
        """What is known of this number's entry; None where it is not within the time, or no longer kept."""
        row = self._scratch.execute(_ONE, (seq,)).fetchone()
        return None if row is None else Known(*row)

    def found(self, seq: int, record_id: str) -> None:
        """A record of this entry is in the trail."""
        self._scratch.execute(_FOUND, (record_id, seq))

    def bodies(self, numbers: Collection[int]) -> dict[int, Any]:
        """These entries' bodies, parsed; None where one is damaged, absent where it is no longer kept."""

        def look(db: Database) -> dict[int, Any]:
            return {row["seq"]: _body(row) for row in db.query(_BODIES, (json.dumps(sorted(numbers)),))}

        return self._file.look(look) if numbers else {}

    def of_state(self, state: str, *, only_absent: bool = False) -> Iterator[Known]:
        """The entries in this state, by number; with ``only_absent`` those that were not found."""
        seq = -1
        while rows := self._scratch.execute(_OF_STATE, (seq, state, only_absent, _PAGE)).fetchall():
            yield from (Known(*row) for row in rows)
            seq = rows[-1][0]

    def count(self, state: str) -> int:
        """How many entries are in this state."""
        return int(self._scratch.execute(_COUNT, (state,)).fetchone()[0])


def _body(row: dict[str, Any]) -> Any:
    body = row["body"]
    if not isinstance(body, bytes) or row["checksum"] != checksum(row["seq"], row["id"], row["lane"], body):
        return None
    try:
        return json.loads(body)
    except ValueError:
        return None
