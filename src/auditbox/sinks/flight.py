"""Many requests at once on one thread, while all goes well.

A request takes off on an idle connection of the pool. Whatever would block (to connect, to ask for a token,
to look something up) is left to the sink's :meth:`send` and :meth:`verify` on threads, which fill the pool.
What an answer means, and whether a byte has left, is judged as there. No lock and no other thread is between
an answer and its settlement, so the application's threads hardly notice.
"""

from __future__ import annotations

import os
import select
import ssl
import time
from collections import deque
from collections.abc import Callable

from auditbox.sinks.base import Delivery, Problem, SendOutcome, Unclear
from auditbox.sinks.connection import BLOCK, Connection
from auditbox.sinks.exchange import IDLE, Answer, Overdue, Request, Silence, reset_on_close
from auditbox.sinks.pool import Pool
from auditbox.sinks.reading import Reading, at_a_glance

Landed = tuple[int, SendOutcome | None]
"""A number and its outcome; None where it was certainly not processed and must be sent anew, by a thread."""

_LOOK = 0.05
"""Seconds between two looks at the deadlines."""
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class _Trip:
    """One request under way."""

    __slots__ = ("connection", "expires", "number", "reading", "rest", "socket", "token", "until")

    def __init__(self, number: int, connection: Connection, request: Request, expires: float) -> None:
        self.number, self.connection, self.expires = number, connection, expires
        self.socket = connection.open_socket
        self.rest: memoryview | bytes = request.data
        self.token = request.token
        self.reading: Reading | None = None
        """Of an answer that takes more than a glance."""
        self.until = 0.0
        """When it has been silent for too long."""


class Flight:
    """Requests that share the thread which calls this; only :meth:`wake` is for others.

    Args:
        pool: where the connections come from.
        prepare: makes a request of a body; None where a token must be asked for first.
        judge: what the result of a request with this token means.
        deadline: the longest that an attempt can last.
        longest: the most bytes of a response that are read.
    """

    def __init__(
        self,
        pool: Pool,
        prepare: Callable[[bytes], Request | None],
        judge: Callable[[Answer | Silence, str], SendOutcome | None],
        deadline: float,
        longest: int,
    ) -> None:
        self._pool, self._prepare, self._judge = pool, prepare, judge
        self._deadline, self._longest = deadline, longest
        self._poll = select.poll()  # an object of this process alone: a fork has nothing to share or to close
        self._trips: dict[int, _Trip] = {}
        self._idle: list[Connection] = []
        """Taken from the pool and kept, as this thread is nearly all that sends."""
        self._ready: deque[tuple[int, int]] = deque()
        """Descriptors at which something has happened, and what."""
        self._landed: list[Landed] = []
        self._bell, self._cord = os.pipe()
        for end in (self._bell, self._cord):
            os.set_blocking(end, False)
        self._poll.register(self._bell, select.POLLIN)
        self._woken = False
        self._look_at = self._polled_at = 0.0

    def launch(self, delivery: Delivery) -> bool:
        """Begins to send; False where that would block, and nothing has happened."""
        now = time.monotonic()
        request = self._prepare(delivery.body)
        connection = None if request is None else self._take(now)
        if request is None or connection is None:
            return False
        trip = _Trip(delivery.seq, connection, request, now + self._deadline)
        connection.reusable = False
        descriptor = trip.socket.fileno()
        self._trips[descriptor] = trip
        if trip.socket.gettimeout() != 0.0:  # asking is cheaper than telling
            trip.socket.settimeout(0.0)
        trip.until = now + self._pool.timeouts["write"]
        self._push(descriptor, trip, now)
        return True

    def _take(self, now: float) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since < IDLE and not connection.retired and connection.is_quiet():
                return connection
            connection.reusable = False
            self._pool.give(connection)
        return self._pool.take()

    def _give(self, connection: Connection) -> None:
        connection.idle_since = time.monotonic()
        if connection.reusable and not connection.retired:
            self._idle.append(connection)
        else:
            self._pool.give(connection)

    def land(self, timeout: float) -> list[Landed]:
        """What has come to an end, after waiting for it for at most so many seconds.

        One answer at a time, so that the caller may give way to others in between, and whatever is overdue.
        Nothing when woken: what came to an end at the same time is returned first.
        """
        ready = self._ready
        if not (ready or self._landed or self._woken):
            longest = min(timeout, _LOOK) if self._trips else timeout
            ready.extend(self._poll.poll(max(0.0, longest) * 1000))
            self._polled_at = time.monotonic()
        while ready and not self._landed:
            descriptor, event = ready.popleft()
            if descriptor == self._bell:
                self._silence_bell()
                self._woken = True
            elif (trip := self._trips.get(descriptor)) is not None:
                self._move(descriptor, trip, event)
        # By the time of the poll, as an answer may have come since: the caller may have been held up.
        if self._trips and not ready and self._polled_at >= self._look_at:
            self._look_at = self._polled_at + _LOOK
            self._end_overdue(self._polled_at)
        landed, self._landed = self._landed, []
        self._woken = self._woken and bool(landed or ready)
        return landed

    def wake(self) -> None:
        """Ends the wait of :meth:`land`; may be called by any thread, and by a signal handler."""
        try:
            os.write(self._cord, b"!")
        except OSError:
            return  # full, so that it wakes all the same; or closed

    def close(self) -> list[Landed]:
        """Breaks off what is under way, and returns its outcomes."""
        for descriptor, trip in list(self._trips.items()):
            self._fail(descriptor, trip, Overdue())
        while self._idle:
            self._pool.give(self._idle.pop())
        for end in (self._bell, self._cord):
            os.close(end)
        landed, self._landed = self._landed, []
        return landed

    # -- one trip ----------------------------------------------------------------------------------

    def _move(self, descriptor: int, trip: _Trip, event: int) -> None:
        now = time.monotonic()
        if trip.rest and event & select.POLLOUT:
            self._push(descriptor, trip, now)
        if event & ~select.POLLOUT and descriptor in self._trips:
            self._pull(descriptor, trip, now)

    def _push(self, descriptor: int, trip: _Trip, now: float) -> None:
        """Sends as much as the socket takes."""
        try:
            while trip.rest:
                sent = trip.socket.send(trip.rest)
                trip.rest = memoryview(trip.rest)[sent:] if sent < len(trip.rest) else b""
        except _WOULD_BLOCK:
            self._poll.register(descriptor, select.POLLIN | select.POLLOUT)
            return
        except OSError as exc:
            self._fail(descriptor, trip, exc, read_first=True)
            return
        trip.until = now + self._pool.timeouts["read"]
        self._poll.register(descriptor, select.POLLIN)

    def _pull(self, descriptor: int, trip: _Trip, now: float) -> None:
        """Reads what is there."""
        try:
            data = trip.socket.recv(BLOCK)
            usual = None if trip.reading or trip.rest else at_a_glance(data, self._longest)
            if usual is not None:
                answer, reusable = usual, True
            else:
                reading = self._read_on(trip, data)
                answer, reusable = reading.answer(), reading.reusable and not trip.rest
        except _WOULD_BLOCK:
            trip.until = now + self._pool.timeouts["read"]
            return
        except Exception as exc:  # noqa: BLE001 - whatever went wrong, bytes have left
            self._fail(descriptor, trip, exc)
            return
        trip.connection.reusable = reusable
        self._end(descriptor, trip, answer)

    def _read_on(self, trip: _Trip, data: bytes) -> Reading:
        """Reads an answer that takes more than a glance, to its end."""
        reading = trip.reading = trip.reading or self._pool.reading(self._longest)
        while data and not reading.feed(data):
            data = trip.socket.recv(BLOCK)
        if not data:
            reading.end()
        return reading

    def _fail(self, descriptor: int, trip: _Trip, exc: Exception, *, read_first: bool = False) -> None:
        """Ends a trip that went wrong; a server that refuses by the headers alone may have answered."""
        reading = trip.reading or self._pool.reading(self._longest)
        if read_first:
            try:
                while data := trip.socket.recv(BLOCK):
                    if reading.feed(data):
                        break
            except Exception:  # noqa: BLE001, S110 - then there is no answer
                pass
            if reading.whole:
                self._end(descriptor, trip, reading.answer())
                return
        why = "the deadline of the attempt passed" if isinstance(exc, Overdue) else _named(exc)
        result = Silence(why, unsent=False) if reading.status is None else reading.answer(why)
        self._end(descriptor, trip, result)

    def _end(self, descriptor: int, trip: _Trip, result: Answer | Silence) -> None:
        del self._trips[descriptor]
        try:  # noqa: SIM105 - suppress is three calls, for every record
            self._poll.unregister(descriptor)
        except KeyError:  # it failed before it had to be waited for
            pass
        self._give(trip.connection)
        try:
            outcome = self._judge(result, trip.token)
        except Exception as exc:  # noqa: BLE001 - a sink never raises, and bytes have left
            outcome = Unclear(Problem(f"unexpected {type(exc).__name__}"))
        self._landed.append((trip.number, outcome))

    def _end_overdue(self, now: float) -> None:
        for descriptor, trip in list(self._trips.items()):
            if now > trip.expires or now > trip.until:
                reset_on_close(trip.socket)
                self._fail(descriptor, trip, Overdue() if now > trip.expires else TimeoutError())

    def _silence_bell(self) -> None:
        try:
            os.read(self._bell, 4096)
        except BlockingIOError:
            return


def _named(exc: Exception) -> str:
    cause = exc.__cause__
    return type(exc).__name__ if cause is None else f"{type(exc).__name__}, {type(cause).__name__}"
