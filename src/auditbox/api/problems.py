"""What an error answer says, whichever of the API's body shapes it has (contract, section 7).

The four: an ASP.NET validation problem (``errors`` maps a field to messages), a plain problem, a business
problem (``errors`` is a list of messages with properties), and what a gateway in between answers: other
JSON, text, HTML or nothing at all.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple

_TOKENS = re.compile(r"idt:\S+|eyJ[\w-]+\.[\w-]+\.[\w-]*|(?i:bearer)\s+\S+")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\s]+")
_LONGEST = 300


class ErrorBody(NamedTuple):
    """An error answer, read. Absent parts are None."""

    reason: str
    """One line for people: ``400 Bad Request: summary: 'Summary' must not be empty.``"""
    title: str | None = None
    detail: str | None = None
    errors: Any = None
    """As it came: a mapping of field to messages, or a list of objects."""
    trace_id: str | None = None
    is_problem: bool = False
    """Whether the API itself answered: a problem body, not a gateway's text."""


def read_error(status: int, body: bytes) -> ErrorBody:
    """Reads the body of an error answer; never raises, whatever the body is."""
    problem = _json_object(body)
    if problem is None:
        return ErrorBody(_line(status, None, _plain_text(body)))
    title, detail, trace = (_text(problem, name) for name in ("title", "detail", "traceId"))
    errors = problem.get("errors")
    errors = errors if isinstance(errors, dict | list) and errors else None
    said = "; ".join(_messages(errors)) or detail or _text(problem, "message") or ""
    is_problem = bool(title or detail or errors) and "statusCode" not in problem
    return ErrorBody(_line(status, title, said), title, detail, errors, trace, is_problem)


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds to wait out of a ``Retry-After`` header: seconds or an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        if value.strip().isdigit():
            return float(value)
        when = parsedate_to_datetime(value)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, when.timestamp() - (time.time() if now is None else now))
    except (ValueError, OverflowError):
        return None


def one_line(text: str) -> str:
    """Text in one printable line without tokens, shortened."""
    line = _TOKENS.sub("***", _UNPRINTABLE.sub(" ", text)).strip()
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _text(problem: dict[str, Any], name: str) -> str | None:
    value = problem.get(name)
    return value if isinstance(value, str) and value else None


def _messages(errors: Any) -> Iterator[str]:
    if isinstance(errors, dict):
        for field, messages in errors.items():
            said = messages if isinstance(messages, list) else [messages]
            yield f"{field}: {' '.join(str(message) for message in said)}"
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, dict) and "message" in error:
            fields = error.get("properties") or []
            names = ", ".join(map(str, fields)) if isinstance(fields, list) else str(fields)
            yield f"{names}: {error['message']}" if names else str(error["message"])
        else:
            yield str(error)


def _line(status: int, title: str | None, said: str) -> str:
    name = title or _phrase(status)
    return one_line(f"{status} {name}: {said}" if said and said != name else f"{status} {name}")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _plain_text(body: bytes) -> str:
    text = body[:2000].decode("utf-8", "replace").strip()
    return "" if text.startswith(("<", "{", "[")) else text
