"""Middleware for WSGI applications: Flask, and whatever else speaks WSGI (PEP 3333)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from auditbox.capture.http import Auditor
from auditbox.capture.http_exchange import Exchange
from auditbox.capture.request import Request
from auditbox.capture.rules import Routes, Statuses
from auditbox.capture.wsgi_parts import (
    Answer,
    FlaskRoute,
    Headers,
    KeptInput,
    is_whole,
    leave_whole,
    length_of,
)

if TYPE_CHECKING:
    from auditbox.trail import AuditTrail

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]

_MARK = "auditbox.request"


class AuditMiddleware:
    """Binds each request's context for everything captured inside it, and records what the rules name.

    The WSGI twin of :class:`auditbox.AuditMiddleware`: the same arguments, rules and promises. The record
    is in the outbox before the first byte of the answer is handed to the server. Flask's routes are known
    by themselves; rules may be written as Flask writes them, ``"POST /orders/<int:order_id>"``.

    Args:
        app: the application.
        trail: a trail, a dotted name (``"shop.audit:trail"``), or None for the process's default.
        routes: rules by ``"POST /orders/{order_id}/approve"``, or a callable that gets the request and
            gives a rule or None.
        every: one rule for all other POST, PUT, PATCH and DELETE requests.
        statuses: what is recorded where a rule does not say; by default 2xx and 3xx, but for 307 and 308.
        actor: who acted, where a rule does not say and nothing was bound.
        fail_closed: True: a request that would be recorded gets a 503 instead of being served, where its
            record could not be stored; None: as the trail has it.
        trusted_proxies: addresses or networks whose ``X-Forwarded-For`` or ``Forwarded`` is believed;
            ``"unix"`` for a Unix socket, ``"*"`` for any.
        forwarded_header: the one of the two headers that the proxies write, where clients can forge the
            other one.

    Raises:
        ConfigurationError: a rule, template or address that cannot work, or an event that the trail does
            not declare.
    """

    def __init__(
        self,
        app: WSGIApp,
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
        self._auditor = Auditor(
            trail=trail,
            routes=routes,
            every=every,
            statuses=statuses,
            actor=actor,
            fail_closed=fail_closed,
            trusted_proxies=trusted_proxies,
            forwarded_header=forwarded_header,
        )

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serves one request."""
        request = self._request(environ)
        exchange = self._auditor.exchange(request, nested=_MARK in environ)
        environ[_MARK] = True
        with exchange.scope():
            if exchange.concerned and (refusal := exchange.refusal()) is not None:
                start_response(f"{refusal.status} Service Unavailable", refusal.headers)
                return [refusal.body]
            return self._served(exchange, environ, start_response)

    def _served(self, exchange: Exchange, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not exchange.concerned:
            result = self.app(environ, _routing(exchange, start_response))
            return result if is_whole(result, environ) else Answer(result, exchange)
        if exchange.request_body is not None:
            environ["wsgi.input"] = KeptInput(environ["wsgi.input"], exchange.request_body)
        try:
            result = self.app(environ, _recording(exchange, start_response))
        except BaseException as error:
            exchange.failed(error)
            exchange.record()
            raise
        if not is_whole(result, environ):
            return Answer(result, exchange)
        leave_whole(exchange, result)
        return result

    def _request(self, environ: Environ) -> Request:
        return Request(
            environ.get("REQUEST_METHOD", ""),
            _text(environ.get("PATH_INFO", "")) or "/",
            _text(environ.get("SCRIPT_NAME", "")),
            environ,
            headers=lambda: Headers(environ),
            client=lambda headers: self._auditor.client(environ.get("REMOTE_ADDR") or None, headers),
            routed=FlaskRoute(environ),
        )


def _routing(exchange: Exchange, start_response: StartResponse) -> StartResponse:
    def start(*arguments: Any) -> Any:
        exchange.request.routed()  # Flask forgets it when its own part is done
        return start_response(*arguments)

    return start


def _recording(exchange: Exchange, start_response: StartResponse) -> StartResponse:
    def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
        exchange.request.routed()
        write = start_response(status, headers, *exc_info)
        length, content_type = length_of(headers)
        exchange.answered(int(status[:3]), length, content_type=content_type)

        def write_recorded(part: bytes) -> object:
            exchange.sending(part)
            exchange.record()
            return write(part)

        return write_recorded

    return start


def _text(native: str) -> str:
    """The path's own characters: PEP 3333 carries bytes as Latin-1."""
    return native if native.isascii() else native.encode("latin-1", "replace").decode("utf-8", "replace")
