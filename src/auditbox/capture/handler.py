"""Capture through ``logging``: the lines that carry ``extra={"audit": {...}}``."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import get_ident
from typing import TYPE_CHECKING, Any, Required

from auditbox.capture.lookup import trail_finder
from auditbox.capture.message import summary_of
from auditbox.context import Scope, current_scope, current_trace
from auditbox.errors import AuditboxError, OutboxError, RecordError, error_text
from auditbox.fields import RecordFields, check_known

if TYPE_CHECKING:
    from auditbox.trail import AuditTrail

logger = logging.getLogger("auditbox.capture")

_OWN = ("auditbox", "httpx", "httpcore")
_OWN_CHILDREN = ("auditbox.", "httpx.", "httpcore.")
_CARRIED = "auditbox_carried"
_active = threading.local()
_DEEPEST = 3
"""How often one line may be captured within itself: a signal handler may, a ``__repr__`` not for ever."""

_MOST_TOLD = 10
"""How many lost lines may be told within each other."""


class Audit(RecordFields, total=False):
    """What ``extra["audit"]`` may hold: the arguments of ``AuditTrail.record``."""

    event: Required[str]


class AuditHandler(logging.Handler):
    """Records the log lines that carry ``extra={"audit": {"event": …, "object": …}}`` and no others.

    So it may sit on the root logger. The line's message is the summary unless ``audit`` names one;
    ``exc_info`` makes the outcome a failure. When the logging call returns, the record is in the outbox.
    The application is never interrupted: a line that cannot be a record is told by one ERROR line of
    ``auditbox.capture``, whatever ``logging.raiseExceptions`` says (:meth:`handleError`).

    Args:
        trail: the trail, a dotted name such as ``"shop.audit:trail"`` that is looked up at the first line,
            or None for the process's default.
        level: as with every handler.

    Raises:
        ConfigurationError: ``trail`` is none of these.
    """

    def __init__(self, trail: AuditTrail | str | None = None, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._trail = trail_finder(trail)

    def createLock(self) -> None:
        """No lock: the handler changes nothing of its own, and a trail may be used by any thread.

        With one, threads would commit one after the other instead of together.
        """
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        """Passes on the lines that carry ``audit``; ours and the HTTP client's never are."""
        if record.__dict__.get("audit") is None:
            return False
        if record.name in _OWN or record.name.startswith(_OWN_CHILDREN):
            return False
        if self.filters:
            kept = self.filter(record)
            if not kept:
                return False
            record = kept if isinstance(kept, logging.LogRecord) else record
        self.emit(record)
        return record

    def emit(self, record: logging.LogRecord) -> None:
        """Captures the line, but for one that this thread is capturing several times over already.

        That is the ``__repr__`` of a document which logs itself. A line of a signal handler, even one from
        the same place, is a capture of its own.
        """
        said = record.__dict__
        audit = said.get("audit")
        try:
            sites: list[tuple[str, int, Any]] = _active.sites
        except AttributeError:
            sites = _active.sites = []
        try:
            if type(audit) is not dict and not isinstance(audit, Mapping):
                raise RecordError('extra["audit"]', audit, 'a mapping such as {"event": …, "object": …}')
            fields: dict[str, Any] = {**audit}
            event = fields.pop("event", None)
            site = (record.pathname, record.lineno, event)
            if sites and sites.count(site) >= _DEEPEST:
                return
            sites.append(site)
            try:
                trail = self._trail()
                if record.exc_info or _CARRIED in said or record.thread != get_ident() or trail.shares_source:
                    _complete(trail, record, event, fields)
                else:
                    if not fields.get("summary"):
                        fields["summary"] = summary_of(record) if record.args else str(record.msg)
                    try:  # as in _store: a call costs every line a microsecond
                        trail.record(event, **fields)
                    except OutboxError as error:
                        trail.spill(error, event, fields)
            finally:
                sites.pop()
        except Exception:  # noqa: BLE001 - a handler does not raise into the application
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Says that the line's record is lost, and why; called while the exception is handled.

        In one ERROR line, as for the decorator: ``logging.raiseExceptions`` may be off in production, and
        what is lost is said there, too. Where saying it leads back here (a ``MemoryHandler`` in between
        hands the same lines on once more), that ends.
        """
        error = sys.exception()
        told: list[logging.LogRecord] = _active.__dict__.setdefault("told", [])
        if error is None or record in told or len(told) >= _MOST_TOLD:
            return
        told.append(record)
        try:
            _say_lost(record, error)
        finally:
            told.pop()


def _say_lost(record: logging.LogRecord, error: BaseException) -> None:
    """A value that breaks a rule needs no traceback; what nobody expects has one."""
    try:
        audit: dict[Any, Any] = {**record.__dict__["audit"]}
        if isinstance(error, TypeError):  # looked at now, because each line would pay for a look before
            check_known('extra["audit"]', audit)
    except RecordError as unknown:
        error = unknown
    except Exception:  # noqa: BLE001 - no mapping, which is what the error says
        audit = {}
    event = audit.get("event")
    logger.error(
        "audit record of %s about %s is lost: %s",
        event if isinstance(event, str) else f"a line of {record.name} ({record.filename}:{record.lineno})",
        _shown(audit.get("object")),
        error_text(error),
        exc_info=None if isinstance(error, AuditboxError) else error,
    )


def _shown(about: Any) -> str:
    """The object, without a ``__repr__`` of the application's, which may log or fail."""
    if isinstance(about, dict):
        about = about.get("id")
    return repr(about) if about is None or isinstance(about, str) else f"<{type(about).__name__}>"


def _complete(trail: AuditTrail, record: logging.LogRecord, event: Any, fields: dict[str, Any]) -> None:
    """Captures a line that says more: an error, where it is from, another thread's context."""
    if trail.shares_source and "source" not in fields:
        fields["source"] = _source(record)
    if _CARRIED in record.__dict__:
        _capture_carried(trail, record, event, fields, record.__dict__[_CARRIED])
        return
    if not fields.get("summary"):
        fields["summary"] = summary_of(record)
    if record.exc_info and (error := _error(record)):
        fields["outcome"] = fields.get("outcome") or _failure(error)
    if record.thread != get_ident() and record.thread is not None:
        fields.setdefault("occurred_at", _created(record))
    _store(trail, event, fields)


def _capture_carried(
    trail: AuditTrail, record: logging.LogRecord, event: Any, fields: dict[str, Any], carried: dict[str, Any]
) -> None:
    """A line that another thread or process logged, with what it knew there."""
    if not fields.get("summary"):
        fields["summary"] = carried["summary"]
    if carried["error"]:
        fields["outcome"] = fields.get("outcome") or _failure(carried["error"])
    fields.setdefault("occurred_at", _created(record))
    with Scope(dict(carried["context"])), _trace(carried["trace"]):
        _store(trail, event, fields)


def _store(trail: AuditTrail, event: Any, fields: dict[str, Any]) -> None:
    """Captures; what the outbox cannot store now waits in memory, since the action has happened."""
    try:
        trail.record(event, **fields)
    except OutboxError as error:
        trail.spill(error, event, fields)


class AuditContextFilter(logging.Filter):
    """Takes along what the logging task knows, so that a line may be captured by another thread.

    Belongs on the ``QueueHandler`` (or a logger): its lines then carry actor, object, request, trace,
    message and error as they were, and ``AuditHandler`` behind the ``QueueListener`` uses them. What is
    in the queue is in memory only: the promise begins at the listener.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true; lines without ``audit`` are left alone."""
        if record.__dict__.get("audit") is not None and _CARRIED not in record.__dict__:
            record.__dict__[_CARRIED] = _carry(record)
        return True


def _carry(record: logging.LogRecord) -> dict[str, Any]:
    current = current_scope()
    # Mappings are copied: what a request's scope holds is alive and cannot be pickled.
    known = current.snapshot() if current else {}
    known = {field: dict(value) if isinstance(value, Mapping) else value for field, value in known.items()}
    return {
        "context": {"actor": None, "object": None, "request": None, "documents": None, **known},
        "trace": current_trace(),
        "summary": summary_of(record),
        "error": _error(record),
    }


def _source(record: logging.LogRecord) -> dict[str, Any]:
    return {
        "logger": record.name,
        "level": record.levelname,
        "function": record.funcName,
        "file": record.pathname,
        "line": record.lineno,
    }


def _error(record: logging.LogRecord) -> str | None:
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return None if error is None else error_text(error)


def _failure(error: str) -> dict[str, str]:
    return {"status": "failure", "error": error}


def _created(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


@contextmanager
def _trace(ids: Mapping[str, str] | None) -> Iterator[None]:
    """Makes the carried span the current one, as a remote parent is."""
    if ids is None:
        yield
        return
    from opentelemetry import context, trace

    carried = trace.SpanContext(int(ids["traceId"], 16), int(ids["spanId"], 16), is_remote=True)
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(carried)))
    try:
        yield
    finally:
        context.detach(token)
