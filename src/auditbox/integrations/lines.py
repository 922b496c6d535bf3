"""A line of a structured logger as a record: what the adapters of structlog and loguru share."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from auditbox.context import current_scope
from auditbox.encoding import plain
from auditbox.errors import RecordError, error_text
from auditbox.fields import check_known

FIELDS = "fields"
"""The document that holds what else the line says: its key-value pairs."""

_DEEPEST = 3
"""How often one line may be captured within itself: a signal handler may, a ``__repr__`` not for ever."""
_active = threading.local()


def record_fields(
    audit: object, *, message: str, fields: Mapping[str, Any], error: BaseException | None
) -> tuple[str, dict[str, Any]]:
    """The event and the other arguments of ``AuditTrail.record`` that a line stands for.

    Args:
        audit: what the line carries as ``audit``.
        message: the line's text; the summary where ``audit`` names none.
        fields: the line's other key-value pairs; they become the document ``fields``.
        error: what the line reports as its exception; makes the outcome a failure.

    Raises:
        RecordError: ``audit`` is no mapping, has no event, or an unknown key.
    """
    if not isinstance(audit, Mapping):
        raise RecordError("audit", audit, 'a mapping such as {"event": …, "object": …}')
    check_known("audit", audit)
    given = {**audit}
    event = given.pop("event", None)
    if not isinstance(event, str):
        raise RecordError("event", event, "every record names its event")
    if not given.get("summary"):
        given["summary"] = message
    if fields:
        given["documents"] = {FIELDS: fields, **(given.get("documents") or {})}
    if error is not None and not given.get("outcome"):
        given["outcome"] = {"status": "failure", "error": error_text(error)}
    return event, given


@contextmanager
def entered(line: object) -> Iterator[bool]:
    """False inside a line that this thread is capturing several times over already.

    That is the ``__repr__`` of a document which logs itself; a line of a signal handler is a capture of
    its own.
    """
    try:
        lines: list[object] = _active.lines
    except AttributeError:
        lines = _active.lines = []
    if lines.count(line) >= _DEEPEST:
        yield False
        return
    lines.append(line)
    try:
        yield True
    finally:
        lines.pop()


def carried() -> dict[str, Any]:
    """What this task knows (actor, object, request, documents), as plain values for a queue."""
    current = current_scope()
    known = current.snapshot() if current else {}
    return {field: plain(value) for field, value in known.items() if value is not None}
