"""Middleware for ASGI applications: FastAPI, Starlette, and whatever else speaks ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from auditbox.capture.http import UNAVAILABLE, Auditor, request_values
from auditbox.capture.request import Request
from auditbox.capture.rules import Routes, Statuses
from auditbox.context import Scope, scope

if TYPE_CHECKING:
    from auditbox.trail import AuditTrail

AsgiScope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[AsgiScope, Receive, Send], Awaitable[None]]

_MARK = "auditbox"


class AuditMiddleware:
    """Binds each request's context for everything captured inside it, and records what the rules name.

    The record is in the outbox before the first byte of the answer leaves: a client that saw an answer has
    its record. Actor and object that the application has bound by then (``auditbox.bind``) count. Bodies,
    streams, websockets and background tasks pass untouched.

    A rule is an event, or a mapping of ``event``, ``failed`` (the event of a 4xx, 5xx or unhandled
    exception), ``object``, ``actor``, ``summary``, ``details``, ``documents``, ``lane``, ``statuses``:
    constants, templates over the path's parameters and ``request`` (``"{order_id}"``,
    ``"{request.headers[x-tenant]}"``) or callables that get the
    :class:`~auditbox.capture.request.Request`. A resolver that fails leaves its field out and is named in
    the record's outcome.

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
        ConfigurationError: a rule, template or address that cannot work.
    """

    def __init__(
        self,
        app: ASGIApp,
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

    async def __call__(self, asgi: AsgiScope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if asgi["type"] not in ("http", "websocket"):
            await self.app(asgi, receive, send)
            return
        request = self._request(asgi)
        nested = _MARK in asgi
        asgi[_MARK] = request
        with scope(request_values(request, nested=nested), is_request=True) as opened:
            if asgi["type"] == "websocket" or not self._auditor.concerns(request):
                await self.app(asgi, receive, send)
            elif self._auditor.stops(request):
                await _refuse(send)
            else:
                await self._serve(request, opened, (asgi, receive, send))

    async def _serve(self, request: Request, opened: Scope, call: tuple[AsgiScope, Receive, Send]) -> None:
        asgi, receive, send = call

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start" and request.status is None:
                request.ended(message["status"])
                await self._auditor.arecord(request, opened)
            await send(message)

        try:
            await self.app(asgi, receive, send_recorded)
        except Exception as error:
            if request.status is None:
                request.ended(500, error)
                await self._auditor.arecord(request, opened)
            raise
        except BaseException as error:
            if request.status is None:
                # Cancelled, perhaps again at the next await: so none.
                request.ended(None, error)
                self._auditor.record(request, opened)
            raise

    def _request(self, asgi: AsgiScope) -> Request:
        root = asgi.get("root_path", "")
        path, client = asgi["path"], asgi.get("client")
        if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
            path = path[len(root) :]
        peer = client[0] if client else None
        return Request(
            asgi.get("method", "WEBSOCKET"),
            path,
            root,
            asgi,
            headers=lambda: _headers(asgi["headers"]),
            client=lambda headers: self._auditor.client(peer, headers),
            routed=lambda: _routed(asgi),
        )


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _routed(asgi: AsgiScope) -> tuple[str | None, Mapping[str, Any]]:
    """What FastAPI and Starlette leave in the scope once they have found the route."""
    tail = getattr(asgi.get("route"), "path", None)
    return tail if isinstance(tail, str) else None, asgi.get("path_params") or {}


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"application/problem+json"), (b"retry-after", b"5")]
    headers.append((b"content-length", str(len(UNAVAILABLE)).encode()))
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": UNAVAILABLE})
