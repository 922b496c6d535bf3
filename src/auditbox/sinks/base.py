"""The seam between the relay and where records go: the Sink protocol and what can come of an attempt."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


class Delivery(NamedTuple):
    """One entry on its way: its number, id, lane, and the JSON that goes on the wire."""

    seq: int
    id: str
    lane: str
    body: bytes
    sent_at: float | None = None
    """For a look-up: when it may first have been sent (server seconds as far as they are known)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What the sink said of a failure; never a raw exception text, which may hold a token."""

    reason: str
    """One line for people: ``400 Bad Request: 'Summary' must not be empty.``"""
    status: int | None = None
    title: str | None = None
    detail: str | None = None
    errors: Any = None
    trace_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The known parts."""
        parts = {
            "reason": self.reason,
            "status": self.status,
            "title": self.title,
            "detail": self.detail,
            "errors": self.errors,
            "traceId": self.trace_id,
        }
        return {key: value for key, value in parts.items() if value is not None}


class Sent(NamedTuple):
    """The sink has it (for a look-up: it is there)."""

    remote_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The sink will never take it: a dead letter."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Refused:
    """The sink does not take it now and perhaps will: the object may become visible."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class NotSent:
    """It certainly did not reach the sink (connect, DNS, TLS, or no time left before the first byte)."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Paused:
    """No record would be taken now: throttled, unauthorized, wrong address.

    Attributes:
        wait: seconds that the sink asked for; None leaves it to the relay's backoff.
        cause: ``throttled``, ``unauthorized`` or ``misdirected``.
        doubtful: whether this one may have been processed all the same: it must be looked up before it is
            sent again. Without it, it was not.
    """

    problem: Problem
    cause: str
    wait: float | None = None
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Unclear:
    """It may or may not have reached the sink: it must be looked up before it is sent again.

    Attributes:
        wait: seconds for which the sink should be left alone (a 503 with Retry-After), if any.
        pauses: whether the sink should be left alone at all.
    """

    problem: Problem
    wait: float | None = None
    pauses: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """A look-up read far enough back and the record is not there."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A look-up cannot be done: the trail of this object cannot be read with this token."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Later:
    """A look-up failed for a reason that may pass.

    ``cause`` and ``wait`` as in :class:`Paused` where the sink should be left alone, else None.
    """

    problem: Problem
    cause: str | None = None
    wait: float | None = None


SendOutcome = Sent | Rejected | Refused | NotSent | Paused | Unclear
VerifyOutcome = Sent | Missing | Unreadable | Later


class Flight(Protocol):
    """Many deliveries at once on the thread that calls this. A sink with a ``flight()`` may give one."""

    def launch(self, delivery: Delivery) -> bool:
        """Begins to send; False where that would block, and ``send`` must do it on a thread."""
        ...

    def land(self, timeout: float) -> list[tuple[int, SendOutcome | None]]:
        """Waits until something has come to an end, or until woken; numbers with their outcomes.

        Few of them at a time, where there are many: the relay gives way to captures in between, and asks on
        with a timeout of 0 until it is told of none.
        None says that it was certainly not processed, and that ``send`` must do it on a thread.
        """
        ...

    def wake(self) -> None:
        """Ends the wait of ``land``; any thread may call it, and a signal handler."""
        ...

    def close(self) -> list[tuple[int, SendOutcome | None]]:
        """Breaks off what is under way; its outcomes."""
        ...


class Sink(Protocol):
    """Where records go. One implementation is shared by several threads; neither method raises.

    Attributes:
        destination: names where the records go; an outbox belongs to exactly one.
        deadline: the longest that one attempt can last, in seconds.
    """

    destination: str
    deadline: float

    def send(self, delivery: Delivery) -> SendOutcome:
        """One attempt to deliver one record; returns within the deadline."""
        ...

    def verify(self, delivery: Delivery) -> VerifyOutcome:
        """Looks up whether the record is already there."""
        ...

    def clock(self) -> float:
        """Unix seconds at the sink, rather behind than ahead; 0 as long as nothing is known of them."""
        ...

    def abort_overdue(self) -> None:
        """Breaks off attempts that have outlived the deadline; called often, by one thread."""
        ...

    def close(self) -> None:
        """Lets go of connections; a later send opens them again."""
        ...


@dataclass
class FakeSink:
    """A sink for tests: remembers what it got and answers from a script.

    ``script`` maps an entry's id to the outcomes of its next sends; whatever is not scripted is Sent.
    An entry counts as stored when it was Sent, or Unclear with ``stores_unclear``.
    """

    destination: str = "fake"
    deadline: float = 1.0
    stores_unclear: bool = True
    script: dict[str, list[SendOutcome]] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)

    def send(self, delivery: Delivery) -> SendOutcome:
        """The next scripted outcome, else Sent."""
        outcomes = self.script.get(delivery.id)
        outcome = outcomes.pop(0) if outcomes else Sent(f"R-{delivery.seq}")
        if isinstance(outcome, Sent) or (isinstance(outcome, Unclear) and self.stores_unclear):
            self.stored.append(delivery.id)
        return outcome

    def verify(self, delivery: Delivery) -> VerifyOutcome:
        """Sent where the id was stored."""
        return Sent(f"R-{delivery.seq}") if delivery.id in self.stored else Missing()

    def clock(self) -> float:
        """This machine's time."""
        return time.time()

    def abort_overdue(self) -> None:
        """Nothing can be overdue."""

    def close(self) -> None:
        """Nothing is open."""
