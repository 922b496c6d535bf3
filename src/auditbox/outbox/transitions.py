"""The table of transitions: what may become of an entry, as SQL within one transaction of the caller's.

Where an entry is: above the cursor (captured), in ``open`` (under way), or in ``receipt`` (settled).
Per lane at most one open row is ``sending``, ``verify`` or ``retry``; a dead letter does not hold its lane.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import closing
from sqlite3 import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

from auditbox.errors import OutboxDamaged, Superseded
from auditbox.outbox.base import (
    Ambiguous,
    Claim,
    Dead,
    Delivered,
    Entry,
    Exchanged,
    NotFound,
    Now,
    Retry,
    Settlement,
)
from auditbox.outbox.ledger import Ledger, Tombstone, captured_at
from auditbox.outbox.ledger import bury as keep_tombstone
from auditbox.outbox.mark import Sent
from auditbox.outbox.pending import next_due
from auditbox.outbox.rows import SENTINEL, follows, is_intact, lead, position, relay_checksum
from auditbox.outbox.statements import SQL, as_json, insert

if TYPE_CHECKING:
    from auditbox.outbox.passage import Passage

_WRONG_CLOCK = 86400.0
_LARGE = 1 << 20
"""Bytes after which no more is read at once."""
_FRESH = "sending", 0, 0
"""State, attempts and doubt of what is claimed for the first time."""
_SCAN = 512
"""The most entries that one claim moves from above the cursor into ``open``."""


def take_over(
    db: Connection, pid: int, now: Now, verify_after: float, clock: str | None, sent: Sent | None
) -> None:
    """Fences every earlier relay; what it was sending may have arrived, and is looked up.

    An attempt has ended by now at the latest. Look-ups that wait since earlier go on waiting where their due
    times stand on this relay's own clock: otherwise nobody knows how long they have waited. Above the cursor
    may have been sent what ``sent`` says, or all that is reserved where it is not known.
    """
    cursor, epoch = position(db)
    before, reserved, _ = lead(db)
    epoch, latest = epoch + 1, now.monotonic + verify_after
    if clock is not None and before == clock:
        db.execute(SQL["look_again"], {"now": now.monotonic, "latest": latest})
    else:
        db.execute(SQL["verify_from_now"], (latest,))
    db.execute(SQL["interrupted"], (latest,))
    sent = sent or Sent(reserved, None)
    cursor, lanes = into_doubt(db, cursor, sent.upto, sent)
    for lane in lanes:
        promote(db, lane, now._replace(monotonic=latest))
    db.execute(SQL["move"], (cursor, relay_checksum(cursor, epoch), now.wall))
    db.execute(SQL["new_epoch"], (epoch, relay_checksum(cursor, epoch), pid, now.wall))
    db.execute(SQL["new_lead"], (clock, now.wall))


def into_doubt(db: Connection, cursor: int, last: int, sent: Sent) -> tuple[int, list[str]]:
    """Moves entries up to a number from above the cursor into ``open``; some of them may have been sent.

    Returns how far the relay has read then, and the lanes in which something waits now.
    """
    ledger, entered = Ledger(db), []
    lanes: dict[str, None] = {}
    for seq, id, lane in db.execute(SQL["captured"], (cursor, last)).fetchall():
        cursor = follows(cursor, seq, lane)
        doubt = seq <= sent.upto
        db.execute(SQL["enter"], (seq, lane, "waiting", 0, sent.since if doubt else None))
        if doubt:
            db.execute(SQL["doubt"], (seq,))
        entered.append((seq, id))
        lanes[lane] = None
    ledger.entered(entered)
    ledger.post()
    return cursor, list(lanes)


class Moved(NamedTuple):
    """What an exchange has written. Captures wait for its end: the rest is done after it."""

    rows: list[tuple[Any, ...]]
    """Claimed entries, as they were read."""
    buried: list[tuple[str, str, dict[str, Any]]]
    crossed: bool = False
    due: float | None = None
    """As in Exchanged."""

    def exchanged(self, now: Now) -> Exchanged:
        """What the relay gets of it."""
        return Exchanged([claim(row, now) for row in self.rows], self.buried, self.crossed, self.due)


def exchange(
    db: Connection,
    epoch: int,
    settlements: Sequence[Settlement],
    limit: int,
    now: Now,
    longest_wait: float,
    fresh_first: bool = False,
    passage: Passage | None = None,
) -> Moved:
    """Settles what came back and claims what may be sent next."""
    cursor, current = position(db)
    if current != epoch:
        raise Superseded
    moved, ledger = Moved([], []), Ledger(db)
    if passage is not None:
        cursor = passage.enter(db, cursor, now, ledger)
    for settlement in _but_delivered(db, settlements, now, ledger):
        _settle(db, settlement, now, moved, ledger)
    first: list[tuple[Any, ...]] = []
    if fresh_first:
        cursor, first = _advance(db, cursor, limit, now, ledger)
    due, crossed = _due(db, now, limit - len(first), longest_wait, passage.busy if passage else ())
    room = limit - len(first) - len(due) if passage is None or passage.reads_on else 0
    cursor, fresh = _advance(db, cursor, room, now, ledger)
    moved.rows.extend([*first, *_claims(db, due, now), *fresh])
    db.execute(SQL["move"], (cursor, relay_checksum(cursor, epoch), now.wall))
    if passage is not None and passage.ends:
        db.execute(SQL["reserve_none"], (cursor,))
    ledger.post()
    return moved if passage is None else moved._replace(crossed=crossed, due=next_due(db, now, longest_wait))


def _due(
    db: Connection, now: Now, limit: int, longest_wait: float, busy: Collection[str]
) -> tuple[list[int], bool]:
    """What may be sent or looked up now, and whether some of that has to wait for a busy lane."""
    if limit <= 0:
        return [], False
    given = {
        "wall": now.wall,
        "monotonic": now.monotonic,
        "horizon": now.wall + longest_wait,
        "limit": limit + len(busy),
    }
    found = db.execute(SQL["due"], given).fetchall()
    free = [seq for seq, lane in found if lane not in busy]
    return free[:limit], len(free) < len(found)


def _advance(
    db: Connection, cursor: int, room: int, now: Now, ledger: Ledger
) -> tuple[int, list[tuple[Any, ...]]]:
    """Moves entries from above the cursor into ``open``, until there is no more room to send.

    What can be sent at once is on record as being sent, and comes back as :func:`_claims` gives it.
    """
    fresh: list[tuple[Any, ...]] = []
    if room <= 0:
        return cursor, fresh
    entered: list[tuple[int, str]] = []
    entering: list[tuple[int, str, str, int, float | None]] = []
    busy: set[str] = set()
    rows = db.execute(SQL["beyond"], (cursor, _SCAN))
    before = cursor
    for seq, id, lane, body, stored, waits in rows:
        before = follows(before, seq, lane)
        entered.append((seq, id))
        if waits or lane in busy:
            entering.append((seq, lane, "waiting", 0, None))
        else:
            entering.append((seq, lane, "sending", 0, now.sink))
            fresh.append((seq, id, lane, body, stored, *_FRESH, now.sink, None, None))
            busy.add(lane)
            if len(fresh) >= room:
                break
    rows.close()  # the rest is not read: a transaction cannot end while it could be
    if not entered:
        return cursor, fresh
    ledger.entered(entered)
    insert(db, "enter", entering)
    return entered[-1][0], fresh


def beyond(db: Connection, after: int | None, count: int) -> tuple[list[tuple[Any, ...]], bool]:
    """Up to so many entries after a number, or after the cursor, as :func:`claim` takes them, and nothing of
    that put on record; whether the next one has to wait for what its lane has under way."""
    found: list[tuple[Any, ...]] = []
    before, size = position(db)[0] if after is None else after, 0
    with closing(db.execute(SQL["beyond"], (before, count))) as rows:
        for seq, id, lane, body, stored, waits in rows:
            if waits or lane == SENTINEL:
                return found, True
            before = seq if seq == before + 1 else follows(before, seq, lane)
            found.append((seq, id, lane, body, stored, *_FRESH, None, None, None))
            size += len(body) if isinstance(body, bytes) else 0  # a damaged one may be anything
            if size >= _LARGE:
                break
    return found, False


def _claims(db: Connection, seqs: list[int], now: Now) -> list[tuple[Any, ...]]:
    """Puts on record that these entries are now sent, or looked up, and returns them in this order."""
    if not seqs:
        return []
    given = as_json(seqs)
    rows = db.execute(SQL["claimed"], (given,)).fetchall()
    if len(rows) != len(seqs):
        raise OutboxDamaged("the outbox is damaged: an entry under way is missing")
    for row in rows:
        if not isinstance(row[6], int) or not all(isinstance(at, float | int | None) for at in row[8:10]):
            raise OutboxDamaged(f"the outbox is damaged: the state of entry {row[0]}")
    states = {row[5] for row in rows}
    if "verify" in states:
        db.execute(SQL["begin_verifying"], (given,))
    if "retry" in states:
        db.execute(SQL["begin_sending"], (now.sink, given))
    return rows


def claim(row: tuple[Any, ...], now: Now) -> Claim:
    """A claim as the relay gets it, from the row of an entry and its state."""
    seq, id, lane, body, stored, state, attempts, maybe_sent, sent_at, refused_at, error = row
    if sent_at is None:
        sent_at = _sent_since(id, now) if state == "verify" else now.sink
    return Claim(
        Entry(seq, id, lane, body),
        "verify" if state == "verify" else "send",
        attempts,
        bool(maybe_sent),
        sent_at,
        refused_at,
        _read(error) if error else None,
        is_intact((seq, id, lane, body, stored)),
    )


def _sent_since(id: str, now: Now) -> float:
    """Since when what is looked up may have been sent, in the sink's seconds; nothing is stored of that.

    It was put in doubt by a recovery: it was not sent before its capture, give or take a day by which the
    clock may have been wrong then.
    """
    captured = captured_at(id)
    return 0.0 if captured is None else captured - _WRONG_CLOCK + now.sink - now.wall


def _but_delivered(
    db: Connection, settlements: Sequence[Settlement], now: Now, ledger: Ledger
) -> Sequence[Settlement]:
    """Settles all deliveries together, as they are nearly all that ever comes; returns what is left.

    Their rows are the live ones of their lanes, so each lane is free afterwards and its next entry due.
    """
    delivered = {one.seq: one for one in settlements if isinstance(one, Delivered)}
    if not delivered:
        return settlements
    rows = db.execute(SQL["landed"], (as_json(list(delivered)),)).fetchall()
    landed = [delivered.pop(seq) for seq, _, _ in rows]
    insert(db, "receipt", [(one.seq, one.remote_id, one.at, "delivered", None) for one in landed])
    db.execute(SQL["close_all"], (as_json([one.seq for one in landed]),))
    ledger.delivered([row[:2] for row in rows])
    given = {
        "lanes": as_json([lane for _, _, lane in rows]),
        "wall": now.wall,
        "monotonic": now.monotonic,
    }
    db.execute(SQL["promote_all"], given)
    return [one for one in settlements if not isinstance(one, Delivered) or one.seq in delivered]


def _settle(db: Connection, settlement: Settlement, now: Now, moved: Moved, ledger: Ledger) -> None:
    row = db.execute(SQL["open_row"], (settlement.seq,)).fetchone()
    if row is None:
        return
    id, lane, maybe_sent, stored = row
    error = _read(stored)

    def bury(problem: dict[str, Any], refused_at: float | None = None, *, attempted: bool = False) -> None:
        known = {key: value for key, value in problem.items() if key != "verdict"}
        db.execute(SQL["bury"], (json.dumps(known), int(attempted), settlement.seq))
        ledger.died(settlement.seq, id)
        promote(db, lane, now, refused_at)
        moved.buried.append((id, lane, known))

    match settlement:
        case Delivered(seq, remote_id, at):
            db.execute(SQL["receipt"], (seq, remote_id, at, "delivered", None))
            db.execute(SQL["close"], (seq,))
            ledger.delivered([(seq, id)])
            promote(db, lane, now)
        case Ambiguous(seq, due, problem):
            db.execute(SQL["ambiguous"], (due, json.dumps(problem), seq))
        case NotFound() if error.get("verdict"):
            bury(error)
        case NotFound(seq):
            db.execute(SQL["send_again"], (seq,))
            moved.rows.extend(_claims(db, [seq], now))
        case Retry():
            _retry(db, settlement, bool(maybe_sent))
        case Dead(seq, due_monotonic, problem, _, verified) if maybe_sent and not verified:
            verdict = {**problem, "verdict": "dead"}
            db.execute(SQL["verify_then_bury"], (due_monotonic, json.dumps(verdict), seq))
        case Dead():
            bury(settlement.error, settlement.refused_at, attempted=not settlement.verified)


def _read(stored: object) -> dict[str, Any]:
    """What is stored of a failure; a damaged one is none."""
    try:
        known = json.loads(stored)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _retry(db: Connection, wanted: Retry, maybe_sent: bool) -> None:
    state, due = ("verify", wanted.due_monotonic) if maybe_sent else ("retry", wanted.due)
    error = json.dumps(wanted.error)
    db.execute(SQL["retry"], (state, due, int(wanted.attempted), wanted.refused_at, error, wanted.seq))


def promote(db: Connection, lane: str, now: Now, refused_at: float | None = None) -> None:
    """Where no row of the lane is live, it is the lowest waiting one's turn."""
    if db.execute(SQL["lane_live"], (lane,)).fetchone():
        return
    row = db.execute(SQL["first_waiting"], (lane,)).fetchone()
    if row is not None:
        seq, maybe_sent = row
        state, due = ("verify", now.monotonic) if maybe_sent else ("retry", now.wall)
        db.execute(SQL["promote"], (state, due, refused_at, seq))


def discard(db: Connection, seq: int, lane: str, reason: str, now: Now) -> bool:
    """Gives a dead letter up; its tombstone explains the number for ever, and its receipt for a while.

    Both keep the reason, and what the sink had said. False: it has been replayed meanwhile, is no dead letter
    any more, and stays.
    """
    row = db.execute(SQL["open_row"], (seq,)).fetchone()
    if not db.execute(SQL["bury_for_good"], (seq,)).rowcount:
        return False
    id, error = row[0], _read(row[3])
    said = error.get("reason")
    whole = f"{reason} (it was dead because: {said})" if said else reason
    db.execute(SQL["receipt"], (seq, None, now.wall, "discarded", whole))
    keep_tombstone(db, Tombstone(seq, seq, id, now.wall, whole))
    ledger = Ledger(db)
    ledger.died(seq, id, -1)
    ledger.discarded(seq, id)
    ledger.post()
    promote(db, lane, now)
    return True


def replay(db: Connection, seq: int, lane: str, now: Now) -> bool:
    """A dead letter joins its lane again; True where later entries of the lane have arrived already."""
    row = db.execute(SQL["open_row"], (seq,)).fetchone()
    if db.execute(SQL["revive"], (seq,)).rowcount:
        ledger = Ledger(db)
        ledger.died(seq, row[0], -1)
        ledger.post()
    overtaken = db.execute(SQL["overtaken"], (lane, seq)).fetchone() is not None
    promote(db, lane, now)
    return overtaken


def forget(db: Connection, before: float, limit: int) -> int:
    """Deletes settled entries with receipts older than this, oldest first; never the newest entry."""
    old = db.execute(SQL["old_receipts"], (before, limit)).fetchall()
    db.executemany(SQL["forget_entry"], old)
    db.executemany(SQL["forget_receipt"], old)
    return len(old)
