"""Middleware for WSGI applications: Flask, and whatever else speaks WSGI (PEP 3333)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from auditbox.capture.address import Proxies
from auditbox.capture.http import Auditor
from auditbox.capture.http_exchange import Exchange
from auditbox.capture.paths import braced
from auditbox.capture.request import Request
from auditbox.capture.wsgi_parts import Answer, EnvironHeaders, KeptInput, is_whole, leave_whole, length_of

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]

_MARK = "auditbox.request"


class AuditMiddleware(Auditor[WSGIApp]):
    """Binds each request's context for everything captured inside it, and records what the rules name.

    The WSGI twin of :class:`auditbox.AuditMiddleware`: the same arguments, rules and promises. The record
    is in the outbox before the first byte of the answer is handed to the server. Flask's routes are known
    by themselves; rules may be written as Flask writes them, ``"POST /orders/<int:order_id>"``.

    Raises:
        ConfigurationError: a rule, template or address that cannot work, or an event that the trail does
            not declare.
    """

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serves one request."""
        exchange = Exchange(self, WsgiRequest(environ, self.proxies), nested=_MARK in environ)
        environ[_MARK] = True
        with exchange.scope():
            if exchange.concerned and (refusal := self.refusal(exchange)) is not None:
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


class WsgiRequest(Request):
    """One request, from its environment; Flask's route is there as long as Flask is at work."""

    scope: Environ
    _route: str | None = None
    _params: Mapping[str, Any] = {}

    def __init__(self, environ: Environ, proxies: Proxies) -> None:
        path, root = environ.get("PATH_INFO", ""), environ.get("SCRIPT_NAME", "")
        super().__init__(
            environ.get("REQUEST_METHOD", ""),
            (path if path.isascii() else _text(path)) or "/",
            root if root.isascii() else _text(root),
            environ,
            proxies,
        )

    def routed(self) -> tuple[str | None, Mapping[str, Any]]:
        """What Werkzeug leaves in the environment. Flask takes it out again: what was seen once is kept."""
        if self._route is None:
            request = self.scope.get("werkzeug.request")
            rule = getattr(getattr(request, "url_rule", None), "rule", None)
            if isinstance(rule, str):
                self._route, self._params = braced(rule), getattr(request, "view_args", None) or {}
        return self._route, self._params

    def _read_headers(self) -> EnvironHeaders:
        return EnvironHeaders(self.scope)

    def _peer(self) -> str | None:
        return self.scope.get("REMOTE_ADDR") or None


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
    return native.encode("latin-1", "replace").decode("utf-8", "replace")
