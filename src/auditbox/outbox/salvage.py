"""What a damaged outbox still holds, carried over into a new one.

Entries with a receipt stay settled and open rows stay open. Of the rest, what lies above every number that
was known has never been sent; what lies below may have been, and is looked up. The damaged file is kept.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from auditbox.outbox import handover, layout, quarantine, recovery, torn
from auditbox.outbox.base import Now
from auditbox.outbox.files import prepare_file
from auditbox.outbox.ledger import Day, Ledger, Tombstone, bury, day_of, row_checksum
from auditbox.outbox.mark import Mark, Sent
from auditbox.outbox.memo import Memo, Progress
from auditbox.outbox.rows import SENTINEL, is_intact, relay_checksum
from auditbox.outbox.statements import SQL
from auditbox.outbox.transaction import Transaction
from auditbox.outbox.transitions import promote

_MARGIN = 100_000
"""By how much numbers jump where the newest may be lost: none is ever given twice."""
_WIDTHS = {"entry": 5, "receipt": 5, "open": 9, "ledger": 10, "tombstone": 6}

_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite says of damage can itself hold damaged text."""

Row = tuple[Any, ...]


class Salvaged(NamedTuple):
    """What came of it; its text is for the log."""

    kept: int
    doubtful: int
    lost: int
    quarantine: Path

    def __str__(self) -> str:
        return (
            f"{self.kept} entries carried over, {self.doubtful} of them of unknown state, looked up first; "
            f"at least {self.lost} lost; the damaged file is kept as {self.quarantine}"
        )


@dataclass(slots=True)
class Found:
    """What can still be read, by number; only what matches its checksum where it has one."""

    entry: dict[int, Row] = field(default_factory=dict)
    receipt: dict[int, Row] = field(default_factory=dict)
    open: dict[int, Row] = field(default_factory=dict)
    ledger: dict[int, Row] = field(default_factory=dict)
    tombstone: dict[int, Row] = field(default_factory=dict)
    meta: Row | None = None
    relay: Row | None = None
    lead: Row | None = None
    torn: bool = False
    """Pages of different moments: what one says of an entry's state, another may have outlived."""

    def add(self, later: Found) -> None:
        """What stands behind the gap of a log: entries never change, and of all else the later one counts."""
        self.torn = True
        self.entry = {**later.entry, **self.entry}
        for table in ("receipt", "open", "ledger", "tombstone"):
            setattr(self, table, {**getattr(self, table), **getattr(later, table)})
        self.meta = self.meta or later.meta
        self.lead = max(self.lead, later.lead, key=lambda row: _lead(row)[1:])
        self.relay = max(self.relay, later.relay, key=_position)


def salvage(path: Path) -> Salvaged:
    """Puts a new outbox, with what is intact, in the damaged one's place. The caller holds the lock.

    Killed at any moment, it leaves either the damaged outbox or the new one.
    """
    memo = Memo(path)
    identity = memo.identity()
    gap = torn.keep(path, identity.outbox if identity else "")
    found = _read(path)
    if gap:
        torn.mend(path, flawed=False)
        found.add(_content(path, "ro"))
        torn.mend(path, flawed=True)
        found.entry = {**_content(path, "ro").entry, **found.entry}  # their checksums tell what is right
    name = identity.outbox if identity else _text(found.meta, 1)
    destination = identity.destination if identity else _text(found.meta, 2)
    place = quarantine.workplace(path)
    prepare_file(place)
    db = layout.new_database(place, name, destination)
    try:
        name = str(db.execute("SELECT outbox FROM meta").fetchone()[0])
        mark = Mark(path, name)
        fenced = mark.fence()  # a relay goes on in the new one, where it looks up what it has sent
        sent = mark.sent(_position(found.relay)[2]) if fenced else None
        mark.close()
        with Transaction(db):
            noted = handover.noted(path, name)
            kept, doubtful, lost = _write(db, found, memo.progress(name), noted, sent)
    finally:
        db.close()
    aside = quarantine.replace(path)
    memo.identify(name, destination)
    return Salvaged(kept, doubtful, lost, aside)


def _is_number(value: object) -> bool:
    """Whether it is a number that may have been given: rows without a checksum may say anything."""
    return isinstance(value, int) and 0 <= value < 1 << 48


def _text(row: Row | None, column: int) -> str | None:
    return row[column] if row and isinstance(row[column], str) else None


# -- reading ---------------------------------------------------------------------------------------------


def _read(path: Path) -> Found:
    if not _is_readable(path):
        _give_header(path)
    return _content(path, "rw")


def _content(path: Path, mode: str) -> Found:
    """What can be read now; read-only leaves the file as it is."""
    db = _opened(path, mode)
    try:
        found = Found(meta=_first(db, "meta"), relay=_first(db, "relay"), lead=_first(db, "lead"))
        for table, width in _WIDTHS.items():
            rows = (row for row in _rows(db, table, width) if _is_number(row[0]) and _intact(table, row))
            setattr(found, table, {row[0]: row for row in rows})
        return found
    finally:
        with suppress(sqlite3.Error):
            db.close()


def _opened(path: Path, mode: str = "rw") -> sqlite3.Connection:
    db = sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, isolation_level=None)
    db.text_factory = layout.READ_TEXT
    return db


def _is_readable(path: Path) -> bool:
    """Whether SQLite finds the tables as they were made.

    An empty file must not even be asked, or its WAL is deleted.
    """
    if os.stat(path).st_size == 0:
        return False
    db = _opened(path)
    try:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("SELECT count(*) FROM entry, meta LIMIT 1").fetchone()
        return not layout.altered(db, missing=False)
    except _UNREADABLE:
        return False
    finally:
        db.close()


def _give_header(path: Path) -> None:
    """Writes the first page of a new outbox over that of one whose header or table of tables is damaged.

    Both have their tables at the same pages, since they were made by the same statements. Without our
    application id the file stays one that is damaged, should this be interrupted. Opening and closing the
    file drops this process's locks on it; its other connections find it replaced in a moment anyway.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".auditbox-") as folder:
        fresh = Path(folder, "fresh.db")
        prepare_file(fresh)
        layout.new_database(fresh, None, None).close()
        size = int.from_bytes(fresh.read_bytes()[16:18])
        page = bytearray(fresh.read_bytes()[:size])
    pages = max(1, os.stat(path).st_size // size)
    page[28:32] = pages.to_bytes(4)  # the file's size in pages (sqlite.org/fileformat2.html)
    page[32:40] = bytes(8)  # no free pages
    page[68:72] = bytes(4)  # no application id
    with open(path, "r+b") as file:
        kept = file.read(size)
        path.with_name(f"{path.name}.damaged-page").write_bytes(kept)
        file.seek(0)
        file.write(page)
        os.fsync(file.fileno())


def _rows(db: sqlite3.Connection, table: str, width: int) -> Iterator[Row]:
    """Every row that can be read: forwards and, where that ends at the damage, from the end backwards.

    In the order of the pages, without looking for any number: one that is wrong misleads nobody.
    """
    for order in ("ASC", "DESC"):
        query = f"SELECT * FROM {table} ORDER BY rowid {order}"  # noqa: S608
        try:
            yield from (row for row in db.execute(query) if len(row) == width)
        except (*_UNREADABLE, OverflowError):
            continue
        return


def _first(db: sqlite3.Connection, table: str) -> Row | None:
    try:
        row: Row | None = db.execute(f"SELECT * FROM {table}").fetchone()  # noqa: S608
    except _UNREADABLE:
        return None
    return row


def _intact(table: str, row: Row) -> bool:
    if table == "entry":
        return is_intact(row)
    if table in ("ledger", "tombstone"):
        return bool(row[-1] == row_checksum(*row[:-1]))
    return isinstance(row[1], str) or table == "receipt"


# -- writing ---------------------------------------------------------------------------------------------


def _write(
    db: sqlite3.Connection, found: Found, progress: Progress | None, noted: int, sent: Sent | None
) -> tuple[int, int, int]:
    """Fills the new outbox; returns how many entries are kept, in doubt, and lost."""
    entries, receipts, opened = found.entry, found.receipt, found.open
    trusted, cursor, epoch = _position(found.relay)
    clock, reserved, claims = _lead(found.lead)
    claimed = progress.claims if progress else 0
    whole = trusted and claimed <= claims and not recovery.rebooted(clock) and not found.torn
    known = max([cursor, sent.upto if whole and sent else reserved, *receipts, *opened])
    if found.torn and progress:
        known = max(known, progress.newest)
    given = max(cursor, noted, progress.newest if progress else 0)
    newest = max([given, *receipts, *opened, *entries])
    db.executemany(SQL["append"], entries.values())
    db.executemany(SQL["receipt"], [row for seq, row in receipts.items() if seq in entries])
    doubtful = {
        seq for seq, row in entries.items() if seq not in receipts
        and _reopen(db, seq, row[2], opened.get(seq), sent=seq <= known, torn=found.torn)
    }  # fmt: skip
    ahead = max(newest, reserved) + _MARGIN
    for row in found.tombstone.values():
        db.execute(SQL["tombstone_write"], row)
    recovery.gap(
        db, newest + 1, ahead, "the outbox was damaged: numbers go on above all that may have been given"
    )
    _carry_ledger(db, found, cursor, doubtful)
    db.execute(SQL["move"], (ahead, relay_checksum(ahead, 0), time.time()))
    db.execute(SQL["new_epoch"], (epoch + 1, relay_checksum(ahead, epoch + 1), None, time.time()))
    db.execute("UPDATE lead SET reserved = ?, claims = ?", (ahead, max(claims, claimed)))
    for lane in {row[2] for row in entries.values()}:
        promote(db, lane, Now(time.time(), time.monotonic(), time.time()))
    read = max([cursor, *receipts, *opened])
    lost = _lost(entries, opened.keys() - entries.keys(), read, given)
    for first, last in lost:
        bury(db, Tombstone(first, last, None, time.time(), "lost: the outbox was damaged"))
    return len(entries), len(doubtful), sum(last - first + 1 for first, last in lost)


def _lost(entries: Collection[int], opened: Iterable[int], read: int, known: int) -> list[tuple[int, int]]:
    """Numbers whose entries are gone, from first to last.

    Args:
        entries: what is left.
        opened: what was under way, and is not left.
        read: how far relays had read; what is missing below may have been forgotten.
        known: a number that was given; above the last entry nothing is ever forgotten.
    """
    before = min(read, max(entries, default=0))
    spans = [(seq, seq) for seq in opened]
    for seq in [*sorted(seq for seq in entries if seq > read), known + 1]:
        if seq > before + 1:
            spans.append((before + 1, seq - 1))
        before = max(before, seq)
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def _position(row: Row | None) -> tuple[bool, int, int]:
    """Whether the relay's row is what was written; its cursor and its epoch."""
    if row is None or row[4] != relay_checksum(row[0], row[1]):
        return False, 0, 0
    return True, row[0], row[1]


def _lead(row: Row | None) -> tuple[str | None, int, int]:
    """The clock, what is reserved, and how often something was claimed, as far as that is known."""
    if row is None or len(row) != 4 or not _is_number(row[2]) or not _is_number(row[3]):
        return None, 0, 0
    return (row[0] if isinstance(row[0], str) else None), row[2], row[3]


def _reopen(db: sqlite3.Connection, seq: int, lane: str, row: Row | None, *, sent: bool, torn: bool) -> bool:
    """An open row as it was; without one, ``sent`` says whether it may have been sent. True: nobody knows."""
    if row and row[2] == "dead":
        db.execute(SQL["enter"], (seq, lane, "dead", 0, None))
        db.execute(SQL["bury"], (row[8] if isinstance(row[8], str) else "{}", 0, seq))
        return False
    db.execute(SQL["enter"], (seq, lane, "waiting", 0, None))
    if ((row is None or torn) and sent) or (row is not None and (row[2] == "sending" or row[5] != 0)):
        db.execute(SQL["doubt"], (seq,))
    return row is None and sent


def _carry_ledger(db: sqlite3.Connection, found: Found, cursor: int, doubtful: set[int]) -> None:
    """The days as they were; what cannot be accounted for any more is lost.

    An entry whose receipt is gone will be counted as delivered once more: the digest of its day, which would
    hold it twice, is given up.
    """
    days = {number: Day(*row[:-1]) for number, row in found.ledger.items()}
    ledger = Ledger(db, days)
    for seq, row in found.entry.items():
        if row[1] != SENTINEL and (seq > cursor or day_of(row[1]) not in found.ledger):
            ledger.entered([(seq, row[1])])
            if seq in found.receipt and found.receipt[seq][3] == "delivered":
                ledger.delivered([(seq, row[1])])
            elif seq in found.receipt:
                ledger.discarded(seq, row[1])
    for seq in doubtful:
        day = days.get(day_of(found.entry[seq][1]))
        if seq <= cursor and day is not None and day_of(found.entry[seq][1]) in found.ledger:
            day.delivered, day.digest = max(0, day.delivered - 1), ""
    _count_open(db, days)
    ledger.post()


def _count_open(db: sqlite3.Connection, days: dict[int, Day]) -> None:
    """What is dead and under way is what stands here now; the rest of each day is lost."""
    dead: dict[int, int] = {}
    pending: dict[int, int] = {}
    for id, state in db.execute("SELECT e.id, o.state FROM open o JOIN entry e USING (seq)"):
        counts = dead if state == "dead" else pending
        counts[day_of(id)] = counts.get(day_of(id), 0) + 1
    for number, day in days.items():
        day.dead = dead.get(number, 0)
        day.lost = max(0, day.lost + day.pending - pending.get(number, 0))
