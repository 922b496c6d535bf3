"""One application, carried by ASGI and by WSGI: what the middleware promise, both must keep."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from wsgiref.validate import validator

from auditbox.capture.asgi import AuditMiddleware
from auditbox.wsgi import AuditMiddleware as WsgiAuditMiddleware

View = Callable[[bytes], "Reply"]


@dataclass
class Reply:
    """What a view answers."""

    status: int = 200
    parts: Iterable[bytes] = (b"done",)
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Seen:
    """What the client gets."""

    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.parts)


def by_asgi(
    view: View,
    *,
    method: str = "POST",
    path: str = "/",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    gone_after: int | None = None,
    on_part: Callable[[], None] = lambda: None,
    inside: dict[str, Any] | None = None,
    **options: Any,
) -> Seen:
    """Serves one request; the client is gone after so many parts of the body.

    ``inside`` are the options of a second middleware, between the first one and the application.
    """
    seen = Seen()

    async def app(asgi: Any, receive: Any, send: Any) -> None:
        message = await receive()
        reply = view(message["body"])
        head = [(name.encode(), value.encode()) for name, value in reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": head})
        for part in reply.parts:
            if len(seen.parts) == gone_after:
                return  # as Starlette does when the client has gone
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            seen.status = message["status"]
            seen.headers = [(name.decode(), value.decode()) for name, value in message["headers"]]
        elif message["body"]:
            on_part()
            seen.parts.append(message["body"])

    raw = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    asgi = {"type": "http", "method": method, "path": path, "headers": raw, "client": ("192.0.2.1", 1)}
    wrapped = app if inside is None else AuditMiddleware(app, **inside)
    asyncio.run(AuditMiddleware(wrapped, **options)(asgi, receive, send))  # type: ignore[arg-type]
    return seen


def by_wsgi(
    view: View,
    *,
    method: str = "POST",
    path: str = "/",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    gone_after: int | None = None,
    on_part: Callable[[], None] = lambda: None,
    inside: dict[str, Any] | None = None,
    **options: Any,
) -> Seen:
    """The same, with the standard library's validator on both sides of the middleware."""
    seen = Seen()

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        reply = view(environ["wsgi.input"].read(length))
        named = {name.lower() for name, _ in reply.headers}
        kind = [] if "content-type" in named or reply.status in (204, 304) else [("Content-Type", "text/x")]
        start_response(f"{reply.status} Status", [*reply.headers, *kind])
        return iter(reply.parts)

    def start_response(status: str, given: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
        seen.status, seen.headers = int(status[:3]), given
        return seen.parts.append

    named = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in (headers or {}).items()}
    for known in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if (value := named.pop(f"HTTP_{known}", None)) is not None:
            named[known] = value
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": "",
        "SERVER_NAME": "shop",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **named,
    }
    # The validator wants an environment that is exactly a dict, and reads what it is given.
    wrapped: Any = validator(app)
    if inside is not None:
        wrapped = validator(WsgiAuditMiddleware(wrapped, **inside))
    result: Any = validator(WsgiAuditMiddleware(wrapped, **options))(environ, start_response)  # type: ignore[arg-type]
    try:
        for part in result:
            if len(seen.parts) == gone_after:
                break
            on_part()
            seen.parts.append(part)
    finally:
        result.close()
    return seen
