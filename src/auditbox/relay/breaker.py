"""Whether the sink should be left alone for a while, and why."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from auditbox.backoff import Backoff

logger = logging.getLogger("auditbox.relay")

_SHORTEST = 0.05


@dataclass(slots=True)
class Breaker:
    """A circuit breaker: closed lets everything through, open nothing, half-open one probe at a time.

    Times are monotonic seconds. It opens at once for what would meet every entry alike (no connection, a
    throttle, a token that is not accepted, a wrong address) and after ``threshold`` ambiguous answers in a
    row. Says so once when it opens and once when it closes again; of the address of a sink that has taken
    something only when a probe has met it, too: a gateway may answer so about one object alone.
    """

    backoff: Backoff
    threshold: int
    sink: str = "the sink"
    """As messages name it."""
    cause: str | None = None
    reason: str | None = None
    until: float = 0.0
    _opened: int = 0
    _failures: int = 0
    _said: bool = False
    _has_worked: bool = False

    def limit(self, free: int, under_way: int, now: float) -> int:
        """How many entries may be claimed now."""
        if self.cause is None:
            return free
        return 1 if now >= self.until and under_way == 0 else 0

    @property
    def opened(self) -> int:
        """How often it has opened since the sink last took something."""
        return self._opened

    @property
    def wants_another(self) -> bool:
        """Whether the next probe should be about something that was not tried yet.

        What was refused is due again and again: were each probe one of these, ten hidden objects, or one that
        is limited by itself, would keep all others waiting for ever. So every second probe is a new one.
        """
        return self.cause in ("misdirected", "throttled") and self._opened % 2 == 1

    def succeeded(self) -> None:
        """The sink took something: closed."""
        if self._said:
            logger.info("delivery goes on: %s answers again (it was paused: %s)", self.sink, self.reason)
        self.cause = self.reason = None
        self._opened = self._failures = 0
        self._said, self._has_worked = False, True

    def failed(self, now: float, reason: str) -> None:
        """An ambiguous answer; too many in a row open the breaker."""
        self._failures += 1
        if self._failures == 1:
            logger.info(
                "an answer was in doubt (%s): the record is looked up before it is sent again", reason
            )
        if self._failures >= self.threshold or self.cause is not None:
            self.open(now, "failing", reason)

    def open(self, now: float, cause: str, reason: str, wait: float | None = None) -> None:
        """Leaves the sink alone for ``wait`` seconds, or as long as the backoff says."""
        if self.cause is None or now >= self.until:
            self._opened += 1
            self.until = now + max(_SHORTEST, self.backoff.wait(self._opened) if wait is None else wait)
        elif wait is not None:
            self.until = max(self.until, now + wait)
        self.cause, self.reason = cause, reason
        lasts = cause != "misdirected" or self._opened > 1 or not self._has_worked
        if lasts and not self._said:
            self._said = True
            level = logging.ERROR if cause in ("unauthorized", "misdirected") else logging.WARNING
            text = "delivery to %s pauses (%s): %s; captures go on and nothing is lost"
            logger.log(level, text, self.sink, cause, reason)

    def remaining(self, now: float) -> float:
        """Seconds until a probe may go out; 0 when closed."""
        return 0.0 if self.cause is None else max(0.0, self.until - now)
