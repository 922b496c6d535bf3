"""What the relay's own thread sends: it gives way to captures before each answer and each request."""

from __future__ import annotations

from typing import cast

from auditbox.outbox.base import Claim, Entry
from auditbox.relay.flights import Flights
from auditbox.relay.outcomes import Outcome
from auditbox.relay.senders import Senders
from auditbox.sinks.base import Delivery, SendOutcome, Sent


class Log:
    """A flight whose answers are all there at once, and everything that happens, in its order."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.flying: list[int] = []

    def give_way(self) -> None:
        self.events.append("gives way")

    def launch(self, delivery: Delivery) -> bool:
        self.events.append(f"sends {delivery.seq}")
        self.flying.append(delivery.seq)
        return True

    def land(self, timeout: float) -> list[tuple[int, SendOutcome | None]]:
        if not self.flying:
            return []
        seq = self.flying.pop(0)
        self.events.append(f"takes {seq}")
        return [(seq, Sent())]

    def wake(self) -> None:
        self.events.append("wakes")

    def close(self) -> list[tuple[int, SendOutcome | None]]:
        return []


def a_claim(seq: int) -> Claim:
    return Claim(Entry(seq, f"id-{seq}", "A", b"{}"), "send")


def a_delivery(claim: Claim) -> Delivery:
    return Delivery(*claim.entry)


def test_it_gives_way_before_each_answer_and_each_request() -> None:
    """However many answers are there at once, a capture waits for one of them at most."""
    log, done = Log(), []

    def take(claim: Claim, outcome: Outcome) -> bool:
        done.append(claim.entry.seq)
        return False

    senders = cast(Senders, None)  # nothing here would block
    flights = Flights(log, senders, a_delivery, take, log.give_way)
    for seq in (1, 2, 3):
        flights.dispatch(a_claim(seq))
    flights.wait(0.0)
    assert done == [1, 2, 3]
    expected = [f"{verb} {seq}" for verb in ("sends", "takes") for seq in (1, 2, 3)]
    assert log.events == [event for one in expected for event in ("gives way", one)] + ["gives way"]
