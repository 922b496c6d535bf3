"""Daemon threads that send: started when they are needed, idle otherwise.

Not an executor: executors refuse work while the interpreter shuts down, when the last records should go.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from auditbox.relay.outcomes import in_doubt

if TYPE_CHECKING:
    from auditbox.outbox.base import Claim
    from auditbox.relay.outcomes import Outcome

logger = logging.getLogger("auditbox.relay")


class Senders:
    """Up to ``size`` threads; each takes a claim, performs it and hands the outcome on."""

    def __init__(
        self,
        size: int,
        perform: Callable[[Claim], Outcome],
        done: Callable[[Claim, Outcome], None],
    ) -> None:
        self._size, self._perform, self._done = size, perform, done
        self._work: queue.SimpleQueue[Claim | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0

    def dispatch(self, claim: Claim) -> None:
        """Starts the work on a claim; called by one thread only."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._busy += 1
        if self._busy > len(self._threads) and len(self._threads) < self._size:
            thread = threading.Thread(target=self._run, name="auditbox-sender", daemon=True)
            try:
                thread.start()
                self._threads.append(thread)
            except RuntimeError:  # the interpreter is going down: those that run must do
                if not self._threads:
                    self._finish(claim, self._attempt(claim))
                    return
        self._work.put(claim)

    def stop(self, timeout: float) -> bool:
        """Ends the threads as they become free; False if some are still at work after the timeout."""
        for _ in self._threads:
            self._work.put(None)
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while (claim := self._work.get()) is not None:
            self._finish(claim, self._attempt(claim))

    def _finish(self, claim: Claim, outcome: Outcome) -> None:
        self._busy -= 1
        self._done(claim, outcome)

    def _attempt(self, claim: Claim) -> Outcome:
        """Sinks do not raise; should one do so all the same, nobody knows how far it came."""
        try:
            return self._perform(claim)
        except (
            BaseException
        ) as error:  # SystemExit, too: it would end the thread, and nobody else waits for it
            logger.exception("the sink failed on %s", claim.entry.id)
            return in_doubt(claim, f"the sink raised {type(error).__name__}")
