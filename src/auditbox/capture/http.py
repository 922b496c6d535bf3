"""What the middleware for every kind of web application share: from a request to its record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from auditbox.capture.address import Proxies
from auditbox.capture.call import astore, outcome_of, store
from auditbox.capture.lookup import trail_finder
from auditbox.capture.request import LiveInfo, Request
from auditbox.capture.rules import Routes, Rules, Statuses
from auditbox.context import FIELDS, Scope, current_scope
from auditbox.errors import AuditboxError

if TYPE_CHECKING:
    from auditbox.trail import AuditTrail

logger = logging.getLogger("auditbox.capture")

UNAVAILABLE = (
    b'{"type": "about:blank", "title": "Service Unavailable", "status": 503, '
    b'"detail": "The audit record of this request cannot be stored now, so nothing was done."}'
)
"""The problem (RFC 9457) that a request gets where ``fail_closed`` stops it."""


class Auditor:
    """Records the requests that its rules name. Holds what one middleware was configured with."""

    def __init__(
        self,
        *,
        trail: AuditTrail | str | None,
        routes: Routes | None,
        every: Mapping[str, Any] | str | None,
        statuses: Statuses | None,
        actor: Any,
        fail_closed: bool | None,
        trusted_proxies: Iterable[str] | str,
        forwarded_header: str | None,
    ) -> None:
        self._find = trail_finder(trail)
        self._fail_closed = fail_closed
        self._rules = Rules(routes, every, statuses, actor)
        self.concerns: Callable[[Request], bool] = self._rules.concern
        self.client = Proxies(trusted_proxies, forwarded_header).client

    def stops(self, request: Request) -> bool:
        """Whether the request must not be served, because its record could not be stored."""
        try:
            trail = self._find()
        except AuditboxError as error:
            return bool(self._fail_closed) and _refused(request, error)
        if not (trail.fail_closed if self._fail_closed is None else self._fail_closed):
            return False
        try:
            trail.ready()
        except Exception as error:  # noqa: BLE001 - closed means closed, whatever the reason
            return _refused(request, error)
        return False

    def record(self, request: Request, scope: Scope) -> None:
        """Records an answered request, if a rule says so; never raises an Exception."""
        if made := self._made(request, scope):
            store(self._find, *made)

    async def arecord(self, request: Request, scope: Scope) -> None:
        """As record, without blocking the event loop."""
        if made := self._made(request, scope):
            await astore(self._find, *made)

    def _made(self, request: Request, scope: Scope) -> tuple[str, dict[str, Any]] | None:
        try:
            rule = self._rules.rule(request)
            event = rule.event(request) if rule else None
            if rule is None or event is None:
                return None
            fields, unresolved = rule.fields(request)
        except Exception as error:
            # A callable of the application's, which chooses the rule or the event: the answer goes out.
            logger.error("%s %s is not recorded: %s", request.method, request.route, error, exc_info=True)
            return None
        success = request.error is None and request.status is not None and request.status < 400
        fields["outcome"] = outcome_of(request.seconds, request.error, success=success)
        if unresolved:
            fields["outcome"]["unresolved"] = unresolved
        return event, fields if current_scope() is not None else _with_scope(fields, scope)


def _refused(request: Request, error: Exception) -> bool:
    logger.error("%s %s is refused: it cannot be recorded: %s", request.method, request.route, error)
    return True


def _with_scope(fields: dict[str, Any], scope: Scope) -> dict[str, Any]:
    """The answer may come from a thread or callback outside the request's context (WSGI under ASGI)."""
    for field in FIELDS:
        if fields.get(field) is None:
            fields[field] = scope.get(field)
    return fields


def request_values(request: Request, *, nested: bool) -> dict[str, Any]:
    """What a request's scope begins with.

    A server may start a request's task from within the one before it on the same connection (uvicorn with
    keep-alive: cpython issue 140947), whose context it then inherits. So nothing that an outer request
    knew shows through, unless this middleware runs inside that very request (``nested``).
    """
    info = LiveInfo(request)
    outer = current_scope()
    if outer is None or nested:
        return {"request": info}
    base: Scope | None = outer
    around = base
    while around is not None:
        if around.is_request:
            base = around.parent
        around = around.parent
    return {field: base.get(field) if base else None for field in FIELDS} | {"request": info}
