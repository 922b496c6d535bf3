"""``@audited`` for tasks: a failure that is retried is not one yet."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from celery import signals

from auditbox.capture import decorator
from auditbox.capture.arguments import Arguments
from auditbox.capture.call import Call, store
from auditbox.capture.fields import Fields, check_event
from auditbox.capture.lookup import trail_finder
from auditbox.context import Scope, current_scope
from auditbox.errors import error_text
from auditbox.integrations.celery_context import HEADER, values

if TYPE_CHECKING:
    from auditbox.trail import AuditTrail

logger = logging.getLogger("auditbox.capture")

_MARK = "__auditbox_attempts__"
_received: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""The messages that a worker's main process has handed out, for as long as it waits for their end."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_received.clear)  # the processes that run tasks only know their own
_TOLD = "_auditbox_told"


def audited(
    event: str,
    /,
    *,
    failed: str | None = None,
    retried: str | None = None,
    object: Any = None,
    summary: Any = None,
    details: Any = None,
    documents: Any = None,
    actor: Any = None,
    lane: Any = None,
    trail: AuditTrail | str | None = None,
    fail_closed: bool | None = None,
) -> decorator.Decorator:
    """Records each task that was done, and once each one that was given up.

    As :func:`auditbox.audited`, under ``@app.task``, but for failures: ``auditbox.audited`` records every
    attempt that raises, this one what Celery makes of it. So with ``failed=`` a task that failed twice and
    then worked leaves one record of a success, and one that was given up after four attempts one of a
    failure; also where its worker was killed or its time was up. It needs no :class:`Audit`.

    Args:
        event: the event of a task that returned.
        failed: the event of a task that was given up; without it such a task is not recorded.
        retried: the event of each retry; without it retries are not recorded.
        object, summary, details, documents, actor, lane: as for ``auditbox.audited``; ``{error}`` is what
            the attempt raised, ``{result…}`` only exists for ``event``.
        trail: a trail, a dotted name, or None for the process's default.
        fail_closed: as for ``auditbox.audited``.

    Raises:
        ConfigurationError: as ``auditbox.audited``.
    """
    fields = {
        "object": object,
        "summary": summary,
        "details": details,
        "documents": documents,
        "actor": actor,
        "lane": lane,
    }
    for name, given in (("failed", failed), ("retried", retried)):
        if given is not None:
            check_event(name, given)
    decorate = decorator.audited(event, trail=trail, fail_closed=fail_closed, **fields)

    def decorated(function: Any, /) -> Any:
        wrapped = decorate(function)
        setattr(wrapped, _MARK, Attempts(function, failed, retried, fields, trail))
        connect()
        return wrapped

    return decorated


class Attempts:
    """What to record of the attempts of one task that did not return."""

    def __init__(
        self,
        function: Callable[..., Any],
        failed: str | None,
        retried: str | None,
        fields: Mapping[str, Any],
        trail: AuditTrail | str | None,
    ) -> None:
        self.failed, self.retried = failed, retried
        self._find = trail_finder(trail)
        self._arguments = Arguments(function)
        self._fields = Fields(fields, {*self._arguments.names, "result", "error"})
        self._source = {"function": f"{function.__module__}.{function.__qualname__}"}

    def record(self, event: str, task: Any, args: Any, kwargs: Any, error: object) -> None:
        """Records one attempt, with what is known of it; never raises an Exception."""
        bound = (task, *args) if inspect.ismethod(getattr(task, "_orig_run", task.run)) else tuple(args)
        arguments = self._arguments.named(bound, dict(kwargs))
        raised = error if isinstance(error, BaseException) else None
        fields, unresolved = self._fields.resolve(
            {**arguments, "error": error}, Call(arguments, error=raised)
        )
        outcome: dict[str, Any] = {"status": "failure", "error": error_text(raised) if raised else str(error)}
        if unresolved:
            outcome["unresolved"] = unresolved
        store(self._find, event, {**fields, "outcome": outcome, "source": self._source})


def connect() -> None:
    """Listens to how tasks end; once for each process, however often it is called."""
    for signal, receiver in (
        (signals.task_received, _on_received),
        (signals.task_failure, _on_failure),
        (signals.task_retry, _on_retry),
    ):
        signal.connect(receiver, weak=False, dispatch_uid=f"auditbox.{receiver.__name__}")


def _on_received(request: Any = None, **_: Any) -> None:
    if request is not None:
        _received[request.id] = request


def _on_failure(
    sender: Any = None,
    task_id: str | None = None,
    exception: object = None,
    args: Any = (),
    kwargs: Any = None,
    **_: Any,
) -> None:
    """In the process that ran the task, or in the worker's main one where that process is gone."""
    attempts = _attempts(sender)
    if attempts is None or attempts.failed is None or _was_told(task_id):
        return
    with _as_sent(sender, task_id):
        attempts.record(attempts.failed, sender, args or (), kwargs or {}, exception)


def _on_retry(sender: Any = None, request: Any = None, reason: Any = None, **_: Any) -> None:
    attempts = _attempts(sender)
    if attempts is None or attempts.retried is None or request is None:
        return
    error = getattr(reason, "exc", None) or reason
    with _as_sent(sender, request.id):
        attempts.record(attempts.retried, sender, request.args or (), request.kwargs or {}, error)


def _was_told(task_id: str | None) -> bool:
    """Whether this very failure was reported before: a hard time limit is, once more as a lost worker."""
    message = _received.get(task_id) if task_id is not None else None
    told = getattr(message, _TOLD, False)
    if message is not None:
        setattr(message, _TOLD, True)
    return told


def _attempts(task: Any) -> Attempts | None:
    # functools.wraps carries the mark through what Celery puts around a function (autoretry, pydantic).
    return getattr(getattr(task, "run", None), _MARK, None)


def _as_sent(task: Any, task_id: str | None) -> Any:
    """The scope of a task that this process did not run itself, from its message."""
    if current_scope() is not None or task_id is None:
        return nullcontext()
    message = _received.get(task_id)
    headers = message.request_dict if message is not None else {}
    return Scope(values(headers.get(HEADER), task_id, task.name), is_request=True)
