"""After a power cut, or when the newest part of an outbox is gone: nothing is doubled, no number given twice.

SQLite recovers a prefix of what was committed. What is gone may have been sent, and so may numbers that would
now be given again. Every number that is sent is reserved on the disk before (:func:`reserve`), in blocks, and
the relay notes beside the outbox how far it has come (:mod:`auditbox.outbox.memo`), as whoever captures does
(:mod:`auditbox.outbox.handover`). So whoever opens the outbox knows whether something is missing, and what of
the rest may have been sent: that is looked up first. (How far exactly it has sent it notes as well, see
:mod:`auditbox.outbox.mark`; that counts while the machine runs.)
"""

from __future__ import annotations

import time
from sqlite3 import Connection
from typing import NamedTuple

from auditbox.errors import OutboxDamaged
from auditbox.outbox import clock
from auditbox.outbox.base import Now
from auditbox.outbox.ledger import Tombstone, bury
from auditbox.outbox.mark import Sent
from auditbox.outbox.memo import Progress
from auditbox.outbox.rows import SENTINEL, checksum, is_intact, lead, position, relay_checksum
from auditbox.outbox.statements import SQL
from auditbox.outbox.transitions import into_doubt, promote

BLOCK = 1024
"""Numbers that are reserved at once: one sync for so many, and the most that a power cut puts in doubt."""


class Reserved(NamedTuple):
    """What a relay has to do before it sends."""

    claims: int
    newest: int
    upto: int
    """The highest number that is reserved: this must reach the disk first."""


def reserve(db: Connection, highest: int) -> Reserved | None:
    """Within the transaction of a claim: counts it and reserves its numbers up to the highest. None for 0."""
    if not highest:
        return None
    _, reserved, count = lead(db)
    upto = highest + BLOCK if highest > reserved else reserved
    db.execute(SQL["reserve"], (upto,))
    return Reserved(count + 1, db.execute(SQL["newest"]).fetchone()[0], upto)


def missing(db: Connection, progress: Progress | None, noted: int, *, unclean: bool) -> str | None:
    """Why the newest part of this outbox may be missing; None where it is whole.

    Args:
        db: the outbox, just opened.
        progress: what its last relay has noted.
        noted: the newest number that whoever captured has noted.
        unclean: whether there was a write-ahead log before it was opened: nobody has closed it.

    Raises:
        OutboxDamaged: something is missing, and the last that is there is not what was written.
    """
    before, _, claims = lead(db)
    last = db.execute(SQL["newest_entry"]).fetchone()
    newest = last[0] if last else 0
    highest = max(noted, progress.newest if progress else 0)
    if highest > newest and last and not is_intact(last):
        raise OutboxDamaged("the outbox is damaged: its newest entry is not what was written")
    if highest > newest or (progress is not None and progress.claims > claims):
        return f"its newest part is gone: {max(0, highest - newest)} entries at least"
    if unclean and rebooted(before):
        return "the machine went down without closing it"
    return None


def begin_anew(db: Connection) -> None:
    """After an orderly restart: who opens it next finds our log, and must not take that for a crash."""
    if rebooted(lead(db)[0]):
        db.execute(SQL["no_clock"])


def rebooted(before: str | None) -> bool:
    """Whether the machine has started anew since a relay noted this clock, as far as is known."""
    now = clock.identity()
    return before is not None and now is not None and before.split()[:1] != now.split()[:1]


def recover(db: Connection, progress: Progress | None, noted: int, reason: str) -> int:
    """Puts in doubt whatever may have been sent, in a transaction of the caller's; how much is pending.

    Numbers go on above all that may have been given; a tombstone says why some are missing. The epoch rises:
    whoever relays takes over anew, and waits before it looks up.
    """
    cursor, epoch = position(db)
    _, reserved, claims = lead(db)
    newest = db.execute(SQL["newest"]).fetchone()[0]
    highest = max(reserved, noted, progress.newest if progress else 0)
    if progress is not None and progress.claims > claims:
        reserved = highest  # what has reserved them is gone, too
    db.execute(SQL["all_in_doubt"])
    db.execute(SQL["doubtful_retries"])
    last = newest if newest < highest else min(newest, reserved)
    cursor = max(cursor, into_doubt(db, cursor, last, Sent(reserved, None))[0])
    if newest < highest:
        if cursor < newest:
            raise OutboxDamaged(f"the outbox is damaged: entries between {cursor} and {newest} are missing")
        gap(db, newest + 1, highest, reason)
        cursor = highest
    db.execute(SQL["move"], (cursor, relay_checksum(cursor, epoch), time.time()))
    db.execute(SQL["new_epoch"], (epoch + 1, relay_checksum(cursor, epoch + 1), None, time.time()))
    db.execute(SQL["no_clock"])
    now = Now(time.time(), time.monotonic(), time.time())
    for (lane,) in db.execute(SQL["waiting_lanes"]).fetchall():
        promote(db, lane, now)
    pending: int = db.execute(SQL["unsettled"], (1 << 62,)).fetchone()[0]
    return pending


def gap(db: Connection, first: int, last: int, reason: str) -> None:
    """Numbers from first to last are never given again: the last is an entry of nothing, settled."""
    at = time.time()
    db.execute(SQL["append"], (last, SENTINEL, SENTINEL, b"{}", checksum(last, SENTINEL, SENTINEL, b"{}")))
    db.execute(SQL["receipt"], (last, None, at, "discarded", reason))
    bury(db, Tombstone(first, last, None, at, reason))
