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
        ConfigurationError: a rule, template or address that cannot work; an event that the trail, as far as
            there is one, does not declare.
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
            if not isinstance(trail, str):  # a name may lead to a module that is still being imported
                self.check()
        except ConfigurationError as error:
            self._refuse_to_start(error)

    def _refuse_to_start(self, error: ConfigurationError) -> None:
        """What is wrong with the arguments."""
        raise error

    def check(self, *, started: bool = False) -> None:
        """Raises if a rule names an event that the trail would refuse.

        Args:
            started: whether the application is ready to serve, so that there has to be a trail by now if
                anything is to be recorded.

        Raises:
            ConfigurationError: as said, or a dotted name of a trail that leads nowhere.
        """
        try:
            trail = self.find()
        except NoTrail:
            if started and not self.rules.record_nothing:
                raise
            return
        if (wrong := self._wrong_with(trail)) is not None:
            raise wrong

    def refusal(self, exchange: Exchange) -> Refusal | None:
        """Why the request must not be served: ``fail_closed``, and its record could not be stored."""
        try:
            trail = self.find()
        except AuditboxError as error:
            return refused(exchange.request, error) if self._fail_closed else None
        if trail is not self._checked and (wrong := self._wrong_with(trail)) is not None:
            logger.error("requests that should be recorded will not be: %s", wrong)
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

    def _wrong_with(self, trail: AuditTrail) -> ConfigurationError | None:
        """Whether this trail would refuse an event; found out once."""
        if trail is not self._checked:
            self._wrong = _undeclared(self.rules, trail) if isinstance(trail, AuditTrail) else None
            self._checked = trail
        return self._wrong


def _undeclared(rules: Iterable[Rule], trail: AuditTrail) -> ConfigurationError | None:
    for rule in rules:
        for event in rule.events:
            try:
                trail.check_event(event)
            except RecordError as error:
                return ConfigurationError(f"{rule.name}: {error}")
    return None
