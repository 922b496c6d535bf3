"""What the middleware for every kind of web application share: which request is recorded, and where."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from auditbox.capture.address import Proxies
from auditbox.capture.http_refusal import Refusal, refused
from auditbox.capture.lookup import trail_finder
from auditbox.capture.rules import Routes, Rule, Rules, Statuses
from auditbox.errors import AuditboxError, ConfigurationError, NoTrail, RecordError
from auditbox.trail import AuditTrail

if TYPE_CHECKING:
    from auditbox.capture.http_exchange import Exchange

logger = logging.getLogger("auditbox.capture")


App = TypeVar("App")


class Auditor(Generic[App]):
    """Records the requests that its rules name: what every middleware of ours is, whatever carries them.

    Args:
        app: the application inside; the other arguments are described at
            :class:`~auditbox.capture.asgi.AuditMiddleware`.

    Raises:
        ConfigurationError: a rule, template or address that cannot work; an event that the trail which was
            passed does not declare.
    """

    def __init__(
        self,
        app: App,
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
        self.app = app
        self._fail_closed = fail_closed
        self._checked: object = None
        self._wrong: ConfigurationError | None = None
        try:
            self.find: Callable[[], AuditTrail] = trail_finder(trail)
            self.rules = Rules(routes, every, statuses, actor)
            self.proxies = Proxies(trusted_proxies, forwarded_header)
            if isinstance(trail, AuditTrail):
                self.check()
        except ConfigurationError as error:
            self._refuse_to_start(error)

    def _refuse_to_start(self, error: ConfigurationError) -> None:
        """What is wrong with the arguments."""
        raise error

    def check(self) -> None:
        """Raises if a rule names an event that the trail would refuse; nothing where there is no trail yet.

        Raises:
            ConfigurationError: as said, or a dotted name of a trail that leads nowhere.
        """
        try:
            self._look_at(self.find())
        except NoTrail:
            return
        if self._wrong is not None:
            raise self._wrong

    def refusal(self, exchange: Exchange) -> Refusal | None:
        """Why the request must not be served: ``fail_closed``, and its record could not be stored."""
        try:
            trail = self.find()
        except AuditboxError as error:
            return refused(exchange.request, error) if self._fail_closed else None
        if trail is not self._checked:
            self._look_at(trail)
        if not (trail.fail_closed if self._fail_closed is None else self._fail_closed):
            return None
        try:
            if self._wrong is not None:
                raise self._wrong
            exchange.check_object()
            trail.ready()
        except Exception as error:  # noqa: BLE001 - closed means closed, whatever the reason
            return refused(exchange.request, error)
        return None

    def _look_at(self, trail: AuditTrail) -> None:
        """Finds out once for each trail whether it would refuse an event, and says so."""
        if trail is self._checked:
            return
        self._wrong = _undeclared(self.rules, trail) if isinstance(trail, AuditTrail) else None
        self._checked = trail
        if self._wrong is not None:
            logger.error("requests that should be recorded will not be: %s", self._wrong)


def _undeclared(rules: Iterable[Rule], trail: AuditTrail) -> ConfigurationError | None:
    for rule in rules:
        for event in rule.events:
            try:
                trail.check_event(event)
            except RecordError as error:
                return ConfigurationError(f"{rule.name}: {error}")
    return None
