"""The life of the relay's threads: started by captures, one at a time, across forks, ended in good order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from auditbox.errors import AuditboxError, NotAnOutbox, WrongDestination
from auditbox.outbox import ending, forking, waiting
from auditbox.outbox.files import FileLock
from auditbox.outbox.presence import is_held
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.relay.judge import Judge
from auditbox.relay.leader import Leader, Term
from auditbox.relay.policy import Policy
from auditbox.sinks.base import Sink

logger = logging.getLogger("auditbox.relay")


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
        self._judge: Judge | None = None
        self._leader: Leader | None = None
        if sink is not None:
            self._judge = Judge.for_sink(policy, sink)
            self._leader = Leader(
                outbox, sink, self._judge, concurrency=concurrency, on_dead_letter=on_dead_letter
            )
        self._start_lock = threading.Lock()
        self._as_new()
        forking.register(self)
        ending.register(self.end)

    def _as_new(self) -> None:
        self.term = self._new_term()
        """Of the thread that relays, or is to start with the next capture."""
        self._retired: list[Term] = []
        """Of which a thread may still live."""
        self._stops: list[Term] = []
        """Those that are being stopped now: no other one starts until they are."""
        self._late = False
        """Whether something was captured while one was being stopped, for which one is to start then."""

    def _new_term(self) -> Term:
        return Term(FileLock(self._outbox.relay_lock), hungry=self._sink is not None)

    # -- called by whoever captures ------------------------------------------------------------------

    def notify(self) -> None:
        """Something was appended: wakes the relay, or starts its thread.

        Needed only while ``term.hungry``: not while it is busy, or another process relays.
        """
        term = self.term
        if term.thread is None:
            self.start()
        elif term.hungry:
            term.hungry = False
            term.wake.set()

    def start(self) -> None:
        """Starts the thread, if there is a sink and none runs yet; where one is being stopped, after that."""
        if self._leader is None or ending.has_begun() or self._is_late():
            return
        if not self._start_lock.acquire(blocking=False):
            return  # whoever has the lock is starting it, perhaps this very thread under a signal handler
        try:
            self._late, term = False, self.term
            if term.thread is None:
                # Known before it runs: an exception out of a signal handler must not start a second one.
                run = self._leader.run
                term.thread = threading.Thread(target=run, args=(term,), name="auditbox-relay", daemon=True)
                term.thread.start()
        except RuntimeError:  # the interpreter is going down: the next start delivers
            term.thread = None
            term.hungry = True
            return
        finally:
            self._start_lock.release()
        if term is not self.term:  # it was stopped meanwhile, perhaps before it was there
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
        return self.term.alive or is_held(self._outbox.relay_lock)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that relays now."""
        return self.term.leads

    def flush(self, timeout: float) -> Flushed:
        """Waits until what was captured before the call is settled; see AuditTrail.flush."""
        return self._flush(self.term, time.monotonic() + timeout)

    def _flush(self, term: Term, deadline: float, *, until_paused: bool = False) -> Flushed:
        upto = self._outbox.last_seq()
        first = pending, dead = self._outbox.unsettled(upto)
        if pending and term is self.term:
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
            if self.term.thread is not None:
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
    def _stopped(self) -> Iterator[Term]:
        """The thread's term, which is over: what is captured from here on starts the next one afterwards."""
        term = self.term
        try:
            self._stops.append(term)
            self._retired = [one for one in self._retired if one.alive] + [term]
            self.term = self._new_term()
            yield term
        finally:
            if term in self._stops:
                self._stops.remove(term)
            if self._late and not self._stops:
                self.start()

    def _end(self, term: Term, timeout: float) -> None:
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
        for term in (self.term, *self._retired):
            term.lock.forget()
        self._start_lock = threading.Lock()
        self._as_new()

    # -- looking -------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Depth, age, dead letters, and why delivery waits."""
        depth = self._outbox.depth()
        breaker = self._judge.breaker if self._judge is not None else None
        oldest, alive = depth.oldest_pending, self.alive
        paused = self.term.fails or (breaker.reason if breaker is not None else None)
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
