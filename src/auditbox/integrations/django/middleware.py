"""The middleware: binds each request's context, and records what the rules of ``AUDITBOX`` name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from auditbox.capture.http import Auditor
from auditbox.capture.http_exchange import Exchange
from auditbox.context import bind
from auditbox.errors import ConfigurationError
from auditbox.integrations.django import actor, conf, requests

logger = logging.getLogger("auditbox.django")

_APPLICATION = "auditbox.integrations.django"
_ERROR = "_auditbox_error"


class AuditMiddleware:
    """``"auditbox.integrations.django.AuditMiddleware"``, the first of the ``MIDDLEWARE``.

    Sync and async. Binds the request's context for everything captured inside it, with whoever the view,
    a session, Django REST framework or django-ninja has authenticated as the actor; and records what
    ``ROUTES`` and ``EVERY`` of ``AUDITBOX`` name, before the answer is sent.

    Raises:
        ImproperlyConfigured: ``AUDITBOX`` cannot work (``manage.py check`` says why), or the application
            is not among the ``INSTALLED_APPS``.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        if not apps.is_installed(_APPLICATION):
            raise ImproperlyConfigured(f"{_APPLICATION!r} is to be among the INSTALLED_APPS")
        try:
            given = conf.options()
            self._auditor = Auditor(get_response, **given.auditor)
            conf.make_trail(given)
        except ConfigurationError as error:
            raise ImproperlyConfigured(str(error)) from error
        self._custom = given.actor
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
            self.process_view: Callable[..., Any] = self._aprocess_view
        else:
            self.process_view = self._process_view

    def __call__(self, request: Any) -> Any:
        """Serves one request; in async mode gives what is to be awaited."""
        return self._acall(request) if self._is_async else self._call(request)

    def _call(self, request: Any) -> Any:
        exchange = self._begin(request)
        with exchange.scope():
            if exchange.concerned and (refusal := self._auditor.refusal(exchange)) is not None:
                return requests.refusal_response(refusal)
            try:
                response = self._auditor.app(request)
            except BaseException as error:
                # DEBUG_PROPAGATE_EXCEPTIONS, or a worker that is told to end.
                exchange.failed(error)
                exchange.record()
                raise
            requests.told(exchange, response, _error(request, response))
            exchange.record()
            requests.finish(exchange, response)
            exchange.record()
        return response

    async def _acall(self, request: Any) -> Any:
        exchange = self._begin(request)
        with exchange.scope():
            if exchange.concerned and (refusal := self._auditor.refusal(exchange)) is not None:
                return requests.refusal_response(refusal)
            try:
                response = await self._auditor.app(request)
            except BaseException as error:
                exchange.failed(error)
                exchange.record()  # not awaited: it may be cancelled, perhaps again
                raise
            if exchange.request.concerned:
                await _alook_up(request)
            requests.told(exchange, response, _error(request, response))
            await exchange.arecord()
            requests.finish(exchange, response)
            await exchange.arecord()
        return response

    def _begin(self, request: Any) -> Exchange:
        opened = requests.DjangoRequest(request, self._auditor.proxies)
        exchange = Exchange(self._auditor, opened, nested=requests.is_nested(request, opened))
        requests.keep_body(exchange, request)
        with exchange.scope() as scope:
            if scope.get("actor") is None:
                bind(actor=actor.LiveActor(request, self._custom))
        return exchange

    def process_exception(self, request: Any, exception: Exception) -> None:
        """What the view raised, before Django makes an answer of it."""
        setattr(request, _ERROR, exception)

    def _process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> None:
        if iscoroutinefunction(view):
            _look_up(request)

    async def _aprocess_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> None:
        if iscoroutinefunction(view):
            await _alook_up(request)


def _error(request: Any, response: Any) -> BaseException | None:
    """The view's exception, unless another middleware has made a good answer of it."""
    error: BaseException | None = getattr(request, _ERROR, None)
    return error if response.status_code >= 400 else None


async def _alook_up(request: Any) -> None:
    if _is_to_be_looked_up(request):
        await sync_to_async(_look_up)(request)


def _look_up(request: Any) -> None:
    """The session's user for captures in an async view, from which the database cannot be asked.

    Only where there is a session's cookie and nobody has looked yet.
    """
    if not _is_to_be_looked_up(request):
        return
    try:
        with actor.unnoticed(request):
            if request.user.is_authenticated:
                actor.remember(request, request.user)
    except Exception as error:  # noqa: BLE001 - the request is served as without the library
        logger.warning("the user of %s %s is not known: %s", request.method, request.path, error)


def _is_to_be_looked_up(request: Any) -> bool:
    return (
        settings.SESSION_COOKIE_NAME in request.COOKIES
        and hasattr(request, "session")
        and actor.is_unknown(getattr(request, "user", None))
    )
