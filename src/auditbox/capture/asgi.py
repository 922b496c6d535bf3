"""Middleware for ASGI applications: FastAPI, Starlette, and whatever else speaks ASGI."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from auditbox.capture.address import Proxies
from auditbox.capture.http import Auditor
from auditbox.capture.http_bodies import Body
from auditbox.capture.http_exchange import Exchange
from auditbox.capture.http_refusal import Refusal
from auditbox.capture.lifespan import Lifespan, Message, Receive, Send
from auditbox.capture.request import Headers, Request
from auditbox.errors import ConfigurationError

AsgiScope = MutableMapping[str, Any]
ASGIApp = Callable[[AsgiScope, Receive, Send], Awaitable[None]]

logger = logging.getLogger("auditbox.capture")

_MARK = "auditbox"
_STARTS = frozenset({"http.response.start", "websocket.http.response.start"})
_BODIES = frozenset({"http.response.body", "websocket.http.response.body"})


class AuditMiddleware(Auditor[ASGIApp]):
    """Binds each request's context for everything captured inside it, and records what the rules name.

    The record is in the outbox before the first byte of the answer leaves: a client that saw an answer has
    its record. Actor and object that the application has bound by then (``auditbox.bind``) count. Bodies,
    streams, websockets and background tasks pass untouched.

    A rule is an event, or a mapping of ``event``, ``failed`` (the event of a 4xx, 5xx or unhandled
    exception), ``object``, ``actor``, ``summary``, ``details``, ``documents``, ``lane``, ``statuses``:
    constants, templates over the path's parameters and ``request`` (``"{order_id}"``,
    ``"{request.headers[x-tenant]}"``) or callables that get the
    :class:`~auditbox.capture.request.Request`. A resolver that fails leaves its field out and is named in
    the record's outcome. ``"at": "end"`` records when the last byte leaves instead (a stream that breaks
    off is a failure then); ``"request_body": True`` and ``"response_body": True`` (or a number of bytes)
    add the bodies to the documents, redacted, the latter at the end. None in place of a rule: such
    requests are never recorded.

    What is wrong with the rules, and a trail that is missing, keeps the server from starting.

    Args:
        app: the application.
        trail: a trail, a dotted name (``"shop.audit:trail"``), or None for the process's default.
        routes: rules by ``"POST /orders/{order_id}/approve"`` (``"WEBSOCKET /chat/{room}"`` for the opening
            of a websocket), or a callable that gets the request and gives a rule or None.
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

    _broken: ConfigurationError | None = None

    async def __call__(self, asgi: AsgiScope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        kind = asgi["type"]
        if kind == "lifespan":
            await Lifespan(self._check_start, receive, send).run(self.app, asgi)
            return
        if self._broken is not None:
            raise self._broken
        if kind not in ("http", "websocket"):
            await self.app(asgi, receive, send)
            return
        exchange = Exchange(self, AsgiRequest(asgi, self.proxies), nested=_MARK in asgi)
        # Not the request, which holds the scope: only the garbage collector would free both.
        asgi[_MARK] = True
        with exchange.scope():
            if not exchange.concerned:
                await self.app(asgi, receive, send)
            elif (refusal := self.refusal(exchange)) is not None:
                await _refuse(refusal, kind, send)
            else:
                await self._serve(exchange, asgi, receive, send)

    async def _serve(self, exchange: Exchange, asgi: AsgiScope, receive: Receive, send: Send) -> None:
        async def send_recorded(message: Message) -> None:
            if not exchange.settled and _note(exchange, message):
                await exchange.arecord()
            await send(message)

        if exchange.request_body is not None:
            receive = _kept(exchange.request_body, receive)
        if self.rules.want_ends:
            receive = _until_left(exchange, receive)
        try:
            await self.app(asgi, receive, send_recorded)
        except Exception as error:
            exchange.failed(error)
            await exchange.arecord()
            raise
        except BaseException as error:
            # Cancelled, perhaps again at the next await: so none.
            exchange.failed(error)
            exchange.record()
            raise
        if not exchange.settled:
            # A websocket ends like this, a stream whose client has gone, and what gave no answer.
            exchange.finished(complete=asgi["type"] == "websocket" and exchange.request.status is not None)
            await exchange.arecord()

    def _check_start(self, started: bool) -> None:
        if self._broken is not None:
            raise self._broken
        self.check(started=started)

    def _refuse_to_start(self, error: ConfigurationError) -> None:
        """At once, or with the lifespan where servers would swallow what is raised now."""
        if not _is_built_late():
            raise error
        logger.critical("AuditMiddleware: %s", error)
        self._broken = error


class AsgiRequest(Request):
    """One HTTP request or websocket, from its scope."""

    scope: AsgiScope

    def __init__(self, asgi: AsgiScope, proxies: Proxies) -> None:
        root, path = asgi.get("root_path", ""), asgi["path"]
        if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
            path = path[len(root) :]
        super().__init__(asgi.get("method", "WEBSOCKET"), path, root, asgi, proxies)

    def routed(self) -> tuple[str | None, Mapping[str, Any]]:
        """What FastAPI and Starlette leave in the scope once they have found the route."""
        asgi = self.scope
        tail = getattr(asgi.get("route"), "path", None)
        return tail if type(tail) is str else None, asgi.get("path_params") or {}

    def _read_headers(self) -> Headers:
        headers = Headers()
        for name, value in self.scope["headers"]:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return headers

    def _peer(self) -> str | None:
        client = self.scope.get("client")
        return client[0] if client else None


def _is_built_late() -> bool:
    """Whether Starlette constructs the middleware now, where servers swallow what is raised."""
    return sys._getframe(3).f_code.co_name == "build_middleware_stack"


def _note(exchange: Exchange, message: Message) -> bool:
    """Tells the exchange what leaves; whether its record may be due before that."""
    kind = message["type"]
    if kind in _STARTS:
        length, content_type = None, ""
        for name, value in message.get("headers", ()):
            lowered = name.lower()
            if lowered == b"content-length" and value.isdigit():
                length = int(value)
            elif lowered == b"content-type":
                content_type = value.decode("latin-1")
        exchange.answered(message["status"], length, content_type=content_type)
    elif kind in _BODIES:
        exchange.sending(message.get("body", b""))
        if message.get("more_body"):
            return False
        exchange.finished()
    elif kind in ("http.response.pathsend", "http.response.zerocopysend"):
        exchange.sending()
        exchange.finished(counted=False)
    elif kind == "websocket.send":
        exchange.sending(message.get("bytes") or (message.get("text") or "").encode())
        return False
    elif kind == "websocket.accept" or (kind == "websocket.close" and exchange.request.status is None):
        exchange.answered(101 if kind == "websocket.accept" else 403)
    else:
        return False
    return True


def _kept(body: Body, receive: Receive) -> Receive:
    """``receive`` that keeps what passes."""

    async def receive_kept() -> Message:
        message = await receive()
        body.add(message.get("body") or b"")
        return message

    return receive_kept


def _until_left(exchange: Exchange, receive: Receive) -> Receive:
    """``receive`` that notices when the client has gone: the application may end its answer all the same."""

    async def receive_watched() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            exchange.left()
        return message

    return receive_watched


async def _refuse(refusal: Refusal, kind: str, send: Send) -> None:
    if kind == "websocket":
        await send({"type": "websocket.close", "code": 1013})  # try again later (IANA's registry of codes)
        return
    headers = [(name.encode(), value.encode()) for name, value in refusal.headers]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": refusal.body})
