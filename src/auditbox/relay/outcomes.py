"""What a sink has answered, in a form that can be judged and stored, whatever sort of sink it is.

An outcome that is none concerns its entry alone: nobody knows what became of it, so it is looked up. Were it
judged as it came, the relay would fail on it, start over, and meet it again.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import TYPE_CHECKING, Any, cast

from auditbox.encoding import is_interruption, plain
from auditbox.sinks.base import Later, Problem, SendOutcome, Sent, Unclear, VerifyOutcome

if TYPE_CHECKING:
    from auditbox.outbox.base import Claim

logger = logging.getLogger("auditbox.relay")

Outcome = SendOutcome | VerifyOutcome


def usable(claim: Claim, outcome: object) -> Outcome:
    """The outcome with all its parts plain; in doubt where it is none of what was asked for."""
    try:
        if type(outcome) is Sent and type(outcome.remote_id) is str and outcome.remote_id.isascii():
            return outcome
        if isinstance(outcome, Sent):
            return Sent(_storable(outcome.remote_id))
        if isinstance(outcome, SendOutcome if claim.action == "send" else VerifyOutcome):
            return _plain(outcome)
        why = f"which is no {'SendOutcome' if claim.action == 'send' else 'VerifyOutcome'}"
    except Exception as error:  # what a sink of the user's puts into it may do as it likes
        if is_interruption(error):
            raise
        why = f"of which a part cannot be used: {type(error).__name__}"
    said = f"the sink's {claim.action} returned {_name(outcome)}, {why}"
    logger.error("%s: %s", claim.entry.id, said)
    return in_doubt(claim, said)


def in_doubt(claim: Claim, reason: str) -> Outcome:
    """What is known where the sink has said nothing of use."""
    return Unclear(Problem(reason)) if claim.action == "send" else Later(Problem(reason))


def _plain(outcome: Any) -> Outcome:
    known = {part.name: getattr(outcome, part.name) for part in dataclasses.fields(outcome)}
    if "problem" in known:
        known["problem"] = _told(known["problem"])
    if known.get("wait") is not None:
        known["wait"] = _seconds(known["wait"])
    for flag in known.keys() & {"doubtful", "pauses"}:
        known[flag] = bool(known[flag])
    if "cause" in known and not isinstance(known["cause"], str | None if isinstance(outcome, Later) else str):
        raise TypeError
    return cast(Outcome, type(outcome)(**known))


def _told(problem: Any) -> Problem:
    """The problem with nothing in it that JSON cannot hold."""
    parts: dict[str, Any] = {
        part.name: plain(getattr(problem, part.name)) for part in dataclasses.fields(Problem)
    }
    return Problem(**{**parts, "reason": str(parts["reason"])})


def _seconds(wait: Any) -> float:
    seconds = float(wait)
    if math.isnan(seconds):
        raise ValueError
    return seconds


def _storable(remote_id: object) -> str | None:
    """A remote id as text (a sink of the user's may give a number), and without halves of surrogates, which
    JSON can hold and UTF-8 cannot."""
    return None if remote_id is None else str(remote_id).encode(errors="replace").decode()


def _name(outcome: object) -> str:
    return "None" if outcome is None else type(outcome).__qualname__
