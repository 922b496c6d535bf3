"""What became of entries that were claimed without a transaction, made ready for the one that records it."""

from __future__ import annotations

from collections.abc import Collection
from sqlite3 import Connection
from typing import Any, NamedTuple

from auditbox.errors import Superseded
from auditbox.outbox.base import Ahead, Delivered, Now, Passed
from auditbox.outbox.ledger import Ledger, Tally, tallied
from auditbox.outbox.statements import SQL, as_json, batched, run
from auditbox.outbox.transitions import promote


class Passage(NamedTuple):
    """All that can be worked out before the transaction, as captures wait for its end."""

    first: int
    """0 where there are none."""
    last: int
    inserts: list[tuple[str, list[Any]]]
    tallies: dict[int, Tally]
    flying: str
    """The lanes of what is still being sent, as JSON; empty for none."""
    waiting: list[str]
    """The lanes of what waits."""
    busy: Collection[str]
    reads_on: bool
    ends: bool
    """As in Ahead."""

    @classmethod
    def of(cls, ahead: Ahead) -> Passage:
        """What an exchange is told, as it is written."""
        passed = ahead.passed
        landed: list[tuple[Passed, Delivered]] = []
        flying: list[tuple[Passed, float]] = []
        waiting: list[Passed] = []
        for one in passed:
            if one.fate is None:
                waiting.append(one)
            elif isinstance(one.fate, Delivered):
                landed.append((one, one.fate))
            else:
                flying.append((one, one.fate))
        receipts = [(one.seq, fate.remote_id, fate.at, "delivered", None) for one, fate in landed]
        rows: list[tuple[Any, ...]] = [(one.seq, one.lane, "sending", 0, since) for one, since in flying]
        rows += [(one.seq, one.lane, "waiting", 0, None) for one in waiting]
        return cls(
            passed[0].seq if passed else 0,
            passed[-1].seq if passed else 0,
            batched("receipt", receipts) + batched("enter", rows),
            tallied([one[:2] for one in passed], [one[:2] for one, _ in landed]),
            as_json([one.lane for one, _ in flying]) if flying else "",
            list(dict.fromkeys(one.lane for one in waiting)),
            ahead.busy,
            ahead.reads_on,
            ahead.ends,
        )

    def enter(self, db: Connection, cursor: int, now: Now, ledger: Ledger) -> int:
        """Puts them on record, if they are not there already; returns how far the relay has read then."""
        if self.last <= cursor:
            return cursor
        if self.first != cursor + 1:
            raise Superseded  # this is not the outbox that they were read from
        if self.flying:  # what has become due in their lanes meanwhile (a replay) waits
            db.execute(SQL["wait"], (self.flying,))
        run(db, self.inserts)
        ledger.add(self.tallies)
        for lane in self.waiting:
            promote(db, lane, now)
        return self.last
