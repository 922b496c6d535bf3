"""What the middleware for every kind of web application share: which request is recorded, and where."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from auditbox.capture.address import Proxies
from auditbox.capture.http_exchange import Exchange
from auditbox.capture.http_refusal import Refusal, refused
from auditbox.capture.lookup import trail_finder
from auditbox.capture.request import Request
from auditbox.capture.rules import Routes, Rule, Rules, Statuses
from auditbox.errors import AuditboxError, ConfigurationError, NoTrail, RecordError
from auditbox.trail import AuditTrail

logger = logging.getLogger("auditbox.capture")


class Auditor:
    """Records the requests that its rules name. Holds what one middleware was configured with.

    The arguments are those of :class:`~auditbox.capture.asgi.AuditMiddleware`.

    Raises:
        ConfigurationError: a rule, template or address that cannot work; an event that the trail which was
            passed does not declare.
    """

    def __init__(
        self,
        *,
        trail: AuditTrail | str | None = None,
        routes: Routes | None = None,
        every: Mapping[str, Any] | str | None = None,
        statuses: Statuses | None = None,
        actor: Any = None,
        fail_closed: bool | None = None,
        trusted_proxies: Iterable[str] | str = (),
        forwarded_header: str | None = None,
    ) -> None:
        self.find: Callable[[], AuditTrail] = trail_finder(trail)
        self._fail_closed = fail_closed
        self.rules = Rules(routes, every, statuses, actor)
        self.client = Proxies(trusted_proxies, forwarded_header).client
        self._checked: object = None
        self._wrong: ConfigurationError | None = None
        if isinstance(trail, AuditTrail):
            self.check()

    def exchange(self, request: Request, *, nested: bool = False) -> Exchange:
        """A request that begins, and the answer it will get.

        Args:
            request: what is known of it.
            nested: whether another middleware of ours has opened this very request already.
        """
        return Exchange(self, request, nested=nested)

    def check(self) -> None:
        """Raises if a rule names an event that the trail would refuse; nothing where there is no trail yet.

        Raises:
            ConfigurationError: as said, or a dotted name of a trail that leads nowhere.
        """
        try:
            wrong = self._wrong_with(self.find())
        except NoTrail:
            return
        if wrong is not None:
            raise wrong

    def refusal(self, exchange: Exchange) -> Refusal | None:
        """Why the request must not be served: ``fail_closed``, and its record could not be stored."""
        try:
            trail = self.find()
        except AuditboxError as error:
            return refused(exchange.request, error) if self._fail_closed else None
        wrong = self._wrong_with(trail)
        if not (trail.fail_closed if self._fail_closed is None else self._fail_closed):
            return None
        try:
            if wrong is not None:
                raise wrong
            exchange.check_object()
            trail.ready()
        except Exception as error:  # noqa: BLE001 - closed means closed, whatever the reason
            return refused(exchange.request, error)
        return None

    def _wrong_with(self, trail: AuditTrail) -> ConfigurationError | None:
        if trail is not self._checked:
            self._wrong = _undeclared(self.rules, trail) if isinstance(trail, AuditTrail) else None
            self._checked = trail
            if self._wrong is not None:
                logger.error("requests that should be recorded will not be: %s", self._wrong)
        return self._wrong


def _undeclared(rules: Iterable[Rule], trail: AuditTrail) -> ConfigurationError | None:
    for rule in rules:
        for event in rule.events:
            try:
                trail.check_event(event)
            except RecordError as error:
                return ConfigurationError(f"{rule.name}: {error}")
    return None
