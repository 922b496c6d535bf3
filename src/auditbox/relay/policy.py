"""How the relay waits, retries and gives up."""

from __future__ import annotations

from dataclasses import dataclass, field

from auditbox.backoff import Backoff
from auditbox.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of delivery; times in float seconds.

    Args:
        backoff: between attempts for one entry that was refused, and between look-ups that failed.
        pause: between probes while the sink is down, throttles or does not accept the token.
        verify_after: how long after an ambiguous attempt it is looked up. The server must have committed,
            and its list must show it, within that time: that is the condition of exactly-once. None: the
            sink's deadline and five seconds.
        give_up_after: how long a lane may be refused (403, 404) before its entry becomes a dead letter.
        max_attempts: how often an entry may meet a 500, while other lanes succeed, before it is dead.
        on_unverifiable: what to do with an entry that may have arrived and cannot be looked up:
            ``"resend"`` (at least once) or ``"hold"`` (its lane waits, and the look-up is tried again).
        failures: ambiguous answers in a row after which the sink is left alone for a while.
        refused_lanes: lanes refused in a row after which the address or the token is taken to be wrong.
    """

    backoff: Backoff = field(default_factory=Backoff)
    pause: Backoff = field(default_factory=lambda: Backoff(first=0.5, longest=30.0))
    verify_after: float | None = None
    give_up_after: float = 24 * 3600.0
    max_attempts: int = 10
    on_unverifiable: str = "resend"
    failures: int = 5
    refused_lanes: int = 10

    def __post_init__(self) -> None:
        if self.on_unverifiable not in ("resend", "hold"):
            raise ConfigurationError(f"on_unverifiable={self.on_unverifiable!r}: 'resend' or 'hold'")
        for name in ("give_up_after", "max_attempts", "failures", "refused_lanes"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name}={getattr(self, name)!r}: more than 0")
        if self.verify_after is not None and not self.verify_after >= 0:
            raise ConfigurationError(f"verify_after={self.verify_after!r}: seconds, 0 or more")

    @property
    def longest_wait(self) -> float:
        """The longest deadline that this policy sets: one further ahead says that the clock was set back."""
        return max(self.backoff.longest, self.pause.longest) + 1.0
