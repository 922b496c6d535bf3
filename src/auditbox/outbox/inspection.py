"""Read-only views of an outbox, for people and probes: what it holds, what became of an entry, what is new.

Nothing here writes, waits for the lock of those who write, or leaves a file behind. Every view is one
consistent look: a connection and a transaction of its own, and both are gone when it returns.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from auditbox.outbox import pending, waiting
from auditbox.outbox.ledger import Day, Tombstone, days, tombstones
from auditbox.outbox.presence import is_held
from auditbox.outbox.readonly import META, ReadOnly
from auditbox.outbox.rows import is_intact

_STORY = """
CREATE TEMP VIEW story AS
SELECT e.seq, e.id, e.lane, e.body, e.checksum, o.state, o.due, o.attempts, o.maybe_sent, o.sent_at,
       o.first_refused_at, o.error, r.remote_id, r.delivered_at, r.outcome, r.reason
FROM entry e LEFT JOIN open o USING (seq) LEFT JOIN receipt r USING (seq)
"""
_LETTERS = """
SELECT o.seq, e.id, e.lane, o.attempts, o.maybe_sent, o.error,
       CASE WHEN json_valid(CAST(e.body AS TEXT)) THEN
            json_extract(CAST(e.body AS TEXT), '$.event', '$.object.id') END AS said
FROM open o JOIN entry e USING (seq) WHERE o.state = 'dead' ORDER BY o.seq
"""
_ONE = "SELECT * FROM story WHERE seq = ? OR id = ?"
_NEWEST = "SELECT * FROM (SELECT * FROM story ORDER BY seq DESC LIMIT ?) ORDER BY seq"
_AFTER = "SELECT * FROM story WHERE seq > ? ORDER BY seq LIMIT ?"
_RELAY = "SELECT pid, last_move FROM relay"
_LEAD = "SELECT since FROM lead"


@dataclass(frozen=True, slots=True)
class Status:
    """What an outbox holds and how its delivery goes; the first names are those of ``AuditTrail.status``."""

    outbox: str
    destination: str | None
    captured: int
    """Entries ever captured."""
    delivered: int
    """Receipts of deliveries that are still kept."""
    pending: int
    """Entries that are neither delivered nor dead nor discarded."""
    dead: int
    discarded: int
    oldest_pending_seconds: float | None
    relay_alive: bool
    """Whether a process relays this outbox now."""
    waits: str | None
    """What holds up entries, whether or not a relay runs; see :func:`auditbox.outbox.waiting.held`."""
    states: dict[str, int]
    """How many entries are in each state; ``captured`` are those of which nothing else is on record: no
    relay has read them, or one is sending them now, or has just done so."""
    relay_pid: int | None
    """The process that relays, or did so last."""
    relay_heartbeat: datetime | None
    """When a relay last put something on record."""
    file_bytes: int
    wal_bytes: int


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that the outbox knows of one entry."""

    seq: int
    id: str
    lane: str
    state: str
    """``captured``, and while all goes well ``delivered`` next; otherwise ``sending``, ``verify``, ``retry``
    or ``waiting`` in between; in the end ``delivered``, ``dead`` or ``discarded``."""
    captured_at: datetime | None
    record: Any
    """The record as it was captured; None where the stored bytes are no JSON any more. The relay adds
    ``outbox`` and ``seq`` to its ``documents.auditbox`` when it sends."""
    intact: bool
    """Whether the entry still matches its checksum."""
    attempts: int
    """Requests that sent it and came to something, be it a refusal or no answer, since its capture or its
    last replay. Not counted: look-ups, and what never reached the sink (no connection, a pause)."""
    maybe_sent: bool
    sent_at: datetime | None
    """When it may have been sent for the first time, by the sink's clock."""
    due: datetime | None
    """When it is tried again, where that is known in wall time."""
    first_refused_at: datetime | None
    problem: dict[str, Any] | None
    """What the sink said last."""
    remote_id: str | None
    settled_at: datetime | None
    reason: str | None
    """Why it was discarded."""

    @property
    def object(self) -> str | None:
        """What the record is about, by its id; as :attr:`Letter.object`."""
        about = self.record.get("object") if isinstance(self.record, dict) else None
        id = about.get("id") if isinstance(about, dict) else None
        return id if isinstance(id, str) and id else None


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, without its body; the names are those of :class:`Story`."""

    seq: int
    id: str
    lane: str
    object: str | None
    """What the record is about, by its id; None where it names nothing, or cannot be read any more."""
    event: str | None
    state: str
    captured_at: datetime | None
    attempts: int
    maybe_sent: bool
    problem: dict[str, Any] | None


class Inspection:
    """Looks into the outbox at a path. Constructing it touches nothing.

    Every method raises OutboxUnusable where there is no outbox or it cannot be read, NotAnOutbox where the
    file is something else, and OutboxTooNew where a newer auditbox made it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().resolve()
        self._file = ReadOnly(self.path)

    def status(self) -> Status:
        """What the outbox holds and how its delivery goes."""
        return self._file.look(self._status)

    def relay(self) -> tuple[bool, int | None]:
        """Whether a process relays this outbox now, and which one, or which did last."""
        pid: int | None = self._file.look(lambda db: next(db.query(_RELAY))["pid"])
        return self._relay_alive(), pid

    def leads(self) -> tuple[bool, datetime | None, int]:
        """Whether a process relays now, when the last one to do so took over, and how much is pending."""

        def look(db: Database) -> tuple[datetime | None, int]:
            return _at(next(db.query(_LEAD))["since"]), pending.depth(db.conn).pending

        return (self._relay_alive(), *self._file.look(look))

    def unsettled(self, upto: int | None = None) -> tuple[int, int, int]:
        """Up to a number, by default the newest: the number, how many entries are pending, how many dead."""

        def look(db: Database) -> tuple[int, int, int]:
            last = pending.depth(db.conn).captured if upto is None else upto
            return last, *pending.unsettled(db.conn, last)

        return self._file.look(look)

    def dead_letters(self) -> list[Letter]:
        """The dead letters with their problems and without their bodies, oldest first."""
        return self._file.look(lambda db: [_letter(row) for row in db.query(_LETTERS)])

    def story(self, wanted: str) -> Story | None:
        """The story of the entry with this id or number; None where there is no such entry (any more)."""
        number = int(wanted) if wanted.isdecimal() and len(wanted) < 19 else None
        return next(iter(self._stories(_ONE, number, wanted)), None)

    def newest(self, count: int) -> list[Story]:
        """The newest entries, oldest first."""
        return self._stories(_NEWEST, count)

    def after(self, seq: int, count: int = 1000) -> list[Story]:
        """What was captured after this number, oldest first."""
        return self._stories(_AFTER, seq, count)

    def ledger(self, since: date | None = None, until: date | None = None) -> list[Day]:
        """What became of the entries of each UTC day of capture, both ends included; oldest first."""
        return self._file.look(lambda db: days(db.conn, since, until))

    def tombstones(self, first: int = 0, last: int = 1 << 62) -> list[Tombstone]:
        """Why numbers from first to last, both included, have no record; lowest first."""
        return self._file.look(lambda db: tombstones(db.conn, first, last))

    def last_seq(self) -> int:
        """The newest number."""
        return self._file.look(lambda db: pending.depth(db.conn).captured)

    def _stories(self, sql: str, *values: Any) -> list[Story]:
        def look(db: Database) -> list[Story]:
            db.execute(_STORY)
            return [_story(row) for row in db.query(sql, values)]

        return self._file.look(look)

    def _status(self, db: Database) -> Status:
        depth = pending.depth(db.conn)
        relay, oldest = next(db.query(_RELAY)), depth.oldest_pending
        return Status(
            outbox=str(self.path),
            destination=next(db.query(META))["destination"],
            captured=depth.captured,
            delivered=depth.delivered,
            pending=depth.pending,
            dead=depth.dead,
            discarded=depth.discarded,
            oldest_pending_seconds=None if oldest is None else max(0.0, round(time.time() - oldest, 3)),
            relay_alive=self._relay_alive(),
            waits=waiting.held(db.conn),
            states={"captured": depth.pending - sum(depth.states.values()), **depth.states},
            relay_pid=relay["pid"],
            relay_heartbeat=_at(relay["last_move"]),
            file_bytes=os.stat(self.path).st_size,
            wal_bytes=self._file.wal_bytes(),
        )

    def _relay_alive(self) -> bool:
        return is_held(self._file.beside(".relay"))


def _letter(row: Mapping[str, Any]) -> Letter:
    event, about = _json(row["said"]) or (None, None)
    return Letter(
        seq=row["seq"],
        id=row["id"],
        lane=row["lane"],
        object=about if isinstance(about, str) and about else None,
        event=event if isinstance(event, str) else None,
        state="dead",
        captured_at=_captured_at(row["id"]),
        attempts=row["attempts"],
        maybe_sent=bool(row["maybe_sent"]),
        problem=_json(row["error"]),
    )


def _story(row: Mapping[str, Any]) -> Story:
    seq, id, lane, body = row["seq"], row["id"], row["lane"], row["body"]
    return Story(
        seq=seq,
        id=id,
        lane=lane,
        state=row["outcome"] or row["state"] or "captured",
        captured_at=_captured_at(id),
        record=_json(body),
        intact=is_intact((seq, id, lane, body, row["checksum"])),
        attempts=row["attempts"] or 0,
        maybe_sent=bool(row["maybe_sent"]),
        sent_at=_at(row["sent_at"]),
        due=_at(row["due"]) if row["state"] == "retry" else None,
        first_refused_at=_at(row["first_refused_at"]),
        problem=_json(row["error"]),
        remote_id=row["remote_id"],
        settled_at=_at(row["delivered_at"]),
        reason=row["reason"],
    )


def _json(stored: str | bytes | None) -> Any:
    """None where nothing is stored, or where it is no JSON any more."""
    try:
        return json.loads(stored or "null")
    except ValueError:
        return None


def _captured_at(id: str) -> datetime | None:
    """By the first 48 bits of the id (RFC 9562, UUIDv7)."""
    try:
        return _at(int(id[:8] + id[9:13], 16) / 1000)
    except ValueError:
        return None


def _at(seconds: float | None) -> datetime | None:
    try:
        return None if not seconds else datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None
