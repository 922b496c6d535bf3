"""The relay's round: settle what came back, claim what may go, hand it to the senders."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from auditbox.errors import Superseded
from auditbox.outbox import clock
from auditbox.outbox.base import Claim, Dead, Exchanged, NotFound, Now, Outbox, Settlement
from auditbox.relay.judge import Judge
from auditbox.relay.outcomes import Outcome, usable
from auditbox.relay.window import Window
from auditbox.sinks.base import Delivery, Sink

logger = logging.getLogger("auditbox.relay")

POLL = 0.25
"""Seconds after which an append of another process is noticed at the latest."""
LINGER = 0.001
"""Seconds for which an outcome waits for others: together they take less processor time, and meet captures
less often."""


class Relay:
    """One relay's work under one epoch. ``step`` runs on one thread; ``done`` may be called by any.

    Args:
        outbox, sink: what it moves, and where to.
        judge: what outcomes mean; outlives an epoch, so that a pause does.
        concurrency: the most entries under way at once.
        dispatch: starts the work on a claim; ``perform`` does it, ``done`` takes its outcome.
        on_dead_letter: called with id and problem of each new dead letter.
    """

    def __init__(
        self,
        outbox: Outbox,
        sink: Sink,
        judge: Judge,
        *,
        concurrency: int,
        dispatch: Callable[[Claim], None],
        on_dead_letter: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        self._outbox, self._sink, self.judge = outbox, sink, judge
        self._concurrency, self._dispatch, self._on_dead_letter = concurrency, dispatch, on_dead_letter
        self._longest_wait = judge.policy.longest_wait
        self._done: deque[tuple[Claim, Outcome]] = deque()
        self._settlements: list[Settlement] = []
        self.under_way = 0
        self._told = False
        self._first_at: float | None = None
        self._window: Window | None = None
        self._name = ""
        self._look_at = 0.0

    def take_over(self, now: Now) -> None:
        """Becomes the outbox's only relay."""
        epoch = self._outbox.take_over(now, self.judge.verify_after, clock.identity())
        self._window, self._name = Window(self._outbox, epoch), self._outbox.name

    def wake(self) -> None:
        """Something may have been appended: the next step looks."""
        self._look_at = 0.0

    def done(self, claim: Claim, outcome: Outcome) -> bool:
        """Takes what came of a claim, for the next step; whether that should be taken at once.

        It should for the first outcome, from which on others are waited for, and once none is missing.
        """
        self._done.append((claim, outcome))
        told, self._told = self._told, True
        return not told or len(self._done) >= self.under_way

    def step(self, now: Now) -> float:
        """One round; returns the seconds after which the next is due at the latest.

        Raises:
            Superseded: another relay has taken over; what was under way is its to look up.
            OutboxError: the outbox could not be read or written; nothing is lost, call again.
        """
        window = self._window
        if window is None:
            raise Superseded
        self._collect(now)
        if (wait := self._linger(now)) > 0:
            return wait
        limit = self.judge.breaker.limit(self._concurrency - self.under_way, self.under_way, now.monotonic)
        if self._settlements or window.due_in(now) == 0.0 or (limit > 0 and self._something_due(window, now)):
            self._exchange(window, limit, now)
        return self._pause(window, now)

    def _linger(self, now: Now) -> float:
        """Seconds for which what came back waits for what is still under way."""
        if not self._settlements or not self.under_way:
            self._first_at = None
            return 0.0
        if self._first_at is None:
            self._first_at = now.monotonic
        if (wait := self._first_at + LINGER - now.monotonic) <= 0:
            self._first_at = None
        else:
            self._told = True  # it knows that some have come: the next to be told of is the last
        return wait

    def settle(self, now: Now) -> None:
        """Settles what came back and sends nothing: the last step."""
        self._collect(now)
        # What a look-up did not find would have to be sent now: the next relay looks it up again.
        self._settlements = [one for one in self._settlements if not isinstance(one, NotFound)]
        if self._window is not None:
            settled = self._window.settle(self._settlements, now, self._longest_wait)
            self._settlements = []
            self._report_all(settled)

    def _collect(self, now: Now) -> None:
        self._told = False
        while self._done:
            claim, outcome = self._done.popleft()
            self.under_way -= 1
            self._settlements.append(self.judge.settle(claim, usable(claim, outcome), now))

    def _something_due(self, window: Window, now: Now) -> bool:
        if now.monotonic < self._look_at and not self._outbox.changed():
            return False
        seconds = window.look(now, self._longest_wait)
        self._look_at = now.monotonic + (POLL if seconds is None else min(seconds, 3600.0))
        return seconds == 0.0

    def _exchange(self, window: Window, limit: int, now: Now) -> None:
        exchanged = window.exchange(
            self._settlements,
            limit,
            now,
            self._longest_wait,
            fresh_first=self.judge.breaker.wants_another,
        )
        self._settlements = []
        self._look_at = 0.0
        for claim in exchanged.claims:
            self._start(claim, now)
        self._report_all(exchanged)

    def _start(self, claim: Claim, now: Now) -> None:
        if claim.intact:
            self.under_way += 1
            self._dispatch(claim)
        else:
            damage = {"reason": "the stored entry does not match its checksum; it was not sent"}
            self._settlements.append(Dead(claim.entry.seq, now.monotonic, damage, verified=True))

    def _pause(self, window: Window, now: Now) -> float:
        if self._settlements:
            return 0.0
        owed = window.due_in(now)
        longest = POLL if owed is None else min(POLL, owed)
        if self.under_way >= self._concurrency:
            return longest
        return min(longest, self.judge.breaker.remaining(now.monotonic) or POLL, self._due_in(now))

    def _due_in(self, now: Now) -> float:
        return POLL if self._look_at <= now.monotonic else self._look_at - now.monotonic

    @property
    def hungry(self) -> bool:
        """Whether an append should wake the relay at once."""
        return self.under_way < self._concurrency and self.judge.breaker.cause is None

    def delivery(self, claim: Claim) -> Delivery:
        """What the sink gets of a claim."""
        seq, id, lane, body = claim.entry
        return Delivery(seq, id, lane, with_number(body, self._name, seq), claim.sent_at)

    def perform(self, claim: Claim) -> Outcome:
        """Sends or looks up one claim, on the calling thread."""
        delivery = self.delivery(claim)
        return self._sink.send(delivery) if claim.action == "send" else self._sink.verify(delivery)

    def _report_all(self, exchanged: Exchanged) -> None:
        for id, lane, problem in exchanged.buried:
            self._report(id, lane, problem)

    def _report(self, id: str, lane: str, problem: dict[str, Any]) -> None:
        reason = str(problem.get("reason")).rstrip(".")
        about = "no object" if lane == id else lane
        logger.error("dead letter %s about %s: %s; see: auditbox dead show %s", id, about, reason, id)
        if self._on_dead_letter is not None:
            try:
                self._on_dead_letter(id, problem)
            except Exception:
                logger.exception("on_dead_letter failed for %s", id)


def with_number(body: bytes, outbox: str, seq: int) -> bytes:
    """The body as it goes on the wire: outbox id and number joined to ``documents.auditbox``.

    Composed bodies end with the three braces of that document, of ``documents`` and of the record.
    """
    return b'%b,"outbox":"%b","seq":%d}}}' % (body[:-3], outbox.encode(), seq)
