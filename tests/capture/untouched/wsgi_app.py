"""Flask with whatever may go wrong in it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Flask, Response, abort, redirect, request, send_file, stream_with_context
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from auditbox.wsgi import AuditMiddleware
from tests.capture.untouched.common import AUDIT, RULES, is_user, saw

logging.basicConfig()
flask = Flask("shop")
inner = Flask("inner")


class Breaks:
    """Middleware that raises where a request asks for it by its name."""

    def __init__(self, app: Any, name: str) -> None:
        self.app, self.name = app, name

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        if self.name == "above":
            saw(f"reached {environ['HTTP_X_REQUEST_ID']}")
        if environ.get("HTTP_X_BREAK") == f"{self.name}-before":
            raise RuntimeError(self.name)
        result: Iterable[bytes] = self.app(environ, start_response)
        if environ.get("HTTP_X_BREAK") == f"{self.name}-after":
            raise RuntimeError(self.name)
        return result


@flask.get("/orders/<order>")
def read(order: str) -> dict[str, str]:
    """Also asked for by HEAD."""
    return {"id": order}


@flask.post("/orders/<order>")
def change(order: str) -> Response:
    """Reads its body in parts."""
    size = 0
    while part := request.stream.read(7):
        size += len(part)
    response = flask.json.response(id=order, size=size)
    response.headers.add("set-cookie", "a=1")
    response.headers.add("set-cookie", "b=2")
    return response


@flask.post("/none")
def none() -> dict[str, str]:
    """No order in the path."""
    return {}


@flask.post("/raise/<order>")
def raises(order: str) -> str:
    """An exception that nobody handles."""
    raise ValueError(order)


@flask.post("/sync/<order>")
def sync(order: str) -> dict[str, str]:
    """Authenticates."""
    is_user(request.headers["authorization"])
    if "x-fail" in request.headers:
        raise ValueError("after the view")
    return {"id": order}


@flask.post("/async/<order>")
def refused(order: str) -> str:
    """Authenticates and refuses."""
    is_user(request.headers["authorization"])
    abort(409, "no stock")


@flask.post("/stream/<order>")
def stream(order: str) -> Response:
    """Server-sent events, with Flask's own context in each."""
    parts = (f"data: {n} {request.path}\n\n" for n in range(3))
    return Response(stream_with_context(parts), mimetype="text/event-stream")


@flask.post("/torn/<order>")
def torn(order: str) -> Response:
    """A stream that breaks off."""

    def parts() -> Iterator[bytes]:
        yield b"first"
        raise OSError("the disk is gone")

    return Response(parts())


@flask.post("/endless/<order>")
def endless(order: str) -> Response:
    """A stream that only the client ends."""

    def parts() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            saw("endless stream ends")

    return Response(parts())


@flask.post("/background/<order>")
def background(order: str) -> Response:
    """Goes on after the answer."""
    response = flask.json.response(id=order)
    response.call_on_close(lambda: saw("background task ran"))
    return response


@flask.post("/file/<order>")
def file(order: str) -> Response:
    """From the disk."""
    return send_file(__file__, etag=False, last_modified=0)


@flask.post("/moved/<order>")
def moved(order: str) -> Any:
    """After a form."""
    return redirect(f"/orders/{order}", 303)


@flask.post("/empty/<order>")
def empty(order: str) -> tuple[str, int]:
    """No body."""
    return "", 204


@inner.post("/orders/<order>")
def inner_change(order: str) -> dict[str, str]:
    """In a mounted application."""
    return {"id": order}


app: Any = Breaks(DispatcherMiddleware(flask, {"/tenants/acme": inner}), "below")
if AUDIT:
    app = AuditMiddleware(app, **RULES)
app = Breaks(app, "above")
