"""structlog: a processor that records the events which carry ``audit``.

::

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            AuditProcessor(),
            structlog.processors.JSONRenderer(),
        ]
    )
    log.info("Order approved", order="ORD-…", audit={"event": "order.approved", "object": "ORD-…"})
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from auditbox.capture.call import store
from auditbox.capture.lookup import trail_finder
from auditbox.integrations.lines import entered, record_fields

if TYPE_CHECKING:
    from auditbox.trail import AuditTrail

logger = logging.getLogger("auditbox.capture")

_SOURCE = {"func_name": "function", "pathname": "file", "filename": "file", "lineno": "line"}
_NO_FIELDS = frozenset(
    {"event", "level", "logger", "timestamp", "exc_info", "exception", "stack_info", "stack", *_SOURCE}
)
"""What structlog's own processors add; it says nothing about the action."""


class AuditProcessor:
    """A processor of structlog that records the events which carry ``audit``, and passes all of them on.

    ``audit`` holds the arguments of ``AuditTrail.record``. The event's text is the summary unless ``audit``
    names one; the other key-value pairs become the document ``fields``; ``exc_info`` makes the outcome a
    failure. When the logging call returns, the record is in the outbox. ``audit`` itself is taken out of
    the event, so that no line shows its documents, and none is captured twice.

    Its place is after ``filter_by_level`` and whatever adds fields, before what formats exceptions and
    renders. structlog lets a processor's exceptions into the application, so this one raises none: what
    cannot be stored is kept in memory and retried, what can be no record is an ERROR line of ``auditbox``.

    Args:
        trail: the trail, a dotted name such as ``"shop.audit:trail"`` that is looked up at the first event,
            or None for the process's default.

    Raises:
        ConfigurationError: ``trail`` is none of these.
    """

    def __init__(self, trail: AuditTrail | str | None = None) -> None:
        self._find = trail_finder(trail)

    def __call__(
        self, wrapped: Any, method: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Captures the event if it carries ``audit``."""
        audit = event_dict.pop("audit", None)
        if audit is not None:
            message = str(event_dict.get("event", ""))
            with entered((method, message)) as first:
                if first:
                    self._capture(wrapped, method, message, audit, event_dict)
        return event_dict

    def _capture(
        self, wrapped: Any, method: str, message: str, audit: object, event_dict: Mapping[str, Any]
    ) -> None:
        try:
            event, fields = record_fields(
                audit,
                message=message,
                fields={
                    key: value
                    for key, value in event_dict.items()
                    if key not in _NO_FIELDS and key[:1] != "_"
                },
                error=_error(event_dict.get("exc_info")),
            )
            fields.setdefault("source", _source(wrapped, method, event_dict))
        except Exception as error:  # noqa: BLE001 - structlog would raise it into the application
            logger.error("%r is not recorded: %s", message, error)
            return
        store(self._find, event, fields)


def _error(given: Any) -> BaseException | None:
    """``exc_info`` in any of its forms: True, an exception, or what ``sys.exc_info()`` gave."""
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if len(given) == 3 else None
    return sys.exc_info()[1] if given else None


def _source(wrapped: Any, method: str, event_dict: Mapping[str, Any]) -> dict[str, Any]:
    name = event_dict.get("logger") or getattr(wrapped, "name", None)
    source = {"level": str(event_dict.get("level", method)).upper()}
    if isinstance(name, str):
        source["logger"] = name
    return source | {ours: event_dict[theirs] for theirs, ours in _SOURCE.items() if theirs in event_dict}
