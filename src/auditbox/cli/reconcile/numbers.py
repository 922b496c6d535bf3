"""The outbox's side: every number of a period, what became of it, and what was found of it.

Numbers are those of entries that are still kept, of tombstones, and, in between, of what was delivered and
forgotten since. All of it stands in a temporary database that SQLite keeps on disk, so memory does not grow
with the outbox.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlite_utils import Database

from auditbox.outbox import ledger
from auditbox.outbox.ledger import Day, captured_at
from auditbox.outbox.readonly import ReadOnly
from auditbox.outbox.rows import checksum
from auditbox.outbox.statements import load

_SQL = load("auditbox.cli.reconcile", "numbers.sql")
_PAGE = 5000
_META = "SELECT outbox, destination FROM meta"
_DAY = 86400


@dataclass(frozen=True, slots=True)
class Number:
    """What became of an entry here, and what was found of it there."""

    seq: int
    id: str | None
    lane: str | None
    state: str
    reason: str | None
    remote_id: str | None
    kept: int
    copies: int
    first: str | None


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers that stand for no entry, and how many records have one all the same."""

    seq: int
    last: int
    reason: str
    copies: int


class Numbers:
    """The numbers of an outbox that were given within a time. Use it as a context manager.

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
        self._since, self._until = -inf, inf
        self._days: list[Day] = []
        self._scratch = sqlite3.connect("", isolation_level=None)

    def __enter__(self) -> Numbers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scratch.close()

    # -- what the outbox says ------------------------------------------------------------------------------

    def fill(self, since: datetime | None, until: datetime | None) -> None:
        """Notes every number there is now, in one consistent look, and which of them are of this time."""
        self._since = since.timestamp() if since else -inf
        self._until = until.timestamp() if until else inf
        self._file.look(self._take)
        self._find_forgotten()

    def _take(self, db: Database) -> None:
        self._scratch.executescript(_SQL["begin"])
        self._scratch.execute(_SQL["period"], (self._since, self._until))
        self._days = ledger.days(db.conn)
        self._scratch.execute("BEGIN")
        self._scratch.executemany(_SQL["kept"], map(_timed, db.query(_SQL["entries"])))
        for stone in ledger.tombstones(db.conn):
            if stone.id is None:
                self._scratch.execute(_SQL["gap"], (stone.seq, stone.last, stone.reason))
            else:
                given = (stone.seq, stone.id, captured_at(stone.id), stone.reason)
                self._scratch.execute(_SQL["given_up"], given)
        self._scratch.execute("COMMIT")

    def _find_forgotten(self) -> None:
        """What is neither kept nor in a tombstone was delivered: on which day, the ledger knows."""
        first, last, self.oldest = self._scratch.execute(_SQL["extent"]).fetchone()
        within = [day for day in self._days if day.day * _DAY < self._until and self._since < _end(day)]
        bounds = [(day.first, day.last) for day in within] + ([] if first is None else [(first, last)])
        if not bounds:
            return
        lowest = 1 if self._since == -inf else min(low for low, _ in bounds)  # also of days without a row
        highest = max(high for _, high in bounds)
        holes = self._scratch.execute(_SQL["holes"]).fetchall()
        clipped = [range(max(low, lowest), min(high, highest) + 1) for low, high in holes]
        self._scratch.execute("BEGIN")
        for hole in clipped:
            self._scratch.executemany(_SQL["forgotten"], ((seq,) for seq in hole))
        self._scratch.execute("COMMIT")
        if any(clipped) and within:
            start = max(self._since, within[0].day * _DAY)
            self.oldest = start if self.oldest is None else min(start, self.oldest)

    # -- what the trail says -------------------------------------------------------------------------------

    def found(self, seq: int, record_id: str, id: object) -> None:
        """A record of the trail has this number, and says that this is the entry's id."""
        id = id if isinstance(id, str) else None
        known = {"seq": seq, "record": record_id, "id": id, "at": captured_at(id) if id else None}
        if not self._scratch.execute(_SQL["found"], known).rowcount:
            self._scratch.execute(_SQL["found_in_gap"], known)

    def is_complete(self) -> bool:
        """Whether some record has each forgotten number."""
        return self._scratch.execute(_SQL["unseen"]).fetchone() is None

    def place(self) -> None:
        """Drops what no record has and, by the numbers around it, is of another time."""
        for first, last in list(self._elsewhen()):
            self._scratch.execute(_SQL["elsewhen"], (first, last))

    def _elsewhen(self) -> Iterator[tuple[int, int]]:
        before, start, previous = -inf, None, 0
        for seq, at, absent in self._scratch.execute(_SQL["times"]):
            if absent:
                start = seq if start is None else start
            elif at is not None:
                if start is not None and not self._may_be_within(before, at):
                    yield start, previous
                before, start = at, None
            previous = seq
        if start is not None and not self._may_be_within(before, inf):
            yield start, previous

    def _may_be_within(self, before: float | None, after: float | None) -> bool:
        """Whether something between these two times may be of the period."""
        begins, ends = -inf if before is None else before, inf if after is None else after
        return begins < self._until and ends >= self._since

    # -- what came of it -----------------------------------------------------------------------------------

    def known(self, seq: int) -> Number | None:
        """What is known of this number; None where it is not of the period, or stands for no entry."""
        row = self._scratch.execute(_SQL["one"], (seq,)).fetchone()
        return None if row is None else Number(*row)

    def bodies(self, numbers: Collection[int]) -> dict[int, Any]:
        """These entries' bodies, parsed; None where one is damaged, absent where it is no longer kept."""

        def look(db: Database) -> dict[int, Any]:
            return {
                row["seq"]: _body(row) for row in db.query(_SQL["bodies"], (json.dumps(sorted(numbers)),))
            }

        return self._file.look(look) if numbers else {}

    def of_state(self, state: str, *, only_absent: bool = False) -> Iterator[Number]:
        """The numbers in this state, in order; with ``only_absent`` those that were not found."""
        seq = -1
        while rows := self._scratch.execute(_SQL["of_state"], (seq, state, only_absent, _PAGE)).fetchall():
            yield from (Number(*row) for row in rows)
            seq = rows[-1][0]

    def gaps(self) -> Iterator[Gap]:
        """The numbers of the period that stand for no entry."""
        for *gap, before, after in self._scratch.execute(_SQL["gaps"]).fetchall():
            if self._may_be_within(before, after):
                yield Gap(*gap)

    def counts(self) -> dict[str, int]:
        """How many numbers are in each state; ``forgotten`` are those delivered ones that are not kept."""
        rows = self._scratch.execute(_SQL["counts"]).fetchall()
        return {
            **{state: count for state, count, _ in rows},
            "forgotten": sum(forgotten for state, _, forgotten in rows if state == "delivered"),
        }

    def wrong_days(self) -> Iterator[Day]:
        """Whole days of which all is there, but not by the numbers and ids that the ledger's digest has."""
        for day in self._days:
            forgotten, absent = self._scratch.execute(_SQL["forgotten_of"], (day.first, day.last)).fetchone()
            whole = self._since <= day.day * _DAY and _end(day) <= self._until
            if day.digest and whole and forgotten and not absent:
                given = (day.first, day.last, day.day * _DAY, _end(day))
                delivered = self._scratch.execute(_SQL["delivered"], given)
                if ledger.digest(delivered) != day.digest:
                    yield day


def _timed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "at": captured_at(row["id"])}


def _end(day: Day) -> float:
    return float((day.day + 1) * _DAY)


def _body(row: Mapping[str, Any]) -> Any:
    body = row["body"]
    if not isinstance(body, bytes) or row["checksum"] != checksum(row["seq"], row["id"], row["lane"], body):
        return None
    try:
        return json.loads(body)
    except ValueError:
        return None
