"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from dataclasses import dataclass

from auditbox.checks import checked, is_number
from auditbox.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter, in float seconds.

    The n-th wait is drawn evenly from 0 to ``min(longest, first * factor**n)``, so clients that failed
    together do not come back together (AWS Architecture Blog, "Exponential Backoff And Jitter").
    """

    first: float = 0.5
    longest: float = 60.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        for name in ("first", "longest", "factor"):
            value = getattr(self, name)
            checked(name, value, is_number(value), "a number (of seconds where it is a time)")
        if not (0 < self.first <= self.longest and self.factor >= 1):
            raise ConfigurationError(f"{self!r}: needs 0 < first <= longest and factor >= 1")

    def ceiling(self, attempt: int) -> float:
        """The longest wait after the given number of failed attempts (1 is the first)."""
        exponent = min(max(attempt, 1) - 1, 64)
        return min(self.longest, self.first * self.factor**exponent)

    def wait(self, attempt: int) -> float:
        """A wait in seconds after the given number of failed attempts (1 is the first)."""
        return random.uniform(0, self.ceiling(attempt))
