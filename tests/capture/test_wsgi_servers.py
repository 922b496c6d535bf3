"""auditbox.wsgi.AuditMiddleware in Flask on a real server, with real HTTP traffic."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from flask import Flask, Response
from werkzeug.serving import make_server

from auditbox import default as defaults
from auditbox.testing import CapturedRecords
from auditbox.trail import AuditTrail
from auditbox.wsgi import AuditMiddleware

from .conftest import ORDER, post


@pytest.fixture(autouse=True)
def _default(trail: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "_default", trail)


@contextmanager
def wsgi_served(app: Any) -> Iterator[str]:
    """The application on a real threaded server."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()


def test_a_wsgi_stream_flows(records: CapturedRecords) -> None:
    """Part by part: the second is made after the client has read the first, whose record is there by then."""
    read_first = threading.Event()
    app = Flask("shop")

    @app.post("/orders/<order>/watch")
    def watch(order: str) -> Response:
        def events() -> Iterator[str]:
            yield "data: 1\n\n"
            assert read_first.wait(60)
            yield "data: 2\n\n"

        return Response(events(), mimetype="text/event-stream")

    rule = {"event": "order.watched", "object": "{order}"}
    app.wsgi_app = AuditMiddleware(app.wsgi_app, routes={"POST /orders/<order>/watch": rule})  # type: ignore[method-assign]
    with (
        wsgi_served(app) as url,
        httpx.stream("POST", f"{url}/orders/{ORDER}/watch", timeout=60) as response,
    ):
        lines = response.iter_text()
        assert next(lines) == "data: 1\n\n"
        assert records.one("order.watched")
        read_first.set()
        assert "".join(lines) == "data: 2\n\n"


def test_strange_requests_to_a_wsgi_server(records: CapturedRecords) -> None:
    """Invalid UTF-8 in a path, large and forged headers: served and recorded as far as it is known."""
    app = Flask("shop")
    app.post("/<path:rest>")(lambda rest: rest)
    app.wsgi_app = AuditMiddleware(app.wsgi_app, every={"event": "http.changed", "object": ORDER})  # type: ignore[method-assign]
    headers = {"x-forwarded-for": "6.6.6.6", "forwarded": "for=6.6.6.6", "user-agent": "x" * 40_000}
    with wsgi_served(app) as url:
        assert post(f"{url}/%ff%fe%00", headers=headers).status_code == 200
    request = records.one("http.changed").auditbox["request"]
    assert (request["address"], request["route"]) == ("127.0.0.1", "/{rest:path}")
    assert len(request["userAgent"]) < 1000


def test_a_wsgi_client_that_goes_away(records: CapturedRecords) -> None:
    """A stream whose client has gone is closed by the server, and recorded once, as broken off."""
    closed = threading.Event()
    app = Flask("shop")

    @app.post("/orders/<order>")
    def watch(order: str) -> Response:
        def events() -> Iterator[bytes]:
            try:
                while True:
                    yield b"x" * 65536
            finally:
                closed.set()

        return Response(events(), mimetype="text/event-stream")

    rule = {"event": "order.watched", "failed": "order.unwatched", "object": "{order}", "at": "end"}
    app.wsgi_app = AuditMiddleware(app.wsgi_app, routes={"POST /orders/<order>": rule})  # type: ignore[method-assign]
    with wsgi_served(app) as url:
        with httpx.stream("POST", f"{url}/orders/{ORDER}", timeout=60) as response:
            next(response.iter_raw())
        assert closed.wait(60)
    assert records.one("order.unwatched").auditbox["outcome"]["bytesOut"] > 0
