"""What is pending, when it is due, and what else an outbox holds: looked at, and nothing changed."""

from __future__ import annotations

from sqlite3 import Connection

from auditbox.outbox.base import Depth, Now
from auditbox.outbox.ledger import captured_at
from auditbox.outbox.rows import position
from auditbox.outbox.statements import SQL


def next_due(db: Connection, now: Now, longest_wait: float) -> float | None:
    """Seconds until something that is under way can be claimed; None where nothing is."""
    given = {"wall": now.wall, "monotonic": now.monotonic, "horizon": now.wall + longest_wait}
    soonest = db.execute(SQL["next_due"], given).fetchone()[0]
    return None if soonest is None else max(0.0, soonest)


def unsettled(db: Connection, upto: int) -> tuple[int, int]:
    """How many entries up to this number are pending, and how many are dead."""
    cursor, _ = position(db)
    pending, dead = db.execute(SQL["unsettled"], (upto,)).fetchone()
    return pending + max(0, upto - cursor), dead


def depth(db: Connection) -> Depth:
    """What the outbox holds."""
    cursor, _ = position(db)
    newest = db.execute(SQL["newest"]).fetchone()[0]
    states, outcomes = dict(db.execute(SQL["states"])), dict(db.execute(SQL["outcomes"]))
    waiting = [
        seq
        for (seq,) in (
            db.execute(SQL["oldest_open"]).fetchone(),
            db.execute(SQL["first_beyond"], (cursor,)).fetchone(),
        )
        if seq is not None
    ]
    dead = states.pop("dead", 0)
    return Depth(
        captured=newest,
        delivered=outcomes.get("delivered", 0),
        pending=newest - cursor + sum(states.values()),
        dead=dead,
        discarded=outcomes.get("discarded", 0),
        oldest_pending=captured_at(db.execute(SQL["id_of"], (min(waiting),)).fetchone()[0])
        if waiting
        else None,
        states=states,
    )
