"""The relay's thread: elects itself, repeats ``step``, survives forks, and ends in good order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from auditbox.errors import AuditboxError, NotAnOutbox, OutboxError, Superseded, WrongDestination
from auditbox.outbox import ending, forking, waiting
from auditbox.outbox.base import Now
from auditbox.outbox.files import FileLock
from auditbox.outbox.job import Interrupted
from auditbox.outbox.presence import is_held
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.outbox.wake import Wake
from auditbox.relay.flights import Flights
from auditbox.relay.judge import Judge
from auditbox.relay.policy import Policy
from auditbox.relay.relay import Relay
from auditbox.relay.senders import Senders
from auditbox.sinks.base import Flight, Sink

logger = logging.getLogger("auditbox.relay")

ELECTION = 1.0
"""Seconds between attempts to become the relay while another process is."""
_LONGEST_REST = 30.0
_MOMENT = 0.02


class Flushed(NamedTuple):
    """What a flush came to; true only if everything captured before the call is delivered."""

    delivered: int
    """Entries that were delivered, or given up by somebody, while it waited."""
    pending: int
    """Entries captured before the call that are still on their way."""
    dead: int
    """Dead letters among the entries captured before the call."""

    def __bool__(self) -> bool:
        return self.pending == 0 and self.dead == 0


class _Term:
    """What belongs to one thread of a worker: the next has its own, as it may begin before this one ends."""

    __slots__ = ("fails", "hungry", "leads", "lock", "stopping", "thread", "wake")

    def __init__(self, lock: FileLock, *, hungry: bool) -> None:
        self.lock, self.hungry = lock, hungry
        self.thread: threading.Thread | None = None
        self.wake, self.stopping = Wake(), threading.Event()
        self.leads = False
        self.fails: str | None = None

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self.thread is not None and self.thread.is_alive()


class Worker:
    """Runs the relay of one outbox in this process, while no other process does.

    Without a sink it only answers for the outbox: another process relays.
    """

    def __init__(
        self,
        outbox: SqliteOutbox,
        sink: Sink | None,
        policy: Policy,
        *,
        concurrency: int,
        on_dead_letter: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        self._outbox, self._sink = outbox, sink
        self._judge = Judge.for_sink(policy, sink) if sink is not None else None
        self._concurrency, self._on_dead_letter = concurrency, on_dead_letter
        self._start_lock = threading.Lock()
        self._as_new()
        forking.register(self)
        ending.register(self.end)

    def _as_new(self) -> None:
        self._term = self._new_term()
        self._retired: list[_Term] = []
        """Of which a thread may still live."""
        self._stops: list[_Term] = []
        """Those that are being stopped now: no other one starts until they are."""
        self._late = False
        """Whether something was captured while one was being stopped, for which one is to start then."""

    def _new_term(self) -> _Term:
        return _Term(FileLock(self._outbox.relay_lock), hungry=self._sink is not None)

    @property
    def hungry(self) -> bool:
        """Whether :meth:`notify` is to be called of what is appended."""
        return self._term.hungry

    # -- called by whoever captures ------------------------------------------------------------------

    def notify(self) -> None:
        """Something was appended: wakes the relay, or starts its thread.

        Needed only while it is ``hungry``: not while it is busy, or another process relays.
        """
        term = self._term
        if term.thread is None:
            self.start()
        elif term.hungry:
            term.hungry = False
            term.wake.set()

    def start(self) -> None:
        """Starts the thread, if there is a sink and none runs yet; where one is being stopped, after that."""
        if self._sink is None or ending.has_begun() or self._is_late():
            return
        if not self._start_lock.acquire(blocking=False):
            return  # whoever has the lock is starting it, perhaps this very thread under a signal handler
        try:
            self._late, term = False, self._term
            if term.thread is None:
                # Known before it runs: an exception out of a signal handler must not start a second one.
                term.thread = threading.Thread(
                    target=self._run, args=(term,), name="auditbox-relay", daemon=True
                )
                term.thread.start()
        except RuntimeError:  # the interpreter is going down: the next start delivers
            term.thread = None
            term.hungry = True
            return
        finally:
            self._start_lock.release()
        if term is not self._term:  # it was stopped meanwhile, perhaps before it was there
            self.start()

    def _is_late(self) -> bool:
        """Whether one is being stopped; then whoever does that starts the next one."""
        if not self._stops:
            return False
        self._late = True
        return bool(self._stops)  # or nobody may have seen it

    @property
    def alive(self) -> bool:
        """Whether this process or another one relays this outbox now."""
        return self._term.alive or is_held(self._outbox.relay_lock)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that relays now."""
        return self._term.leads

    def flush(self, timeout: float) -> Flushed:
        """Waits until what was captured before the call is settled; see AuditTrail.flush."""
        return self._flush(self._term, time.monotonic() + timeout)

    def _flush(self, term: _Term, deadline: float, *, until_paused: bool = False) -> Flushed:
        upto = self._outbox.last_seq()
        first = pending, dead = self._outbox.unsettled(upto)
        if pending and term is self._term:
            self.notify()
        elif pending:
            term.wake.set()
        while pending and (term.alive or self.alive) and time.monotonic() < deadline:
            if until_paused and self._paused_beyond(deadline):
                break
            time.sleep(min(0.001 + pending / 50_000, 0.02, max(0.0, deadline - time.monotonic())))
            pending, dead = self._outbox.unsettled(upto)
        return Flushed(max(0, sum(first) - pending - dead), pending, dead)

    def _paused_beyond(self, deadline: float) -> bool:
        """Whether the sink is down, or asks for more patience than is left."""
        breaker = self._judge.breaker if self._judge is not None else None
        if breaker is None or breaker.cause is None:
            return False
        return breaker.cause != "throttled" or breaker.until >= deadline

    def close(self, timeout: float) -> Flushed:
        """Delivers what it can, unless the sink is down anyway; then stops and lets go of everything."""
        deadline = time.monotonic() + timeout
        with self._stopped() as term:
            try:
                flushed = None
                try:
                    if term.thread is not None:
                        flushed = self._flush(term, deadline, until_paused=True)
                finally:
                    self._end(term, max(0.5, deadline - time.monotonic()))
                return self._state() if flushed is None else flushed
            finally:
                self._outbox.close()

    def end(self) -> None:
        """At the end of the process: as close, within the time that is left; the next start goes on."""
        try:
            if self._term.thread is not None:
                self.close(ending.remaining())
            else:
                self._outbox.close()
        except AuditboxError as error:
            logger.info("not everything was delivered at exit; the next start goes on: %s", error)

    def _state(self) -> Flushed:
        if not self._outbox.path.exists():
            return Flushed(0, 0, 0)
        try:
            pending, dead = self._outbox.unsettled(self._outbox.last_seq())
        except (NotAnOutbox, WrongDestination):  # each capture was refused, so nothing in there is ours
            return Flushed(0, 0, 0)
        return Flushed(0, pending, dead)

    def stop(self, timeout: float) -> None:
        """Ends the thread; what is in flight past the timeout is looked up by the next relay."""
        with self._stopped() as term:
            self._end(term, timeout)

    @contextmanager
    def _stopped(self) -> Iterator[_Term]:
        """The thread's term, which is over: what is captured from here on starts the next one afterwards."""
        term = self._term
        try:
            self._stops.append(term)
            self._retired = [one for one in self._retired if one.alive] + [term]
            self._term = self._new_term()
            yield term
        finally:
            if term in self._stops:
                self._stops.remove(term)
            if self._late and not self._stops:
                self.start()

    def _end(self, term: _Term, timeout: float) -> None:
        thread = term.thread
        term.stopping.set()
        term.wake.set()
        if thread is not None and thread.ident and thread is not threading.current_thread():
            thread.join(timeout=timeout)
        if self._sink is not None:
            self._sink.close()

    # -- fork ----------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Nothing to let go of: the parent stays the relay."""

    def after_fork_in_parent(self) -> None:
        """Goes on."""

    def after_fork_in_child(self) -> None:
        """Closes, never unlocks, the copy of the parent's lock; starts its own thread when it captures."""
        for term in (self._term, *self._retired):
            term.lock.forget()
        self._start_lock = threading.Lock()
        self._as_new()

    # -- the thread ----------------------------------------------------------------------------------

    def _run(self, term: _Term) -> None:
        stopping, lock = term.stopping, term.lock
        while not stopping.is_set():
            try:
                # Whoever asks whether somebody relays holds the lock for a moment, too.
                if lock.try_acquire() or (not stopping.wait(_MOMENT) and lock.try_acquire()):
                    try:
                        self._lead(term)
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

    def _lead(self, term: _Term) -> None:
        """Relays until it is stopped, superseded, or has nothing to offer but a token that is refused."""
        assert self._sink is not None
        assert self._judge is not None
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
        return Flights(flight, senders, relay.delivery, relay.done)

    def _repeat(self, relay: Relay, term: _Term, wait: Callable[[float], None]) -> None:
        said = ""
        while not term.stopping.is_set():
            woken = term.wake.is_set()
            term.wake.clear()
            term.hungry = True  # before the step looks: what is appended after it looked wakes us
            if woken:
                relay.wake()
            try:
                pause, why = relay.step(self._now()), ""
                term.fails = None
            except (Superseded, Interrupted):
                raise
            except OutboxError as error:
                pause, why = ELECTION, str(error)
                term.fails = f"the relay fails: {why}"
            if why and why != said:
                logger.warning("delivery waits for its outbox: %s", why)
            said = why
            if self._sink is not None:
                self._sink.abort_overdue()
            term.hungry = relay.hungry
            if relay.judge.breaker.cause == "unauthorized" and relay.under_way == 0:
                return self._rest(relay, term)
            wait(pause)
        return None

    def _rest(self, relay: Relay, term: _Term) -> None:
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
        assert self._sink is not None
        return Now(time.time(), time.monotonic(), self._sink.clock())

    # -- looking -------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Depth, age, dead letters, and why delivery waits."""
        depth = self._outbox.depth()
        breaker = self._judge.breaker if self._judge is not None else None
        oldest, alive = depth.oldest_pending, self.alive
        paused = self._term.fails or (breaker.reason if breaker is not None else None)
        return {
            "outbox": str(self._outbox.path),
            "destination": self._outbox.destination,
            "captured": depth.captured,
            "delivered": depth.delivered,
            "pending": depth.pending,
            "dead": depth.dead,
            "discarded": depth.discarded,
            "oldest_pending_seconds": None if oldest is None else max(0.0, round(time.time() - oldest, 3)),
            "relay_alive": alive,
            "waits": waiting.why(depth.pending, alive, self._outbox.held(), paused),
        }
