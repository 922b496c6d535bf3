"""What an outcome means for an entry: from the sink's words to a settlement. Pure rules, no I/O."""

from __future__ import annotations

import logging
from typing import Any

from auditbox.outbox.base import Ambiguous, Claim, Dead, Delivered, NotFound, Now, Retry, Settlement
from auditbox.relay.breaker import Breaker
from auditbox.relay.policy import Policy
from auditbox.sinks.base import (
    Later,
    Missing,
    NotSent,
    Paused,
    Problem,
    Refused,
    Rejected,
    SendOutcome,
    Sent,
    Sink,
    Unclear,
    Unreadable,
    VerifyOutcome,
)

logger = logging.getLogger("auditbox.relay")

_SAID_AT = 3
"""Answers as from a wrong address after which it is said that they are about one object alone."""


class Judge:
    """Remembers what concerns the sink as a whole: its breaker, its last success, who was refused."""

    def __init__(self, policy: Policy, verify_after: float, sink: str = "the sink") -> None:
        self.policy, self.verify_after = policy, verify_after
        self.breaker = Breaker(policy.pause, policy.failures, sink)
        self._last_success: float | None = None
        self._refused: set[str] = set()

    @classmethod
    def for_sink(cls, policy: Policy, sink: Sink) -> Judge:
        """With the time after which what may have arrived at this sink can be looked up."""
        after = policy.verify_after
        return cls(policy, sink.deadline + 5.0 if after is None else after, sink.destination)

    def settle(self, claim: Claim, outcome: SendOutcome | VerifyOutcome, now: Now) -> Settlement:
        """The settlement of a claim whose attempt, or look-up, came to this (see outcomes.usable)."""
        seq = claim.entry.seq
        match outcome:
            case Sent(remote_id):
                self._succeeded(now)
                return Delivered(seq, remote_id, now.wall)
            case Missing():
                return self._missing(seq)
            case Rejected(problem):
                self._succeeded(now)
                return Dead(seq, self._verify_due(now), problem.to_json())
            case Refused(problem):
                return self._refuse(claim, _told(claim, problem), now)
            case NotSent(problem):
                self.breaker.open(now.monotonic, "unreachable", problem.reason)
                return self._again(claim, _told(claim, problem), now)
            case Paused():
                return self._paused(claim, outcome, now)
            case Unclear():
                return self._unclear(claim, outcome, now)
            case Unreadable(problem):
                self.breaker.succeeded()
                return self._unreadable(claim, _told(claim, problem), now)
            case Later(problem, cause, wait):
                if cause is not None:
                    self.breaker.open(now.monotonic, cause, problem.reason, wait)
                else:
                    self.breaker.failed(now.monotonic, problem.reason)
                return self._look_up_later(claim, _told(claim, problem), now)

    def _succeeded(self, now: Now) -> None:
        self.breaker.succeeded()
        self._last_success = now.wall
        self._refused.clear()

    def _verify_due(self, now: Now) -> float:
        return now.monotonic + self.verify_after

    def _again(self, claim: Claim, error: dict[str, Any], now: Now) -> Retry:
        """Nothing was processed: due at once, the breaker decides when. Earlier dues go first, so the
        probes rotate through the lanes."""
        return Retry(claim.entry.seq, now.wall, now.monotonic, error, attempted=False)

    def _missing(self, seq: int) -> NotFound:
        # That the trail can be read does not show that the address which is posted to is right.
        if self.breaker.cause != "misdirected":
            self.breaker.succeeded()
        return NotFound(seq)

    def _paused(self, claim: Claim, outcome: Paused, now: Now) -> Settlement:
        error = _told(claim, outcome.problem)
        self.breaker.open(now.monotonic, outcome.cause, outcome.problem.reason, outcome.wait)
        if outcome.cause == "misdirected" or outcome.doubtful:
            return self._misdirected(claim, error, outcome.doubtful, now)
        if outcome.cause == "throttled":
            return self._throttled(claim, error, now)
        return self._again(claim, error, now)

    def _throttled(self, claim: Claim, error: dict[str, Any], now: Now) -> Retry:
        """A server may limit one object alone. While it takes others in between, this one has a wait of its
        own that grows, or it would be what each pause ends with and begins with."""
        times = (claim.error or {}).get("times")
        if self.breaker.opened > 1:
            return self._again(claim, error if times is None else {**error, "times": times}, now)
        wait = self._longer_wait(claim, error)
        return Retry(claim.entry.seq, now.wall + wait, now.monotonic + wait, error, attempted=False)

    def _misdirected(self, claim: Claim, error: dict[str, Any], doubtful: bool, now: Now) -> Settlement:
        """A gateway may answer so about one object alone, for ever: so each has, beside the sink's pause,
        a wait of its own that grows. Its attempts are not counted, as the address may be to blame."""
        seq, wait = claim.entry.seq, self._longer_wait(claim, error)
        if error["times"] == _SAID_AT and self.breaker.opened < _SAID_AT:
            logger.warning(
                "what is about %s is not let through, while the rest is: %s; tried again less and less often",
                claim.entry.lane,
                error["reason"],
            )
        if doubtful:
            return Ambiguous(seq, now.monotonic + max(self.verify_after, wait), error)
        return Retry(seq, now.wall + wait, now.monotonic + wait, error, attempted=False)

    def _longer_wait(self, claim: Claim, error: dict[str, Any]) -> float:
        """The wait after one more such answer; the error keeps how many there were."""
        error["times"] = (claim.error or {}).get("times", 0) + 1
        return self.policy.backoff.wait(max(claim.attempts + 1, error["times"]))

    def _refuse(self, claim: Claim, error: dict[str, Any], now: Now) -> Settlement:
        """403 and 404: the object may become visible. Given up only while other lanes succeed."""
        seq = claim.entry.seq
        since = claim.refused_at if claim.refused_at is not None else now.wall
        self._refused.add(claim.entry.lane)
        if len(self._refused) >= self.policy.refused_lanes:
            reason = f"{len(self._refused)} objects refused in a row, last: {error['reason']}"
            self.breaker.open(now.monotonic, "misdirected", reason)
        elif now.wall - since >= self.policy.give_up_after and self._success_since(since):
            return Dead(seq, self._verify_due(now), error, refused_at=since)
        wait = self.policy.backoff.wait(claim.attempts + 1)
        return Retry(seq, now.wall + wait, now.monotonic + wait, error, refused_at=since)

    def _unclear(self, claim: Claim, outcome: Unclear, now: Now) -> Settlement:
        error = _told(claim, outcome.problem)
        if outcome.pauses:
            self.breaker.open(now.monotonic, "failing", outcome.problem.reason, outcome.wait)
        else:
            self.breaker.failed(now.monotonic, outcome.problem.reason)
        failed = outcome.problem.status == 500
        if failed:  # since the last replay, which begins the attempts anew
            error["failures"] = min(error.get("failures", 0), claim.attempts) + 1
        exhausted = failed and error["failures"] >= self.policy.max_attempts
        if exhausted and claim.sent_at is not None and self._success_since(claim.sent_at):
            error["verdict"] = "dead"  # looked up once more, then buried
        return Ambiguous(claim.entry.seq, self._verify_due(now), error)

    def _success_since(self, wall: float) -> bool:
        return self._last_success is not None and self._last_success >= wall

    def _unreadable(self, claim: Claim, error: dict[str, Any], now: Now) -> Settlement:
        seq = claim.entry.seq
        if claim.error and claim.error.get("verdict"):
            return Dead(seq, now.monotonic, claim.error, verified=True)
        if self.policy.on_unverifiable == "resend":
            return NotFound(seq)
        return self._look_up_later(claim, error, now)

    def _look_up_later(self, claim: Claim, error: dict[str, Any], now: Now) -> Retry:
        wait = self._longer_wait(claim, error)
        if claim.error and claim.error.get("verdict"):
            error = {**claim.error, "lookup": error.get("reason")}
        return Retry(claim.entry.seq, now.wall + wait, now.monotonic + wait, error, attempted=False)


def _told(claim: Claim, problem: Problem) -> dict[str, Any]:
    """What is stored of a failure: the problem, and how often the entry has met a 500."""
    failures = (claim.error or {}).get("failures")
    return problem.to_json() if failures is None else {**problem.to_json(), "failures": failures}
