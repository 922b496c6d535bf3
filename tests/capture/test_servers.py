"""AuditMiddleware in real applications on a real server, with real HTTP traffic."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Header, HTTPException
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import auditbox
from auditbox import default as defaults
from auditbox.capture.asgi import AuditMiddleware
from auditbox.capture.decorator import audited
from auditbox.context import bind, current_scope
from auditbox.errors import ConfigurationError
from auditbox.testing import CapturedRecords
from auditbox.trail import AuditTrail

from .conftest import BOUND, ORDER, OTHER, get, post

Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture(autouse=True)
def _default(trail: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "_default", trail)


def order_id(number: int) -> str:
    """The id of an order."""
    return f"ORD-{number:04d}"


async def by_async(user: Annotated[str, Header()]) -> None:
    """An authentication dependency on the event loop."""
    await asyncio.sleep(0)
    bind(actor=user)


def by_sync(user: Annotated[str, Header()]) -> None:
    """One in the thread pool."""
    bind(actor=user)


def by_sync_yield(user: Annotated[str, Header()]) -> Iterator[None]:
    """One in the thread pool whose end runs in another Context than its beginning."""
    bind(actor=user)
    yield


async def by_async_yield(user: Annotated[str, Header()]) -> AsyncIterator[None]:
    """One on the event loop with an end."""
    bind(actor=user)
    yield


@audited("order.touched", object="{order}")
def touch(order: str) -> None:
    """Captured inside a request, in whatever thread the view runs."""


def users_app() -> FastAPI:
    """An application that authenticates its users in four ways."""
    app = FastAPI()
    router = APIRouter()

    @router.post("/{order}/sync", dependencies=[Depends(by_sync)])
    def sync(order: str) -> str:
        touch(order)
        return order

    @router.post("/{order}/async", dependencies=[Depends(by_async)])
    async def coroutine(order: str) -> str:
        await asyncio.sleep(0.001)
        touch(order)
        return order

    @router.post("/{order}/syncyield", dependencies=[Depends(by_sync_yield)])
    async def sync_yield(order: str) -> str:
        touch(order)
        return order

    @router.post("/{order}/asyncyield", dependencies=[Depends(by_async_yield)])
    def async_yield(order: str) -> str:
        touch(order)
        return order

    app.include_router(router, prefix="/orders")
    ways = ("sync", "async", "syncyield", "asyncyield")
    routes = {
        f"POST /orders/{{order}}/{way}": {"event": "order.changed", "object": "{order}"} for way in ways
    }
    app.add_middleware(AuditMiddleware, routes=routes)
    return app


def test_users_at_the_same_time_are_never_mixed_up(serve: Serve, records: CapturedRecords) -> None:
    """Each answered request has one record with its own actor, object and route, and so what is inside it."""
    ways = ("sync", "async", "syncyield", "asyncyield")
    jobs = [(order_id(number), f"USR-{number:04d}", ways[number % 4]) for number in range(200)]

    with (
        serve(users_app()) as url,
        httpx.Client(base_url=url, timeout=BOUND, limits=httpx.Limits(max_connections=8)) as client,
    ):

        def request(job: tuple[str, str, str]) -> int:
            order, user, way = job
            return client.post(f"/orders/{order}/{way}", headers={"user": user}).status_code

        with ThreadPoolExecutor(8) as pool:
            assert Counter(pool.map(request, jobs)) == {200: 200}
    expected = sorted((order, user, f"/orders/{{order}}/{way}") for order, user, way in jobs)
    for event in ("order.changed", "order.touched"):
        found = [
            (
                record.object and record.object.id,
                record.auditbox["actor"]["id"],
                record.auditbox["request"]["route"],
            )
            for record in records.all(event)
        ]
        assert sorted(found) == expected


def test_an_audited_view(serve: Serve, records: CapturedRecords) -> None:
    """Under @app.post the view keeps its parameters, whose annotations are texts in this module."""
    app = FastAPI()

    @app.post("/orders/{order}")
    @audited("order.changed", object="{order}", summary="{user} made it {result[status]}")
    async def change(
        order: str, user: Annotated[str, Header()], background: BackgroundTasks
    ) -> dict[str, str]:
        return {"status": "new"}

    app.add_middleware(AuditMiddleware)
    with serve(app) as url:
        assert post(f"{url}/orders/{ORDER}", headers={"user": "Ann"}).json() == {"status": "new"}
        assert post(f"{url}/orders/{ORDER}").status_code == 422
    assert records.one("order.changed").summary == "Ann made it new"


def test_pipelined_requests_are_strangers(serve: Serve, records: CapturedRecords) -> None:
    """A second request on the same connection knows nothing of the first one's actor."""

    async def app(asgi: Any, receive: Any, send: Any) -> None:
        if asgi["path"] == f"/{ORDER}":
            bind(actor="USR-0000-0001", documents={"secret": 1})
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    routes = {"POST /{order}": {"event": "order.changed", "object": "{order}"}}
    with serve(AuditMiddleware(app, routes=routes)) as url:
        head = "POST /{} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{}\r\n"
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(
                (head.format(ORDER, "") + head.format(OTHER, "Connection: close\r\n")).encode()
            )
            while connection.recv(4096):
                pass
    first, second = records
    assert first.auditbox["actor"] == {"id": "USR-0000-0001"}
    assert "actor" not in second.auditbox
    assert second.documents is not None
    assert "secret" not in second.documents


def test_a_stream_flows_and_is_recorded_at_its_beginning(serve: Serve, records: CapturedRecords) -> None:
    """Server-sent events arrive one by one: the second is made after the client has read the first."""
    read_first = threading.Event()
    app = FastAPI()

    @app.post("/orders/{order}/watch")
    def watch(order: str) -> StreamingResponse:
        def events() -> Iterator[str]:
            yield "data: 1\n\n"
            assert read_first.wait(30)
            yield "data: 2\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    app.add_middleware(
        AuditMiddleware,
        routes={"POST /orders/{order}/watch": {"event": "order.watched", "object": "{order}"}},
    )
    with serve(app) as url, httpx.stream("POST", f"{url}/orders/{ORDER}/watch", timeout=30) as response:
        lines = response.iter_text()
        assert next(lines) == "data: 1\n\n"
        assert records.one("order.watched")
        read_first.set()
        assert "".join(lines) == "data: 2\n\n"
    assert len(records) == 1


def test_a_client_that_goes_away(serve: Serve, records: CapturedRecords) -> None:
    """The action was done: it is recorded, whoever waits for the answer."""
    gone = threading.Event()
    captured = threading.Event()
    app = FastAPI()

    @app.post("/orders/{order}")
    def change(order: str, background: BackgroundTasks) -> str:
        assert gone.wait(30)
        background.add_task(captured.set)
        return order

    app.add_middleware(
        AuditMiddleware, routes={"POST /orders/{order}": {"event": "order.changed", "object": "{order}"}}
    )
    with serve(app) as url:
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
            connection.sendall(
                f"POST /orders/{ORDER} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
            )
        gone.set()
        assert captured.wait(30)
    assert records.one("order.changed")


def test_background_tasks_still_know_the_request(serve: Serve, records: CapturedRecords) -> None:
    """What runs after the answer is captured with the actor of its request."""
    app = FastAPI()

    @app.post("/orders/{order}", dependencies=[Depends(by_sync)])
    async def change(order: str, background: BackgroundTasks) -> str:
        background.add_task(touch, order)
        return order

    app.add_middleware(AuditMiddleware)
    with serve(app) as url:
        assert post(f"{url}/orders/{ORDER}", headers={"user": "USR-0556-8733"}).status_code == 200
    assert records.one("order.touched").auditbox["actor"] == {"id": "USR-0556-8733"}


def test_errors_of_the_application(serve: Serve, records: CapturedRecords) -> None:
    """An HTTPException is a failure with its status, an unhandled exception one with 500 and its text."""
    app = FastAPI()

    @app.post("/orders/{order}/{how}")
    def change(order: str, how: str) -> None:
        if how == "refuse":
            raise HTTPException(409)
        raise ValueError("no stock")

    rule = {"event": "order.changed", "failed": "order.refused", "object": "{order}"}
    app.add_middleware(AuditMiddleware, routes={"POST /orders/{order}/{how}": rule})
    with serve(app) as url:
        assert post(f"{url}/orders/{ORDER}/refuse").status_code == 409
        assert post(f"{url}/orders/{ORDER}/break").status_code == 500
        assert post(f"{url}/else").status_code == 404
    refused, broken = records.all("order.refused")
    assert refused.auditbox["request"]["status"] == 409
    assert broken.auditbox["request"]["status"] == 500
    assert broken.auditbox["outcome"]["error"] == "ValueError: no stock"
    assert len(records) == 2


def test_redirects_to_the_right_path_are_no_actions(serve: Serve, records: CapturedRecords) -> None:
    """FastAPI sends /orders/x/ to /orders/x (307): only the request that was acted on is recorded."""
    app = FastAPI()
    app.add_api_route("/orders/{order}", lambda order: order, methods=["POST"])
    app.add_middleware(AuditMiddleware, every={"event": "http.changed", "object": ORDER})
    with serve(app) as url:
        assert post(f"{url}/orders/{ORDER}/", follow_redirects=True).status_code == 200
    assert records.one("http.changed").auditbox["request"]["route"] == "/orders/{order}"


def test_mounts_heads_and_other_middleware(serve: Serve, records: CapturedRecords) -> None:
    """Starlette with a mounted application, behind a BaseHTTPMiddleware that runs it in another task."""

    async def view(request: Any) -> PlainTextResponse:
        bind(object=request.path_params["order"])
        return PlainTextResponse("done")

    async def passing(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    inner = Starlette(routes=[Route("/orders/{order}", view, methods=["GET", "POST", "HEAD"])])
    app = Starlette(routes=[Mount("/tenants/{tenant}", inner)])
    app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    routes = {
        "POST /tenants/{tenant}/orders/{id}": {"event": "order.changed", "summary": "{tenant} {id}"},
        "HEAD /tenants/{tenant}/orders/{id}": "order.looked",
    }
    app.add_middleware(AuditMiddleware, routes=routes, every="http.changed")
    with serve(app) as url:
        assert post(f"{url}/tenants/acme/orders/{ORDER}").text == "done"
        assert (
            httpx.head(f"{url}/tenants/acme/orders/{ORDER}", timeout=BOUND).headers["content-length"] == "4"
        )
        assert get(f"{url}/tenants/acme/orders/{ORDER}").status_code == 200
    record = records.one("order.changed")
    assert record.object is not None
    assert (record.object.id, record.summary) == (ORDER, f"acme {ORDER}")
    assert record.auditbox["request"]["route"] == "/tenants/{tenant}/orders/{id}"
    assert records.one("order.looked")
    assert len(records) == 2


def test_strange_paths_and_headers(serve: Serve, records: CapturedRecords) -> None:
    """Invalid UTF-8 in a path, large and forged headers: served and recorded as far as it is known."""
    app = FastAPI()
    app.add_api_route("/{rest:path}", lambda rest: rest.count("/"), methods=["POST"])
    app.add_middleware(AuditMiddleware, every={"event": "http.changed", "object": ORDER})
    headers = {"x-forwarded-for": "6.6.6.6", "forwarded": "for=6.6.6.6", "user-agent": "x" * 40_000}
    with serve(app, proxy_headers=False) as url:
        assert post(f"{url}/%ff%fe%00", headers=headers).status_code == 200
    request = records.one("http.changed").auditbox["request"]
    assert request["address"] == "127.0.0.1"
    assert len(request["userAgent"]) < 1000
    assert request["route"] == "/{rest:path}"


def test_nothing_is_left_behind(serve: Serve, records: CapturedRecords) -> None:
    """After a request the server's threads and tasks know nothing of it."""
    left: list[Any] = []

    async def outermost(asgi: Any, receive: Any, send: Any) -> None:
        await inner(asgi, receive, send)
        left.append(current_scope())

    inner = AuditMiddleware(users_app())
    with serve(outermost) as url:
        assert post(f"{url}/orders/{ORDER}/sync", headers={"user": "USR-1"}).status_code == 200
    assert left == [None]


def test_a_stream_that_its_client_leaves(serve: Serve, records: CapturedRecords) -> None:
    """Recorded at its end, it is a failure with what was sent until then; the generator is closed as ever."""
    closed = threading.Event()
    app = FastAPI()

    @app.post("/orders/{order}/watch")
    async def watch(order: str) -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            try:
                while True:
                    yield "data: 1\n\n"
                    await asyncio.sleep(0)
            finally:
                closed.set()

        return StreamingResponse(events(), media_type="text/event-stream")

    rule = {"event": "order.watched", "failed": "order.unwatched", "object": "{order}", "at": "end"}
    app.add_middleware(AuditMiddleware, routes={"POST /orders/{order}/watch": rule})
    with serve(app) as url:
        with httpx.stream("POST", f"{url}/orders/{ORDER}/watch", timeout=60) as response:
            parts = response.iter_text()  # kept: the response is closed with it
            assert next(parts).startswith("data: 1")
            assert not records
        assert closed.wait(60)
    outcome = records.one("order.unwatched").auditbox["outcome"]
    assert outcome["status"] == "failure"
    assert outcome["bytesOut"] > 0


def test_wrong_rules_keep_a_server_from_starting(tmp_path: Path) -> None:
    """FastAPI builds its middleware late, where uvicorn swallows errors: it must not serve 500s instead."""
    (tmp_path / "shop.py").write_text(
        "from fastapi import FastAPI\n"
        "from auditbox import AuditMiddleware\n"
        "app = FastAPI()\n"
        "rule = {'event': 'order.changed', 'object': '{id}'}\n"
        "app.add_middleware(AuditMiddleware, routes={'POST /orders/{order_id}': rule})\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "uvicorn", "shop:app", "--fd", str(listener.fileno())]
        ended = subprocess.run(
            command,
            cwd=tmp_path,
            pass_fds=[listener.fileno()],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
    assert ended.returncode == 3
    assert "routes['POST /orders/{order_id}']: template '{id}': there is no 'id'" in ended.stderr


def started(app: Any) -> tuple[dict[str, Any], Exception | None]:
    """What the application tells a server that starts it (and stops it again), and what it raises."""
    sent: list[Any] = []
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, str]:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    try:
        asyncio.run(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
    except Exception as error:  # noqa: BLE001 - whatever it is, a server gets it
        return sent[0], error
    return sent[0], None


def test_undeclared_events_keep_a_server_from_starting(tmp_path: Path) -> None:
    """The trail is known when the server starts: a mistyped event is found there."""
    trail = AuditTrail(tmp_path / "a.db", extension="shop", events=["order.changed"])
    app = FastAPI()
    app.add_middleware(AuditMiddleware, trail=trail, every="order.chnged")
    told, error = started(app)
    assert isinstance(error, ConfigurationError)
    assert told["type"] == "lifespan.startup.failed"
    assert "order.chnged" in told["message"]


@pytest.mark.parametrize("late", [None, "order.changed", "order.chnged"])
def test_a_trail_that_is_made_while_the_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str | None
) -> None:
    """The application's own startup may; then it has to be there. If not, the application is left as ever."""
    monkeypatch.setattr(defaults, "_default", None)
    ended: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if late:
            auditbox.configure(AuditTrail(tmp_path / "a.db", extension="shop", events=[late]))
        try:
            yield
        finally:
            ended.append("cleaned up")

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(AuditMiddleware, every="order.changed")
    told, error = started(app)
    assert ended == ["cleaned up"]
    if late == "order.changed":
        assert (told["type"], error) == ("lifespan.startup.complete", None)
        return
    assert isinstance(error, ConfigurationError)
    assert told["type"] == "lifespan.startup.failed"
    said = (
        "AuditMiddleware: every: " if late else "AuditMiddleware: No trail is configured: call auditbox.conf"
    )
    assert told["message"].startswith(said)


def test_without_rules_no_trail_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only context is bound then."""
    monkeypatch.setattr(defaults, "_default", None)
    app = FastAPI()
    app.add_middleware(AuditMiddleware, routes={"POST /orders": None})
    assert started(app) == ({"type": "lifespan.startup.complete"}, None)
