"""What a damaged outbox still holds, carried over into a new one.

Entries with a receipt stay settled and open rows stay open. Of the rest, what lies above every number that
was known has never been sent; what lies below may have been, and is looked up. The damaged file is kept.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from auditbox.outbox import layout
from auditbox.outbox.base import Now
from auditbox.outbox.files import prepare_file
from auditbox.outbox.statements import SQL
from auditbox.outbox.transitions import checksum, promote, relay_checksum

_PIECE = 64
_MARGIN = 100_000
"""By how much numbers jump where the newest may be lost: none is ever given twice."""

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


def salvage(path: Path) -> Salvaged:
    """Moves the damaged outbox aside and makes a new one at its path. The caller holds the lock."""
    quarantine = _quarantined(path)
    damaged = sqlite3.connect(f"file:{quote(str(quarantine))}?mode=rw", uri=True, isolation_level=None)
    damaged.text_factory = lambda text: text.decode("utf-8", "replace")
    try:
        entries = {row[0]: row for row in _rows(damaged, "entry", 5) if _intact(row)}
        receipts = {row[0]: row for row in _rows(damaged, "receipt", 5) if isinstance(row[0], int)}
        opened = {row[0]: row for row in _rows(damaged, "open", 9) if isinstance(row[0], int)}
        meta, relay = _first(damaged, "meta"), _first(damaged, "relay")
    finally:
        with suppress(sqlite3.Error):
            damaged.close()
    return _written(path, quarantine, entries, receipts, opened, meta, relay)


def _quarantined(path: Path) -> Path:
    target = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{target}{suffix}")
    return target


def _rows(db: sqlite3.Connection, table: str, width: int) -> Iterator[Row]:
    """Every row that can be read, forwards and, from the end, backwards to where the damage is."""
    seen: set[Any] = set()
    for compare, order, start in ((">", "ASC", -1), ("<", "DESC", 1 << 62)):
        at = start
        while True:
            query = f"SELECT * FROM {table} WHERE seq {compare} ? ORDER BY seq {order} LIMIT {_PIECE}"  # noqa: S608
            piece: list[Row] = []
            try:
                for row in db.execute(query, (at,)):
                    piece.append(row)
            except sqlite3.Error:
                yield from (row for row in piece if len(row) == width and row[0] not in seen)
                seen.update(row[0] for row in piece)
                break
            yield from (row for row in piece if len(row) == width and row[0] not in seen)
            seen.update(row[0] for row in piece)
            if not piece or not isinstance(piece[-1][0], int) or piece[-1][0] == at:
                break
            at = piece[-1][0]


def _first(db: sqlite3.Connection, table: str) -> Row | None:
    try:
        row: Row | None = db.execute(f"SELECT * FROM {table}").fetchone()  # noqa: S608
    except sqlite3.Error:
        return None
    return row


def _intact(row: Row) -> bool:
    seq, id, lane, body, stored = row
    return (
        isinstance(seq, int) and isinstance(id, str) and isinstance(lane, str) and isinstance(body, bytes)
    ) and stored == checksum(seq, id, lane, body)


def _written(
    path: Path,
    quarantine: Path,
    entries: dict[int, Row],
    receipts: dict[int, Row],
    opened: dict[int, Row],
    meta: Row | None,
    relay: Row | None,
) -> Salvaged:
    trusted = relay is not None and relay[4] == relay_checksum(relay[0], relay[1])
    cursor, epoch = (relay[0], relay[1]) if trusted and relay is not None else (0, 0)
    known = max([cursor, *receipts, *opened])
    newest = max([known, *entries])
    name = meta[1] if meta and isinstance(meta[1], str) else None
    prepare_file(path)
    db = layout.new_database(path, name, meta[2] if meta and isinstance(meta[2], str) else None)
    doubtful = 0
    try:
        db.execute("BEGIN IMMEDIATE")
        db.executemany(SQL["append"], entries.values())
        db.executemany(SQL["receipt"], [row for seq, row in receipts.items() if seq in entries])
        for seq, row in entries.items():
            if seq not in receipts:
                doubtful += _reopen(db, seq, row[2], opened.get(seq), sent=seq <= known)
        cursor = newest + _MARGIN
        _sentinel(db, cursor)
        db.execute(SQL["move"], (cursor, relay_checksum(cursor, 0), time.time()))
        db.execute(SQL["new_epoch"], (epoch + 1, relay_checksum(cursor, epoch + 1), None, time.time()))
        for lane in {row[2] for row in entries.values()}:
            promote(db, lane, Now(time.time(), time.monotonic(), time.time()))
        db.execute("COMMIT")
    finally:
        db.close()
    missing = newest - known - sum(seq > known for seq in entries)
    lost = len(opened.keys() - entries.keys()) + max(0, missing)
    return Salvaged(len(entries), doubtful, lost, quarantine)


def _reopen(db: sqlite3.Connection, seq: int, lane: str, row: Row | None, *, sent: bool) -> bool:
    """An open row as it was; without one, ``sent`` says whether it may have been sent. True: nobody knows."""
    if row and row[2] == "dead":
        db.execute(SQL["enter"], (seq, lane, "dead", 0, None))
        db.execute(SQL["bury"], (row[8] if isinstance(row[8], str) else "{}", seq))
        return False
    db.execute(SQL["enter"], (seq, lane, "waiting", 0, None))
    if (row is None and sent) or (row is not None and (row[2] == "sending" or row[5] != 0)):
        db.execute(SQL["doubt"], (seq,))
    return row is None and sent


def _sentinel(db: sqlite3.Connection, seq: int) -> None:
    """An entry of nothing, settled, that keeps every number below from being given again."""
    row = (seq, "sentinel", "sentinel", b"{}", checksum(seq, "sentinel", "sentinel", b"{}"))
    db.execute(SQL["append"], row)
    db.execute(SQL["receipt"], (seq, None, time.time(), "discarded", "numbers after a salvage begin here"))
