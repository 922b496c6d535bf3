"""loguru: a sink that records the lines which carry ``audit``.

::

    logger.add(AuditSink(), filter=carries_audit)
    logger.info("Order approved", order="ORD-…", audit={"event": "order.approved", "object": "ORD-…"})
"""

from __future__ import annotations

import threading
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from auditbox.capture.lookup import trail_finder
from auditbox.capture.template import break_up
from auditbox.context import Scope
from auditbox.integrations.lines import carried, entered, record_fields

if TYPE_CHECKING:
    from auditbox.trail import AuditTrail

_CARRIED = "auditbox_carried"
_OWN = ("auditbox", "httpx", "httpcore")


class AuditSink:
    """A sink of loguru that records the lines which carry ``audit``, and no others.

    ``audit`` holds the arguments of ``AuditTrail.record``: a keyword of the logging call, or bound
    (``logger.bind(audit=…)``, then every line of that logger is a record). The message is the summary unless
    ``audit`` names one; whatever else is in ``extra`` becomes the document ``fields``; an exception makes
    the outcome a failure. When the logging call returns, the record is in the outbox.

    What cannot be captured is raised to loguru, which does with it what it does with every sink: it says so
    on stderr and goes on, or raises where the sink was added with ``catch=False``.

    Add it with ``filter=carries_audit``: loguru holds a lock around every sink, and other lines then
    never wait for it. With ``enqueue=True`` the promise begins in loguru's own thread, and the context
    comes along only with :func:`carry_context`.

    Args:
        trail: the trail, a dotted name such as ``"shop.audit:trail"`` that is looked up at the first line,
            or None for the process's default.

    Raises:
        ConfigurationError: ``trail`` is none of these.
    """

    def __init__(self, trail: AuditTrail | str | None = None) -> None:
        self._find = trail_finder(trail)

    def __call__(self, message: Any) -> None:
        """Captures one line.

        Raises:
            RecordError: ``audit`` breaks a rule; nothing was stored.
            OutboxError: it could not be stored.
            NoTrail: there is no trail.
        """
        line = message.record
        if not carries_audit(line):
            return
        with entered((line["file"].path, line["line"], line["message"])) as first:
            if first:
                self._capture(line)

    def _capture(self, line: Any) -> None:
        extra = line["extra"]
        event, fields = record_fields(
            extra["audit"],
            message=break_up(line["message"]),
            fields={key: value for key, value in extra.items() if key not in ("audit", _CARRIED)},
            error=line["exception"].value if line["exception"] else None,
        )
        fields.setdefault("source", _source(line))
        if line["thread"].id != threading.get_ident():
            fields.setdefault("occurred_at", line["time"])
        known = extra.get(_CARRIED)
        if known is None:
            self._find().record(event, **fields)
            return
        with Scope(known):
            self._find().record(event, **fields)


def carries_audit(line: Any) -> bool:
    """A filter for ``logger.add``: the lines that are to be recorded.

    Never those of auditbox and its HTTP client, where the standard library's ``logging`` is sent to loguru.
    """
    name = line["name"] or ""
    return line["extra"].get("audit") is not None and name.partition(".")[0] not in _OWN


def carry_context(line: Any) -> None:
    """A patcher for ``logger.configure``: the line takes along who acts on what in which request.

    Only needed with ``enqueue=True``, where another thread captures it.
    """
    extra: MutableMapping[str, Any] = line["extra"]
    if extra.get("audit") is not None and _CARRIED not in extra:
        extra[_CARRIED] = carried()


def _source(line: Any) -> dict[str, Any]:
    return {
        "logger": line["name"],
        "level": line["level"].name,
        "function": line["function"],
        "file": line["file"].path,
        "line": line["line"],
    }
