"""The rows of an outbox, and whether they are what was written."""

from __future__ import annotations

import zlib
from sqlite3 import Connection
from typing import Any

from auditbox.errors import OutboxDamaged
from auditbox.outbox.statements import SQL

SENTINEL = "sentinel"
"""Id and lane of an entry of nothing: it stands for the numbers below it that are missing."""


def is_intact(row: tuple[Any, ...]) -> bool:
    """Whether a row of ``entry`` is what was written."""
    seq, id, lane, body, stored = row
    sound = isinstance(id, str) and isinstance(lane, str) and isinstance(body, bytes)
    return sound and bool(stored == checksum(seq, id, lane, body))


def checksum(seq: int, id: str, lane: str, body: bytes) -> int:
    """CRC-32 over everything that an entry is, its number included."""
    return zlib.crc32(body, zlib.crc32(f"{seq}|{id}|{lane}|".encode(errors="replace")))


def relay_checksum(cursor: int, epoch: int) -> int:
    """CRC-32 over the relay's own row."""
    return zlib.crc32(f"{cursor}|{epoch}".encode())


def position(db: Connection) -> tuple[int, int]:
    """The cursor and the epoch."""
    row = db.execute(SQL["relay"]).fetchone()
    cursor, epoch, stored = row or (0, 0, None)
    if stored != relay_checksum(cursor, epoch):
        raise OutboxDamaged("the outbox is damaged: the relay's row does not match its checksum")
    return cursor, epoch


def lead(db: Connection) -> tuple[str | None, int, int]:
    """The clock of whoever relayed last, the numbers that are reserved, and the claims so far."""
    clock, _, reserved, claims = db.execute(SQL["lead"]).fetchone() or (None, None, None, None)
    if not isinstance(clock, str | None) or not isinstance(reserved, int) or not isinstance(claims, int):
        raise OutboxDamaged("the outbox is damaged: what outlives a relay")
    return clock, reserved, claims


def follows(before: int, seq: int, lane: str) -> int:
    """This number, which comes next above the cursor: all are there, but before a sentinel.

    Raises:
        OutboxDamaged: one is missing, or stands elsewhere.
    """
    if seq != before + 1 and (lane != SENTINEL or seq <= before):
        raise OutboxDamaged(f"the outbox is damaged: after entry {before} comes {seq}")
    return seq
