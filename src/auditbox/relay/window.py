"""The window: what is claimed and delivered in memory, and put on record many at a time.

A transaction for every few records would keep captures waiting for the outbox one time in twenty. So the next
entries are read ahead; one is claimed by a note of the highest number sent (see :mod:`auditbox.outbox.mark`),
and what came of it is written with that of others, ``EVERY`` seconds later at the latest. A relay that takes
over after a kill looks up whatever is above the outbox's cursor and not above that number.

Only deliveries go this way, of entries whose lanes have nothing under way in the outbox. Anything else that
comes back puts all that is being sent on record first, and goes on from there by the outbox's own rules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

from auditbox.errors import OutboxError, Superseded
from auditbox.outbox.base import Ahead, Claim, Delivered, Exchanged, Now, Outbox, Passed, Settlement
from auditbox.outbox.job import Interrupted
from auditbox.outbox.mark import Mark, Sent

EVERY = 0.1
"""Seconds after which a delivery is put on record, where those before it have come as well."""
_PATIENCE = 1.0
"""Seconds for which it may wait for an earlier one, until what is being sent goes on record, too."""
_STALE = 1.0
"""Seconds for which the time of its reading does for the time at which something was sent: earlier does no
harm, later would."""
_READ = 128
"""The most entries that are read at once."""
_MOST, _MOST_BYTES = 512, 4 << 20
"""The most that are known and not on record, so the most that a kill leaves to be looked up; and the most
bytes that wait to be sent."""


class _Turn(NamedTuple):
    """What an exchange is told besides."""

    now: Now
    longest_wait: float
    fresh_first: bool = False
    ends: bool = False


class _Landed(NamedTuple):
    """What was delivered, and is not on record."""

    delivered: Delivered
    sent_at: float | None
    at: float
    """On the relay's monotonic clock."""


class Window:
    """The claims of one relay that are not on record. It stands between the relay and its outbox.

    Args:
        outbox: what was just taken over.
        epoch: the relay's.
    """

    def __init__(self, outbox: Outbox, epoch: int) -> None:
        self._outbox, self._epoch, self._name = outbox, epoch, outbox.name
        self._mark: Mark | None = outbox.mark(epoch)
        self._rows_due: float | None = 0.0
        """When something is due that is on record, on the relay's monotonic clock."""
        self._clear()

    def _clear(self) -> None:
        """Nothing is known but what is on record."""
        self._order: deque[tuple[int, str, str]] = deque()
        """What is read and not on record: number, id, lane."""
        self._ready: deque[Claim] = deque()
        self._lanes: dict[str, deque[Claim]] = {}
        """By the lane of what is ready or being sent: what has to wait for that, in its order."""
        self._bytes = 0
        """Of what is ready, and of what waits for it."""
        self._flying: dict[int, Claim] = {}
        self._landed: dict[int, _Landed] = {}
        """In the order in which they landed."""
        self._sent = Sent(0, None)
        self._blocked = self._crossed = False
        self._record_at: float | None = None

    @property
    def owes(self) -> bool:
        """Whether it has sent anything that is not on record."""
        return bool(self._flying or self._landed)

    def due_in(self, now: Now) -> float | None:
        """Seconds until something is to be put on record (0: now); None where nothing is."""
        return None if self._record_at is None else max(0.0, self._record_at - now.monotonic)

    def exchange(
        self,
        settlements: Sequence[Settlement],
        limit: int,
        now: Now,
        longest_wait: float,
        *,
        fresh_first: bool = False,
    ) -> Exchanged:
        """As the outbox's: takes what came back, and claims up to ``limit`` entries.

        Raises:
            Superseded: another relay has taken over.
            OutboxError: the outbox could not be read or written; call again with the same settlements.
        """
        if self._mark is not None and not self._mark.holds():
            raise Superseded
        others = [one for one in settlements if not self._lands(one, now)]
        plain = self._mark is None or fresh_first
        whole = plain or self._crossed or any(one.seq in self._flying for one in others)
        turn = _Turn(now, longest_wait, fresh_first)
        claims: list[Claim] = []
        buried: list[tuple[str, str, dict[str, Any]]] = []
        if others or whole or self._is_due(limit, now):
            found = self._record(turn, others, limit, whole=whole, reads_on=plain)
            claims, buried = found.claims, found.buried
        try:
            if not plain and limit > len(claims):
                claims.extend(self._claim(turn, limit - len(claims)))
            if self._landed and not self._flying and not claims:
                self._record(turn)
        except Interrupted:
            raise
        except OutboxError:  # the next exchange meets it again, where this one has come to something
            if not (claims or others):
                raise
        return Exchanged(claims, buried)

    def settle(self, settlements: Sequence[Settlement], now: Now, longest_wait: float) -> Exchanged:
        """Puts everything on record, and claims nothing: the last that it does."""
        others = [one for one in settlements if not self._lands(one, now)]
        try:
            if others or self.owes or self._outbox.reserved:
                return self._record(_Turn(now, longest_wait, ends=True), others, whole=True)
            return Exchanged([], [])
        finally:
            if self._mark is not None:
                self._mark.close()

    def look(self, now: Now, longest_wait: float) -> float | None:
        """Seconds until something can be claimed (0: now); None where nothing is left."""
        if self._mark is None:
            look = self._outbox.look(None, 1, now, longest_wait)
            return 0.0 if look.claims or look.blocked else look.due
        self._read(_Turn(now, longest_wait), 1)
        if self._ready or self._is_stuck():
            return 0.0
        return None if self._rows_due is None else max(0.0, self._rows_due - now.monotonic)

    # -- what is known -----------------------------------------------------------------------------

    def _lands(self, one: Settlement, now: Now) -> bool:
        """Takes the delivery of what is being sent; its lane goes on."""
        if not isinstance(one, Delivered) or not (one.seq in self._flying or one.seq in self._landed):
            return False
        if (claim := self._flying.pop(one.seq, None)) is not None:
            self._landed[one.seq] = _Landed(one, claim.sent_at, now.monotonic)
            lane = claim.entry.lane
            if waiting := self._lanes[lane]:
                self._ready.append(waiting.popleft())
            else:
                del self._lanes[lane]
            if self._record_at is None:
                self._record_at = now.monotonic + EVERY
        return True

    def _read(self, turn: _Turn, room: int) -> None:
        """Reads on where less is ready than may be sent, and as long as nothing of what it reads is."""
        ready = len(self._ready)
        while room > len(self._ready) == ready and not self._is_full():
            after = self._order[-1][0] if self._order else None
            count = min(_READ, _MOST - len(self._order))
            look = self._outbox.look(after, count, turn.now, turn.longest_wait)
            if self._outbox.name != self._name:
                raise Superseded
            self._blocked = look.blocked
            self._note_due(look.due, turn.now)
            for claim in look.claims:
                self._order.append(claim.entry[:3])
                if claim.intact:
                    self._bytes += len(claim.entry.body)
                if (waiting := self._lanes.get(claim.entry.lane)) is not None:
                    waiting.append(claim)
                else:
                    self._lanes[claim.entry.lane] = deque()
                    self._ready.append(claim)
            if not look.claims or look.blocked:
                return

    def _is_full(self) -> bool:
        """Whether nothing more may be read before something is put on record."""
        return len(self._order) >= _MOST or self._bytes >= _MOST_BYTES

    def _is_stuck(self) -> bool:
        """Whether what comes next cannot be sent before something is put on record."""
        return self._blocked or self._is_full()

    def _note_due(self, seconds: float | None, now: Now) -> None:
        self._rows_due = None if seconds is None else now.monotonic + seconds

    def _is_due(self, limit: int, now: Now) -> bool:
        """Whether something is to be put on record by now, or to be claimed that is on record."""
        if self._record_at is not None and now.monotonic >= self._record_at:
            return True
        return limit > 0 and self._rows_due is not None and now.monotonic >= self._rows_due

    # -- what is done ------------------------------------------------------------------------------

    def _claim(self, turn: _Turn, room: int) -> list[Claim]:
        """Claims what comes next: by a note where that is enough, and as it was always done otherwise."""
        self._read(turn, room)
        if len(self._ready) < room and self._is_full() and self._delivered():
            self._record(turn)
            self._read(turn, room)
        if not self._ready and self._is_stuck():
            return self._record(turn, (), room, whole=True, reads_on=True).claims
        upto = self._upto(room)
        if upto > self._outbox.reserved:
            self._record(turn)
            upto = self._upto(room)
        mark, at = self._mark, turn.now.sink
        if not self._ready or mark is None or upto > self._outbox.reserved:
            return []
        since = at if self._sent.since is None or not self.owes else min(at, self._sent.since)
        self._sent = Sent(max(upto, self._sent.upto), since)
        if not mark.note(self._sent):
            if not mark.holds():
                raise Superseded
            self._mark = None  # the note cannot be written: everything goes on record from here on
            return []
        claims = [self._ready.popleft() for _ in range(min(room, len(self._ready)))]
        if not all(0.0 <= at - (claim.sent_at or 0.0) <= _STALE for claim in claims):
            claims = [claim._replace(sent_at=at) for claim in claims]
        self._bytes -= sum([len(claim.entry.body) for claim in claims if claim.intact])
        self._flying.update({claim.entry.seq: claim for claim in claims})
        return claims

    def _upto(self, count: int) -> int:
        """The highest number among so many that are ready."""
        return max([claim.entry.seq for claim in islice(self._ready, count)], default=0)

    def _record(
        self,
        turn: _Turn,
        settlements: Sequence[Settlement] = (),
        limit: int = 0,
        *,
        whole: bool = False,
        reads_on: bool = False,
    ) -> Exchanged:
        """Puts on record what was delivered, or the ``whole``: what is being sent and waits for that, too."""
        passed = self._delivered()
        last = passed[-1].seq if passed else 0
        left = next((one for seq, one in self._landed.items() if seq > last), None)
        whole = whole or (left is not None and turn.now.monotonic >= left.at + _PATIENCE)
        if whole:
            passed = self._all_sent()
        reserve = 0 if whole or not self._order else self._order[-1][0]
        found = self._outbox.exchange(
            self._epoch, settlements, limit, turn.now, turn.longest_wait, fresh_first=turn.fresh_first,
            ahead=Ahead(passed, () if whole else self._lanes.keys(), reads_on, reserve, turn.ends),
        )  # fmt: skip
        self._note_due(found.due, turn.now)
        if whole:
            self._clear()
        else:
            self._forget(passed, turn.now)
        if found.crossed:  # the next time, which is at once, all of it
            self._crossed, self._record_at = True, turn.now.monotonic
        return found

    def _forget(self, passed: Sequence[Passed], now: Now) -> None:
        """What is on record now."""
        for one in passed:
            del self._landed[one.seq]
            self._order.popleft()
        self._record_at = now.monotonic + EVERY if self._landed else None
        times = [one.sent_at for one in self._flying.values()] + [
            one.sent_at for one in self._landed.values()
        ]
        self._sent = self._sent._replace(since=min((at for at in times if at is not None), default=None))

    def _delivered(self) -> list[Passed]:
        """All that was delivered before the first one that was not."""
        passed = []
        for seq, id, lane in self._order:
            if (landed := self._landed.get(seq)) is None:
                break
            passed.append(Passed(seq, id, lane, landed.delivered))
        return passed

    def _all_sent(self) -> list[Passed]:
        """All up to the last one that was sent."""
        upto = self._sent.upto
        return [Passed(*entry, self._fate(entry[0])) for entry in self._order if entry[0] <= upto]

    def _fate(self, seq: int) -> Delivered | float | None:
        """What has become of a known entry."""
        if seq in self._landed:
            return self._landed[seq].delivered
        return self._flying[seq].sent_at if seq in self._flying else None
