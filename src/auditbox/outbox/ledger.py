"""The ledger: one row for each day of capture, kept for ever, and why a number has no record.

Written in the transactions that move an entry, and counted by the day of its id (RFC 9562, UUIDv7). The
digest is a sum, so that it grows with every delivery in whatever order, and whoever has the records of the
trail can work it out again: see :func:`digest`.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from sqlite3 import Connection
from typing import Any, NamedTuple

from auditbox.errors import OutboxDamaged
from auditbox.outbox.statements import SQL

_MODULUS = 1 << 256
_DAY = 86400
_FIRST = date(1970, 1, 1)


@dataclass(slots=True)
class Day:
    """What became of the entries that were captured on one day."""

    day: int
    """Days since 1970-01-01, UTC."""
    first: int
    last: int
    entries: int = 0
    """Those that a relay has read; what is not counted below is still under way."""
    delivered: int = 0
    dead: int = 0
    discarded: int = 0
    lost: int = 0
    digest: str = "0" * 64
    """See :func:`digest`; empty where it is not known since a salvage."""

    @property
    def date(self) -> date:
        """The day itself."""
        return _FIRST + timedelta(days=self.day)

    @property
    def pending(self) -> int:
        """Entries that are neither delivered nor dead nor discarded nor lost."""
        return self.entries - self.delivered - self.dead - self.discarded - self.lost

    def row(self) -> tuple[Any, ...]:
        """As it is stored, with its checksum."""
        values = tuple(getattr(self, name) for name in _COLUMNS)
        return (*values, row_checksum(*values))

    def add(self, tally: Tally) -> None:
        """Counts what was read, and what was delivered."""
        if tally.entries:
            self.first, self.last = min(self.first, tally.first), max(self.last, tally.last)
        self.entries += tally.entries
        self.delivered += tally.delivered
        if self.digest:
            self.digest = _hex(int(self.digest, 16) + tally.digest)


_COLUMNS = [field.name for field in fields(Day)]


class Tombstone(NamedTuple):
    """Numbers that no record has: an entry that was given up (with its id), or a gap."""

    seq: int
    last: int
    id: str | None
    at: float
    reason: str


def digest(delivered: Iterable[tuple[int, str]]) -> str:
    """Over numbers and ids, in any order: the sum of their SHA-256, modulo 2^256, in hexadecimal."""
    return _hex(sum(_of(seq, id) for seq, id in delivered))


def _of(seq: int, id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seq}|{id}".encode(errors="replace")).digest())


def _hex(total: int) -> str:
    return f"{total % _MODULUS:064x}"


def row_checksum(*values: Any) -> int:
    """CRC-32 over a row's values."""
    return zlib.crc32(repr(values).encode(errors="replace"))


def captured_at(id: str) -> float | None:
    """Wall seconds of an entry's capture, by the first 48 bits of its id."""
    try:
        return int(id[:8] + id[9:13], 16) / 1000
    except (ValueError, TypeError):  # damaged, perhaps into something that is no text
        return None


def day_of(id: str) -> int:
    """The day on which an entry was captured; 0 where its id does not say."""
    try:
        return _day_of(id[:8] + id[9:12])
    except TypeError:  # damaged into something that is no text
        return 0


@functools.lru_cache(64)
def _day_of(sixteenths: str) -> int:
    """By the first 44 bits, that is, by sixteen milliseconds at a time: days begin with such."""
    try:
        return int(sixteenths, 16) * 16 // (_DAY * 1000)
    except ValueError:
        return 0


@dataclass(slots=True)
class Tally:
    """What is to be added to a day."""

    first: int
    last: int
    entries: int = 0
    delivered: int = 0
    digest: int = 0
    """As a number, and not reduced yet."""


def tallied(entered: Sequence[tuple[int, str]], delivered: Sequence[tuple[int, str]]) -> dict[int, Tally]:
    """By the day of capture: what a relay has read of it, and what was delivered, each number once."""
    tallies: dict[int, Tally] = {}
    read, landed = dict(entered), dict(delivered)
    for seq, id in (read | landed).items():
        day = day_of(id)
        if (tally := tallies.get(day)) is None:
            tally = tallies[day] = Tally(seq, seq)
        if seq in read:
            tally.entries += 1
            tally.first, tally.last = min(tally.first, seq), max(tally.last, seq)
        if seq in landed:
            tally.delivered += 1
            tally.digest += _of(seq, id)
    return tallies


class Ledger:
    """The days that one transaction touches; :meth:`post` writes them."""

    def __init__(self, db: Connection, days: dict[int, Day] | None = None) -> None:
        self._db = db
        self._days = {} if days is None else days

    def entered(self, entries: Sequence[tuple[int, str]]) -> None:
        """A relay has read these entries."""
        self.add(tallied(entries, ()))

    def delivered(self, entries: Sequence[tuple[int, str]]) -> None:
        """The sink has them."""
        self.add(tallied((), entries))

    def add(self, tallies: Mapping[int, Tally]) -> None:
        """Counts by day what was read, and what was delivered."""
        for number, tally in tallies.items():
            self._day(tally.first, number).add(tally)

    def died(self, seq: int, id: str, count: int = 1) -> None:
        """It is a dead letter; with -1 it is none any more."""
        self._day(seq, day_of(id)).dead += count

    def discarded(self, seq: int, id: str) -> None:
        """It was given up."""
        self._day(seq, day_of(id)).discarded += 1

    def _day(self, seq: int, number: int) -> Day:
        if number not in self._days:
            row = self._db.execute(SQL["ledger_day"], (number,)).fetchone()
            if row and row[-1] != row_checksum(*row[:-1]):
                raise OutboxDamaged(f"the outbox is damaged: its ledger of day {number}")
            self._days[number] = Day(*row[:-1]) if row else Day(number, seq, seq)
        return self._days[number]

    def post(self) -> None:
        """Writes what has changed."""
        for day in self._days.values():
            self._db.execute(SQL["ledger_write"], day.row())


def bury(db: Connection, tombstone: Tombstone) -> None:
    """Notes, for ever, why these numbers have no record."""
    db.execute(SQL["tombstone_write"], (*tombstone, row_checksum(*tombstone)))


def days(db: Connection, first: date | None = None, last: date | None = None) -> list[Day]:
    """The days from first to last, both included, as far as a relay has read."""
    within = ((first or date.min) - _FIRST).days, ((last or date.max) - _FIRST).days
    return [Day(*row) for row in db.execute(SQL["ledger_days"], within)]


def tombstones(db: Connection, first: int = 0, last: int = 1 << 62) -> list[Tombstone]:
    """Every tombstone that stands for a number from first to last, both included."""
    return [Tombstone(*row) for row in db.execute(SQL["tombstones"], (last, first))]
