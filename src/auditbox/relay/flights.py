"""Sends on the relay's own thread where the sink can do that, and on senders where it cannot."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from auditbox.relay.senders import Senders
from auditbox.sinks.base import Delivery, Flight

if TYPE_CHECKING:
    from auditbox.outbox.base import Claim
    from auditbox.relay.outcomes import Outcome


class Flights:
    """Everything here is called by the relay's thread.

    Args:
        flight: sends many at once, and is what the thread waits on.
        senders: take what would block.
        delivery: what the sink gets of a claim.
        done: takes an outcome, and says whether the relay should hear of it at once.
        give_way: is called before each request and each time that the flight is asked for what has landed.
    """

    def __init__(
        self,
        flight: Flight,
        senders: Senders,
        delivery: Callable[[Claim], Delivery],
        done: Callable[[Claim, Outcome], bool],
        give_way: Callable[[], None],
    ) -> None:
        self._flight, self._senders, self._delivery, self._done = flight, senders, delivery, done
        self._give_way = give_way
        self._claims: dict[int, Claim] = {}

    def dispatch(self, claim: Claim) -> None:
        """Sends it, or has it sent or looked up."""
        self._give_way()
        if claim.action == "send" and self._flight.launch(self._delivery(claim)):
            self._claims[claim.entry.seq] = claim
        else:
            self._senders.dispatch(claim)

    def wait(self, timeout: float) -> None:
        """Until an outcome should be taken at once, the relay is woken, or the time is over and nothing more
        has landed."""
        deadline = time.monotonic() + timeout
        while True:
            self._give_way()
            landed, urgent = self._flight.land(timeout), False
            for seq, outcome in landed:
                claim = self._claims.pop(seq)
                if outcome is None:
                    self._senders.dispatch(claim)
                elif self._done(claim, outcome):
                    urgent = True
            if urgent or not landed:
                return
            timeout = max(0.0, deadline - time.monotonic())

    def close(self, timeout: float) -> None:
        """Gives what is in flight so many seconds to land, and breaks the rest off."""
        deadline = time.monotonic() + timeout
        while self._claims and (left := deadline - time.monotonic()) > 0:
            self.wait(left)
        for seq, outcome in self._flight.close():
            if outcome is not None:
                self._done(self._claims.pop(seq), outcome)
