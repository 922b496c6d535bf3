"""What each answer of the Audit API means for a record: one table, and no I/O."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from auditbox.api.problems import ErrorBody, one_line, read_error, retry_after
from auditbox.sinks.base import (
    Later,
    NotSent,
    Paused,
    Problem,
    Refused,
    Rejected,
    SendOutcome,
    Sent,
    Unclear,
    Unreadable,
)
from auditbox.sinks.clock import http_date
from auditbox.sinks.exchange import Answer, Silence
from auditbox.sinks.wire import json_object

_LONGEST_WAIT = 3600.0
"""A server may ask to be left alone for a day; whether it still means that is asked every hour."""

_KEPT = ("title", "detail", "errors", "traceId", "message", "statusCode")
"""The parts of an error body that :func:`read_error` reads."""
_LONGEST_ERRORS = 16_384
_MOST_ITEMS = 20
_DEEPEST = 4

_ADVICE = {
    "unauthorized": "the token was not accepted: give another one",
    "misdirected": "is the sink's address right, and does a gateway stand in between?",
    "throttled": "the sink asks to be left alone",
}


@dataclass(frozen=True, slots=True)
class NoToken:
    """There is no token to send."""

    reason: str


Result = Answer | Silence | NoToken


def send_outcome(result: Result) -> SendOutcome:
    """What came of a POST; the result is struck already."""
    if isinstance(result, NoToken):
        return Paused(Problem(result.reason), "unauthorized")
    if isinstance(result, Silence):
        if result.unsent:
            return NotSent(Problem(f"not connected: {result.reason}"))
        return Unclear(Problem(f"no answer: {result.reason}"))
    if result.status in (200, 201) and (record := json_object(result.body)) is not None:
        return Sent(_remote_id(record))
    said = read_error(result.status, result.body)
    problem = _problem(result, said)
    if cause := _cause(result, said):
        # A redirect is also how a server answers that has stored what it was sent (RFC 9110, 15.4.4).
        doubtful = 300 <= result.status < 400
        return Paused(_advised(problem, cause), cause, _wait(result.headers), doubtful)
    if not 400 <= result.status < 500 or result.status == 408 or result.torn:
        pauses = result.status == 503
        return Unclear(problem, _wait(result.headers) if pauses else None, pauses)
    return Refused(problem) if result.status in (403, 404) else Rejected(problem)


def lookup_trouble(result: Result) -> Unreadable | Later:
    """What came of a look-up that gave no page."""
    if isinstance(result, NoToken):
        return Later(Problem(result.reason), "unauthorized")
    if isinstance(result, Silence):
        return Later(Problem(f"the trail cannot be looked up: {result.reason}"))
    said = read_error(result.status, result.body)
    problem = _problem(result, said)
    if result.status in (400, 403, 404) and said.is_problem and not result.torn:
        return Unreadable(problem)
    cause = "throttled" if result.status == 503 else _cause(result, said)
    if cause is None:
        return Later(problem)
    return Later(_advised(problem, cause), cause, _wait(result.headers))


def struck(answer: Answer, token: str) -> Answer:
    """The answer without the token that it may repeat, and cut to a size that is worth keeping.

    Struck out before anything else is done: what is shortened first could keep the beginning of a token.
    So is what has the form of another secret; what a sensitive field is said to be wrong with stays, as it is
    what a dead letter is mended by.
    """
    if answer.status in (200, 201):
        return answer
    problem = json_object(answer.body)
    if problem is None:
        return answer._replace(body=answer.body.replace(token.encode(), b"***"))
    kept = {name: _tidied(problem[name], token) for name in _KEPT if name in problem}
    if len(text := json.dumps(kept.get("errors"))) > _LONGEST_ERRORS:
        kept["errors"] = [one_line(text)]
    return answer._replace(body=json.dumps(kept).encode())


def _cause(answer: Answer, said: ErrorBody) -> str | None:
    """Why no other record would fare better, or None if the answer is about this one."""
    status = answer.status
    if status in (401, 429):
        return "unauthorized" if status == 401 else "throttled"
    if 300 <= status < 400 or status in (405, 407):
        return "misdirected"
    judged = 400 <= status < 500 and status != 408 and not answer.torn
    return "misdirected" if judged and not said.is_problem else None


def _wait(headers: Mapping[str, str]) -> float | None:
    date = headers.get("date")
    wait = retry_after(headers.get("retry-after"), http_date(date) if date else None)
    return None if wait is None else min(max(wait, 0.0), _LONGEST_WAIT)


def _remote_id(record: dict[str, Any]) -> str | None:
    remote_id = record.get("id")
    return remote_id[:200] if isinstance(remote_id, str) else None


def _problem(answer: Answer, said: ErrorBody) -> Problem:
    reason = said.reason
    if 200 <= answer.status < 300:
        # A success that proves nothing: what it says instead of a record is nobody's reason.
        reason = (
            f"{reason.split(':')[0]}: {answer.flaw or 'not the record, as 201 with a JSON object would be'}"
        )
    elif answer.flaw:
        reason = f"{reason}: {answer.flaw}"
    return Problem(reason, answer.status, said.title, said.detail, said.errors, said.trace_id)


def _advised(problem: Problem, cause: str) -> Problem:
    return Problem(
        f"{problem.reason} ({_ADVICE[cause]})",
        problem.status,
        problem.title,
        problem.detail,
        problem.errors,
        problem.trace_id,
    )


@functools.cache
def _forms() -> list[Callable[[str], str]]:
    from auditbox.redaction.texts import forms

    return forms("***")


def _tidied(value: Any, token: str, depth: int = 0) -> Any:
    if isinstance(value, str):
        value = value.replace(token, "***")
        for rule in _forms():
            value = rule(value)
        return one_line(value)
    if depth == _DEEPEST and isinstance(value, dict | list):
        return "…"
    if isinstance(value, dict):
        kept = list(value.items())[:_MOST_ITEMS]
        return {_tidied(key, token): _tidied(item, token, depth + 1) for key, item in kept}
    if isinstance(value, list):
        return [_tidied(item, token, depth + 1) for item in value[:_MOST_ITEMS]]
    return value
