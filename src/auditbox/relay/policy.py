"""How the relay waits, retries and gives up."""

from __future__ import annotations

from dataclasses import dataclass, field

from auditbox.backoff import Backoff
from auditbox.checks import checked, is_number


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
        for name in ("backoff", "pause"):
            value = getattr(self, name)
            checked(name, value, isinstance(value, Backoff), "a Backoff, such as Backoff(longest=30)")
        verify, resend = self.verify_after, self.on_unverifiable
        later = verify is None or (is_number(verify) and verify >= 0)
        checked("verify_after", verify, later, "a number of seconds, 0 or more, or None")
        checked("on_unverifiable", resend, resend in ("resend", "hold"), "'resend' or 'hold'")
        for name in ("give_up_after", "max_attempts", "failures", "refused_lanes"):
            value = getattr(self, name)
            checked(name, value, is_number(value) and value > 0, "a number, more than 0")

    @property
    def longest_wait(self) -> float:
        """The longest deadline that this policy sets: one further ahead says that the clock was set back."""
        return max(self.backoff.longest, self.pause.longest) + 1.0
