"""From one layout of an outbox to the next."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from auditbox.outbox.ledger import Ledger, Tombstone, bury
from auditbox.outbox.rows import position
from auditbox.outbox.statements import SQL, read

if TYPE_CHECKING:
    from sqlite_utils import Database

_PAGE = 5000
_GIVEN_UP = """
SELECT r.seq, e.id, r.delivered_at AS at, r.reason,
       (SELECT coalesce(max(seq), 0) FROM entry WHERE seq < r.seq) AS before
FROM receipt r JOIN entry e USING (seq) WHERE r.outcome = 'discarded'
"""


def to_version_2(db: Database) -> None:
    """Adds what outlives a relay and the ledger, which begins with what is still kept."""
    text = read("auditbox.outbox", "schema2.sql")
    for statement in re.findall(r"^CREATE.*?^\)", text, re.MULTILINE | re.DOTALL):  # a script would commit
        db.execute(statement)
    cursor, _ = position(db.conn)
    db.table("lead").insert({"clock": None, "reserved": cursor, "claims": 0})
    ledger = Ledger(db.conn)
    for seq, id, outcome, state in _read_by_a_relay(db, cursor):
        ledger.entered([(seq, id)])
        if outcome == "delivered":
            ledger.delivered([(seq, id)])
        elif outcome == "discarded":
            ledger.discarded(seq, id)
        elif state == "dead":
            ledger.died(seq, id)
    ledger.post()
    _explain(db)


def to_version_3(db: Database) -> None:
    """Ends the relays that know of no mark (:mod:`auditbox.outbox.mark`): they may have the file open, and do
    not look at its version again. Captures of their processes go on."""
    db.execute("ALTER TABLE relay RENAME COLUMN heartbeat TO last_move")


def _read_by_a_relay(db: Database, cursor: int) -> Iterator[tuple[Any, ...]]:
    seq = -1
    while rows := db.execute(SQL["stages"], (seq, cursor, _PAGE)).fetchall():
        yield from (row for row in rows if row[1] != "sentinel")
        seq = rows[-1][0]


def _explain(db: Database) -> None:
    """Numbers that are not kept any more, those that were skipped, and those that were given up."""
    first = db.execute("SELECT min(seq) FROM entry").fetchone()[0]
    if first is not None and first > 1:
        settled = "settled and forgotten before the ledger began"
        bury(db.conn, Tombstone(1, first - 1, None, time.time(), settled))
    for row in list(db.query(_GIVEN_UP)):
        seq, reason = row["seq"], row["reason"] or "discarded"
        if row["id"] == "sentinel":
            bury(db.conn, Tombstone(row["before"] + 1, seq, None, row["at"], reason))
        else:
            bury(db.conn, Tombstone(seq, seq, row["id"], row["at"], reason))
