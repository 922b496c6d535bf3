"""The table of transitions as an executable model: plain Python, written from the table and not from the SQL.

An entry is above the cursor, in ``open``, or in ``receipts``; the SQLite code is run against this.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from auditbox.errors import Superseded
from auditbox.outbox.base import (
    Ahead,
    Ambiguous,
    Claim,
    Dead,
    Delivered,
    Draft,
    Entry,
    Exchanged,
    Look,
    NotFound,
    Now,
    Passed,
    Retry,
    Settlement,
)
from auditbox.outbox.mark import Sent

LIVE = ("sending", "verify", "retry")
NEVER = 9e99
BLOCK = 1024
SENTINEL_AT = 2e9
"""Later than whatever a machine's wall clock says."""


@dataclass
class Row:
    """What is under way."""

    lane: str
    state: str
    due: float = 0.0
    attempts: int = 0
    maybe_sent: bool = False
    sent_at: float | None = None
    refused_at: float | None = None
    error: dict[str, Any] | None = None


@dataclass
class Notes:
    """What stands beside the outbox: which relay may send, and how far it has."""

    epoch: int = 0
    sent: Sent | None = None
    by: int = 0


class ModelMark:
    """The notes, as the relay of one epoch has them."""

    def __init__(self, notes: Notes, epoch: int) -> None:
        self.notes, self.epoch = notes, epoch

    def note(self, sent: Sent) -> bool:
        self.notes.sent, self.notes.by = sent, self.epoch
        return self.holds()

    def holds(self) -> bool:
        return self.notes.epoch == self.epoch

    def close(self) -> None:
        pass


@dataclass
class ModelOutbox:
    """The same operations as the outbox's, on dictionaries."""

    name = "model"

    entries: dict[int, Draft] = field(default_factory=dict)
    open: dict[int, Row] = field(default_factory=dict)
    receipts: dict[int, tuple[str, float]] = field(default_factory=dict)
    cursor: int = 0
    epoch: int = 0
    newest: int = 0
    clock: str | None = None
    reserved: int = 0
    ledger: Counter[str] = field(default_factory=Counter)
    forgotten: set[str] = field(default_factory=set)
    notes: Notes = field(default_factory=Notes)

    def append(self, drafts: list[Draft]) -> None:
        for draft in drafts:
            self.newest += 1
            self.entries[self.newest] = draft

    def take_over(self, now: Now, verify_after: float, clock: str | None = None) -> int:
        self.epoch += 1
        latest = now.monotonic + verify_after
        known = clock is not None and clock == self.clock
        for row in self.open.values():
            if row.state == "verify" and known and row.due != NEVER:
                row.due = min(row.due, latest)
            elif row.state == "verify":
                row.due = now.monotonic if known else latest
            elif row.state == "sending":
                row.state, row.maybe_sent, row.due = "verify", True, latest
        self.notes.epoch = self.epoch
        known = self.notes.sent if self.notes.by == self.epoch - 1 else None
        sent = known or Sent(self.reserved, None)
        while self.cursor < min(sent.upto, self.newest):
            lane = self.entries[self.cursor + 1].lane
            live = any(row.lane == lane and row.state != "dead" for row in self.open.values())
            state, due = ("waiting", 0.0) if live else ("verify", latest)
            self._enter(Row(lane, state, due, maybe_sent=True, sent_at=sent.since))
        ModelMark(self.notes, self.epoch).note(Sent(self.cursor, now.sink))
        self.clock = clock
        return self.epoch

    def mark(self, epoch: int) -> ModelMark:
        return ModelMark(self.notes, epoch)

    def look(self, after: int | None, count: int, now: Now, longest_wait: float) -> Look:
        first = (self.cursor if after is None else after) + 1
        busy = {row.lane for row in self.open.values() if row.state != "dead"}
        claims: list[Claim] = []
        for seq in range(first, min(first + count, self.newest + 1)):
            if self.entries[seq].lane in busy:
                return Look(claims, True, self._next_due(now, longest_wait))
            claims.append(Claim(Entry(seq, *self.entries[seq]), "send", sent_at=now.sink))
        return Look(claims, False, self._next_due(now, longest_wait))

    def _next_due(self, now: Now, longest_wait: float) -> float | None:
        if self._due(now, longest_wait):
            return 0.0
        retries = [row.due - now.wall for row in self.open.values() if row.state == "retry"]
        looks = [row.due - now.monotonic for row in self.open.values() if row.state == "verify"]
        return min([*retries, *looks], default=None)

    def exchange(
        self,
        epoch: int,
        settlements: list[Settlement],
        limit: int,
        now: Now,
        longest_wait: float,
        fresh_first: bool = False,
        ahead: Ahead | None = None,
    ) -> Exchanged:
        if epoch != self.epoch:
            raise Superseded
        result = Exchanged([], [])
        for one in ahead.passed if ahead is not None else ():
            self._pass(one, now)
        for one in ahead.passed if ahead is not None else ():
            self._promote(one.lane, None, now)
        for settlement in settlements:
            self._settle(settlement, now, result)
        found = self._due(now, longest_wait)
        free = [seq for seq in found if ahead is None or self.open[seq].lane not in ahead.busy]
        due = free[: max(limit, 0)]
        result.claims.extend(self._claim(seq, now) for seq in due)
        if ahead is None or ahead.reads_on:
            result.claims.extend(self._claim(seq, now) for seq in self._fresh(limit - len(due), now))
        highest = max([0 if ahead is None else ahead.reserve, *(claim.entry.seq for claim in result.claims)])
        if highest > self.reserved:
            self.reserved = highest + BLOCK
        if ahead is None:
            return result
        if ahead.ends:
            self.reserved = self.cursor
        return result._replace(crossed=len(free) < len(found), due=self._next_due(now, longest_wait))

    def _pass(self, one: Passed, now: Now) -> None:
        assert one.seq == self.cursor + 1, "a gap"
        assert (one.id, one.lane) == self.entries[one.seq][:2], "another entry"
        if isinstance(one.fate, Delivered):
            self.cursor += 1
            self.ledger["entries"] += 1
            self.ledger["delivered"] += 1
            self.receipts[one.seq] = ("delivered", one.fate.at)
        elif one.fate is None:
            self._enter(Row(one.lane, "waiting"))
        else:
            for row in self.open.values():
                if row.lane == one.lane and row.state in ("retry", "verify"):
                    row.state, row.due = "waiting", 0.0
            self._enter(Row(one.lane, "sending", sent_at=one.fate))

    def _enter(self, row: Row) -> None:
        self.cursor += 1
        self.ledger["entries"] += 1
        self.open[self.cursor] = row

    def _due(self, now: Now, longest_wait: float) -> list[int]:
        def waited(row: Row) -> float | None:
            if row.state == "retry" and (row.due <= now.wall or row.due > now.wall + longest_wait):
                return row.due
            if row.state == "verify" and row.due <= now.monotonic:
                return now.wall + row.due - now.monotonic
            return None

        times = {seq: waited(row) for seq, row in self.open.items()}
        return sorted((seq for seq, at in times.items() if at is not None), key=lambda seq: (times[seq], seq))

    def _fresh(self, room: int, now: Now) -> list[int]:
        fresh: list[int] = []
        while len(fresh) < room and self.cursor < self.newest:
            lane = self.entries[self.cursor + 1].lane
            if any(row.lane == lane and row.state != "dead" for row in self.open.values()):
                self._enter(Row(lane, "waiting"))
            else:
                self._enter(Row(lane, "sending", sent_at=now.sink))
                fresh.append(self.cursor)
        return fresh

    def _claim(self, seq: int, now: Now) -> Claim:
        row, draft = self.open[seq], self.entries[seq]
        action = "verify" if row.state == "verify" else "send"
        claim = Claim(
            Entry(seq, *draft), action, row.attempts, row.maybe_sent,
            row.sent_at, row.refused_at, row.error,
        )  # fmt: skip
        if action == "verify":
            row.due = NEVER
            return claim if row.sent_at is not None else claim._replace(sent_at=0.0)
        row.state = "sending"
        row.sent_at = now.sink if row.sent_at is None else row.sent_at
        return claim._replace(sent_at=row.sent_at)

    def _settle(self, settlement: Settlement, now: Now, result: Exchanged) -> None:
        row = self.open.get(settlement.seq)
        if row is None:
            return
        seq = settlement.seq
        verdict = bool(row.error and row.error.get("verdict"))
        if isinstance(settlement, Delivered):
            self._close(seq, "delivered", settlement.at, now)
        elif isinstance(settlement, Ambiguous):
            row.state, row.maybe_sent, row.due = "verify", True, settlement.due
            row.attempts, row.error = row.attempts + 1, settlement.error
        elif isinstance(settlement, NotFound) and not verdict:
            row.state, row.due = "retry", 0.0
            result.claims.append(self._claim(seq, now))
        elif isinstance(settlement, NotFound):
            self._bury(seq, row.error or {}, None, now, result)
        elif isinstance(settlement, Retry):
            self._retry(row, settlement)
        elif isinstance(settlement, Dead) and row.maybe_sent and not settlement.verified:
            row.state, row.due, row.attempts = "verify", settlement.due_monotonic, row.attempts + 1
            row.error = {**settlement.error, "verdict": "dead"}
        else:
            row.attempts += not settlement.verified
            self._bury(seq, settlement.error, settlement.refused_at, now, result)

    def _retry(self, row: Row, settlement: Retry) -> None:
        row.state = "verify" if row.maybe_sent else "retry"
        row.due = settlement.due_monotonic if row.maybe_sent else settlement.due
        row.attempts += settlement.attempted
        row.refused_at = settlement.refused_at if row.refused_at is None else row.refused_at
        row.error = settlement.error

    def _bury(
        self, seq: int, error: dict[str, Any], refused_at: float | None, now: Now, result: Exchanged
    ) -> None:
        row = self.open[seq]
        row.state, row.due = "dead", 0.0
        self.ledger["dead"] += 1
        row.error = {key: value for key, value in error.items() if key != "verdict"}
        result.buried.append((self.entries[seq].id, row.lane, row.error))
        self._promote(row.lane, refused_at, now)

    def _close(self, seq: int, outcome: str, at: float, now: Now) -> None:
        lane = self.open.pop(seq).lane
        self.receipts[seq] = (outcome, at)
        self.ledger[outcome] += 1
        self._promote(lane, None, now)

    def _promote(self, lane: str, refused_at: float | None, now: Now) -> None:
        rows = {seq: row for seq, row in self.open.items() if row.lane == lane}
        if any(row.state in LIVE for row in rows.values()):
            return
        waiting = sorted(seq for seq, row in rows.items() if row.state == "waiting")
        if waiting:
            row = rows[waiting[0]]
            row.state = "verify" if row.maybe_sent else "retry"
            row.due = now.monotonic if row.maybe_sent else now.wall
            row.refused_at = refused_at

    def replay(self, seq: int, now: Now) -> bool:
        row = self.open[seq]
        row.state, row.attempts, row.refused_at = "waiting", 0, None
        self.ledger["dead"] -= 1
        overtaken = any(
            later > seq and outcome == "delivered" and self.entries[later].lane == row.lane
            for later, (outcome, _) in self.receipts.items()
        )
        self._promote(row.lane, None, now)
        return overtaken

    def discard(self, seq: int, now: Now) -> None:
        self.ledger["dead"] -= 1
        self._close(seq, "discarded", now.wall, now)

    def forget(self, before: float, limit: int) -> int:
        old = sorted((at, seq) for seq, (_, at) in self.receipts.items() if at < before and seq < self.newest)
        for _, seq in old[:limit]:
            self.forgotten.add(self.entries[seq].id)
            del self.entries[seq], self.receipts[seq]
        return len(old[:limit])

    def recover(self) -> None:
        """What is done when the newest part may be gone: whatever may have been sent is looked up first."""
        self.epoch += 1
        self.clock = None
        for row in self.open.values():
            row.maybe_sent = True
            if row.state == "retry":
                row.state, row.due = "verify", 0.0
        last = self.newest if self.newest < self.reserved else min(self.newest, self.reserved)
        while self.cursor < last:
            self.cursor += 1
            self.ledger["entries"] += 1
            doubt = self.cursor <= self.reserved
            self.open[self.cursor] = Row(self.entries[self.cursor].lane, "waiting", maybe_sent=doubt)
        if self.newest < self.reserved:
            self.cursor = self.newest = self.reserved
            self.entries[self.newest] = Draft("sentinel", "sentinel", b"{}")
            self.receipts[self.newest] = ("discarded", SENTINEL_AT)
        for lane in {row.lane for row in self.open.values()}:
            self._promote(lane, None, Now(0.0, 0.0, 0.0))

    def copy(self) -> ModelOutbox:
        """The same state; drafts, receipts and errors are never altered."""
        rows = {seq: replace(row) for seq, row in self.open.items()}
        copied = (dict(self.entries), rows, dict(self.receipts), self.cursor, self.epoch, self.newest)
        return ModelOutbox(*copied, self.clock, self.reserved, self.ledger.copy(), self.forgotten, self.notes)

    def dump(self) -> dict[str, Any]:
        """Everything that the SQLite code should hold, too."""
        return {
            "cursor": self.cursor,
            "epoch": self.epoch,
            "reserved": self.reserved,
            "ledger": {name: count for name, count in self.ledger.items() if count},
            "entries": {seq: tuple(draft) for seq, draft in self.entries.items()},
            "receipts": {seq: outcome for seq, (outcome, _) in self.receipts.items()},
            "open": {
                seq: (
                    row.lane, row.state, row.due, row.attempts, row.maybe_sent, row.sent_at, row.refused_at,
                    json.loads(json.dumps(row.error)),
                )
                for seq, row in self.open.items()
            },
        }  # fmt: skip
