"""What the relay's thread does: elects itself, repeats ``step``, and starts over where that fails."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from auditbox.errors import AuditboxError, OutboxError, Superseded
from auditbox.outbox.base import Now
from auditbox.outbox.files import FileLock
from auditbox.outbox.job import Interrupted
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.outbox.wake import Wake
from auditbox.relay.flights import Flights
from auditbox.relay.judge import Judge
from auditbox.relay.relay import Relay
from auditbox.relay.senders import Senders
from auditbox.sinks.base import Flight, Sink

logger = logging.getLogger("auditbox.relay")

ELECTION = 1.0
"""Seconds between attempts to become the relay while another process is."""
_LONGEST_REST = 30.0
_MOMENT = 0.02
_LOOK = 0.05
"""Seconds between two looks at what may have outlived its deadline."""


class Term:
    """What belongs to one thread of a worker: the next has its own, as it may begin before this one ends."""

    __slots__ = ("fails", "hungry", "leads", "lock", "stopping", "thread", "wake")

    def __init__(self, lock: FileLock, *, hungry: bool) -> None:
        self.lock = lock
        self.hungry = hungry
        """Whether it is to be told of what is appended."""
        self.thread: threading.Thread | None = None
        self.wake, self.stopping = Wake(), threading.Event()
        self.leads = False
        self.fails: str | None = None
        """Why it does not relay although it should, in words."""

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self.thread is not None and self.thread.is_alive()


class Leader:
    """The work of a worker's threads, one after the other."""

    def __init__(
        self,
        outbox: SqliteOutbox,
        sink: Sink,
        judge: Judge,
        *,
        concurrency: int,
        on_dead_letter: Callable[[str, dict[str, Any]], None] | None,
    ) -> None:
        self._outbox, self._sink, self._judge = outbox, sink, judge
        self._concurrency, self._on_dead_letter = concurrency, on_dead_letter

    def run(self, term: Term) -> None:
        """What the thread does, until it is to stop."""
        stopping, lock = term.stopping, term.lock
        while not stopping.is_set():
            try:
                # Whoever asks whether somebody relays holds the lock for a moment, too.
                if lock.try_acquire() or (not stopping.wait(_MOMENT) and lock.try_acquire()):
                    try:
                        if lock.in_place():
                            self._lead(term)
                        else:  # it was deleted: others lock the one that has taken its place
                            lock.forget()
                    finally:
                        lock.release()
                else:
                    stopping.wait(ELECTION)
            except (AuditboxError, OSError) as error:
                term.fails = f"the relay fails: {error}"
                logger.warning("delivery stands still: %s", error)
                stopping.wait(ELECTION)
            except Exception as error:
                term.fails = f"the relay fails: {type(error).__name__}: {error}"
                logger.exception("the relay failed; it starts over")
                stopping.wait(ELECTION)
        lock.forget()

    def _lead(self, term: Term) -> None:
        """Relays until it is stopped, superseded, or has nothing to offer but a token that is refused."""
        relay = Relay(
            self._outbox,
            self._sink,
            self._judge,
            concurrency=self._concurrency,
            dispatch=lambda claim: carrier.dispatch(claim),  # noqa: PLW0108 - made below
            on_dead_letter=self._on_dead_letter,
        )
        senders = Senders(self._concurrency, relay.perform, self._receiver(relay, term.wake))
        flights = self._flights(relay, senders, term.wake)
        carrier: Senders | Flights = flights or senders
        relay.take_over(self._now())
        term.leads = True
        try:
            self._repeat(relay, term, flights.wait if flights else term.wake.wait)
        except Superseded:
            logger.info("another relay has taken over outbox %s", self._outbox.path)
        except Interrupted:
            logger.info("it is not known what was claimed: taking over anew")
        finally:
            term.hungry = term.leads = False
            term.wake.also = None
            self._finish(relay, senders, flights)

    def _receiver(self, relay: Relay, wake: Wake) -> Callable[..., None]:
        def done(claim: Any, outcome: Any) -> None:
            if relay.done(claim, outcome):
                wake.set()

        return done

    def _flights(self, relay: Relay, senders: Senders, wake: Wake) -> Flights | None:
        """Where the sink can send on the relay's own thread: what this thread then waits on."""
        offered: Callable[[], Flight | None] | None = getattr(self._sink, "flight", None)
        flight = offered() if offered is not None else None
        if flight is None:
            return None
        wake.also = flight.wake
        return Flights(flight, senders, relay.delivery, relay.done, self._outbox.give_way)

    def _repeat(self, relay: Relay, term: Term, wait: Callable[[float], None]) -> None:
        said, abort_at = "", 0.0
        while not term.stopping.is_set():
            woken = term.wake.is_set()
            term.wake.clear()
            term.hungry = True  # before the step looks: what is appended after it looked wakes us
            if woken:
                relay.wake()
            now = self._now()
            try:
                pause, why = relay.step(now), ""
                term.fails = None
            except (Superseded, Interrupted):
                raise
            except OutboxError as error:
                pause, why = ELECTION, str(error)
                term.fails = f"the relay fails: {why}"
            if why and why != said:
                logger.warning("delivery waits for its outbox: %s", why)
            said = why
            if now.monotonic >= abort_at:  # it looks at every connection
                abort_at = now.monotonic + _LOOK
                self._sink.abort_overdue()
            term.hungry = relay.hungry
            if relay.judge.breaker.cause == "unauthorized" and relay.under_way == 0:
                return self._rest(relay, term)
            wait(pause)
        return None

    def _rest(self, relay: Relay, term: Term) -> None:
        """Our token is refused: another process, with a better one, may lead meanwhile."""
        term.lock.release()
        term.stopping.wait(min(_LONGEST_REST, max(ELECTION, relay.judge.breaker.remaining(time.monotonic()))))

    def _finish(self, relay: Relay, senders: Senders, flights: Flights | None) -> None:
        """Gives what is in flight a moment to end, and settles it."""
        if flights is not None:
            flights.close(timeout=1.0)
        senders.stop(timeout=1.0)
        try:
            relay.settle(self._now())
        except OutboxError as error:
            logger.info("what was in flight is looked up by the next relay: %s", error)

    def _now(self) -> Now:
        return Now(time.time(), time.monotonic(), self._sinks_seconds())

    def _sinks_seconds(self) -> float:
        """By the sink's clock; since ever, where that of somebody's own sink is no number."""
        said = self._sink.clock()
        try:
            seconds = float(said)
        except (TypeError, ValueError, OverflowError):
            return 0.0
        return seconds if math.isfinite(seconds) else 0.0
