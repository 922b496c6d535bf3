"""Celery: the request's context travels into the task; worker processes deliver, and end in good order.

::

    app = Celery("shop", broker="redis://localhost")
    Audit(app)


    @app.task(bind=True, autoretry_for=(ConnectionError,), max_retries=3)
    @audited("order.exported", failed="order.export_failed", object="{order_id}")
    def export(self, order_id: str) -> None: ...
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery import signals

from auditbox.capture.lookup import trail_finder
from auditbox.context import Scope
from auditbox.errors import AuditboxError
from auditbox.integrations.celery_context import HEADER, publish, values
from auditbox.integrations.celery_tasks import audited

if TYPE_CHECKING:
    from auditbox.trail import AuditTrail

__all__ = ["Audit", "audited"]

logger = logging.getLogger("auditbox.capture")
_SCOPE = "auditbox_scope"


class Audit:
    """Connects one Celery application: where it sends tasks, and where its workers run them.

    - A task that is sent takes along the actor, object and request of its sender, in the message's header
      ``auditbox``; whatever is captured inside the task has them. A retry, and tasks sent by the task,
      pass them on. ``auditbox.bind`` works inside a task. Documents of ``audit_context`` stay behind.
    - A pool process opens the outbox and stands by as the relay when it starts, and delivers what it can
      when it ends (Celery's prefork processes skip ``atexit``). One of them relays for all.

    Args:
        app: the application, where tasks are defined.
        trail: a trail, a dotted name (``"shop.audit:trail"``), or None for the process's default.
        timeout: the longest time in seconds that the end of a worker process waits for delivery. What is
            left stays in the outbox.

    Raises:
        ConfigurationError: ``trail`` is none of these.
    """

    def __init__(self, app: Any, trail: AuditTrail | str | None = None, *, timeout: float = 5.0) -> None:
        self._app, self._find, self._timeout = app, trail_finder(trail), timeout
        signals.before_task_publish.connect(publish, weak=False, dispatch_uid="auditbox.publish")
        for signal, receiver in (
            (signals.task_prerun, self._begin),
            (signals.task_postrun, self._end),
            (signals.worker_process_init, self._start),
            (signals.worker_process_shutdown, self._stop),
            (signals.worker_shutdown, self._stop),
        ):
            uid = f"auditbox.{receiver.__name__}.{id(app)}"
            signal.connect(receiver, weak=False, dispatch_uid=uid)

    def _begin(self, task_id: str | None = None, task: Any = None, **_: Any) -> None:
        if task is None or task.app is not self._app:
            return
        opened = Scope(values(task.request.get(HEADER), task_id, task.name), is_request=True)
        opened.__enter__()
        setattr(task.request, _SCOPE, opened)  # of this very execution: eager tasks nest

    def _end(self, task: Any = None, **_: Any) -> None:
        opened = None if task is None else task.request.__dict__.pop(_SCOPE, None)
        if opened is not None:
            opened.__exit__(None, None, None)

    def _start(self, **_: Any) -> None:
        try:
            self._find().__enter__()
        except AuditboxError as error:
            logger.error("this worker process cannot record yet: %s", error)

    def _stop(self, **_: Any) -> None:
        try:
            self._find().close(self._timeout)
        except AuditboxError as error:
            logger.error("not everything was delivered at the end; the next start goes on: %s", error)
