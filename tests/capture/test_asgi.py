"""AuditMiddleware seen from ASGI: what passes, what is recorded, and when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from auditbox import default as defaults
from auditbox.capture.asgi import AuditMiddleware
from auditbox.capture.decorator import audited
from auditbox.capture.request import Request
from auditbox.context import Scope, audit_context, bind, current_scope
from auditbox.errors import OutboxFull
from auditbox.testing import CapturedRecords
from auditbox.trail import AuditTrail

from .conftest import ORDER, OTHER
from .test_decorator import FailingTrail

Message = dict[str, Any]
ROUTES = {
    "POST /orders/{order_id}": {"event": "order.changed", "object": "{order_id}", "failed": "order.refused"}
}


@pytest.fixture(autouse=True)
def _default(trail: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "_default", trail)


def http(path: str = f"/orders/{ORDER}", method: str = "POST", **more: Any) -> dict[str, Any]:
    """An HTTP scope."""
    return {
        "type": "http", "method": method, "path": path, "headers": [], "client": ("192.0.2.1", 1), **more
    }  # fmt: skip


def answering(status: int = 200, *, before: Callable[[], Any] = lambda: None) -> Any:
    """An application that calls ``before`` and answers."""

    async def app(asgi: Any, receive: Any, send: Any) -> None:
        before()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    return app


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def call(
    app: Any, asgi: dict[str, Any], on_send: Callable[[Message], None] = lambda message: None
) -> list[Message]:
    """Serves one request and gives what was sent."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        on_send(message)
        sent.append(message)

    asyncio.run(_awaited(app(asgi, _receive, send)))
    return sent


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def test_the_record_is_there_before_the_answer(records: CapturedRecords) -> None:
    """A client that sees the first byte has its record; it says who, what, where and how it ended."""
    seen: list[int] = []
    asgi = http(headers=[(b"User-Agent", b"curl"), (b"x-request-id", b"req-1")])
    sent = call(
        AuditMiddleware(answering(201), routes=ROUTES), asgi, lambda message: seen.append(len(records))
    )
    assert ([message["type"] for message in sent], seen) == (
        ["http.response.start", "http.response.body"],
        [1, 1],
    )
    record = records.one("order.changed")
    assert record.object is not None
    assert record.object.id == ORDER
    request = record.auditbox["request"]
    assert request.pop("durationMs") >= 0
    assert request == {
        "id": "req-1",
        "method": "POST",
        "route": "/orders/{order_id}",
        "status": 201,
        "address": "192.0.2.1",
        "userAgent": "curl",
    }
    assert record.auditbox["outcome"]["status"] == "success"


def test_without_rules_nothing_is_recorded(records: CapturedRecords) -> None:
    """By default it only binds context, for what is captured inside."""

    @audited("order.approved", object=ORDER)
    def approve() -> None: ...

    call(
        AuditMiddleware(answering(before=approve)),
        http("/orders/7", "POST", headers=[(b"x-request-id", b"r")]),
    )
    request = records.one("order.approved").auditbox["request"]
    assert (request["id"], request["method"], request["route"]) == ("r", "POST", "/orders/7")


def test_what_was_bound_counts(records: CapturedRecords) -> None:
    """Actor and object are known only after the application has authenticated."""
    app = answering(
        before=lambda: bind(actor="USR-0556-8733", object=OTHER, documents={"order": {"id": OTHER}})
    )
    call(AuditMiddleware(app, every="http.changed"), http())
    record = records.one()
    assert record.object is not None
    assert record.documents is not None
    assert (record.object.id, record.auditbox["actor"]) == (OTHER, {"id": "USR-0556-8733"})
    assert record.documents["order"] == {"id": OTHER}


def test_callables_get_the_answered_request(records: CapturedRecords) -> None:
    """Any field, the event and the actor of all rules may be callables."""
    seen: list[Request] = []

    def remember(request: Request) -> str:
        seen.append(request)
        return "USR-0556-8733"

    rule = {
        "event": lambda request: f"order.{request.method.lower()}",
        "object": "{request.path_params.order_id}",
        "summary": "{request.method} by {request.headers[x-user]}",
    }
    app = AuditMiddleware(answering(204), routes={"* /orders/{order_id}": rule}, actor=remember)
    call(app, http(headers=[(b"x-user", b"ann {{x}}")]))
    assert records.one("order.post").summary == "POST by ann { {x}}"
    assert (seen[0].status, seen[0].error, seen[0].address) == (204, None, "192.0.2.1")


@pytest.mark.parametrize("started", [False, True])
def test_an_exception_passes_and_is_a_failure(records: CapturedRecords, started: bool) -> None:
    """The very exception goes on; what was answered before it keeps its one record."""
    error = ValueError("no stock")

    async def app(asgi: Any, receive: Any, send: Any) -> None:
        if started:
            await answering()(asgi, receive, send)
        raise error

    with pytest.raises(ValueError, match="no stock") as caught:
        call(AuditMiddleware(app, routes=ROUTES), http())
    assert caught.value is error
    if started:
        assert records.one().event.endswith("order.changed")
    else:
        outcome = records.one("order.refused").auditbox["outcome"]
        assert (outcome["status"], outcome["error"]) == ("failure", "ValueError: no stock")
        assert records.one().auditbox["request"]["status"] == 500


def test_a_cancelled_request(records: CapturedRecords) -> None:
    """A server that gives up on a client cancels: that passes, and is a failure."""
    started = asyncio.Event()

    async def app(asgi: Any, receive: Any, send: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.ensure_future(AuditMiddleware(app, routes=ROUTES)(http(), _receive, _receive))  # type: ignore[arg-type]
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert records.one("order.refused").auditbox["outcome"]["error"] == "CancelledError"


@pytest.mark.parametrize("status", [400, 500])
def test_an_answered_failure(records: CapturedRecords, status: int) -> None:
    """4xx and 5xx answers are recorded where the rule has an event for failures."""
    call(AuditMiddleware(answering(status), routes=ROUTES), http())
    assert records.one("order.refused").auditbox["outcome"]["status"] == "failure"


def test_resolvers_that_fail(records: CapturedRecords) -> None:
    """The request is served, the record is there with what is known and says what failed."""

    def broken(request: Request) -> Any:
        raise KeyError("tenant")

    rule = {**ROUTES["POST /orders/{order_id}"], "summary": broken, "actor": broken}
    sent = call(AuditMiddleware(answering(), routes={"POST /orders/{order_id}": rule}), http())
    assert sent[0]["status"] == 200
    unresolved = records.one("order.changed").auditbox["outcome"]["unresolved"]
    assert unresolved == {"summary": "KeyError: 'tenant'", "actor": "KeyError: 'tenant'"}


@pytest.mark.parametrize("where", ["routes", "event"])
def test_a_chooser_that_fails(records: CapturedRecords, caplog: pytest.LogCaptureFixture, where: str) -> None:
    """Without an event there is no record: the request is served and the log says what happened."""

    def broken(request: Request) -> Any:
        raise KeyError("tenant")

    options: Any = {"routes": broken} if where == "routes" else {"every": {"event": broken}}
    assert call(AuditMiddleware(answering(), **options), http())[0]["status"] == 200
    assert not records
    assert f"POST '/orders/{ORDER}' is not recorded" in caplog.text


@pytest.mark.parametrize("path", ["/orders/none", "/orders/\udcff", "/orders/\x00"])
def test_no_object(records: CapturedRecords, caplog: pytest.LogCaptureFixture, path: str) -> None:
    """A record without a usable object is kept all the same: the answer goes out, the log has an error."""
    assert call(AuditMiddleware(answering(), routes=ROUTES), http(path))[0]["status"] == 200
    about = records.one("order.changed").object
    assert about is not None
    assert about.id == ""
    assert "order.changed has no object" in caplog.text


def test_strange_requests(records: CapturedRecords) -> None:
    """No path, client, header or root that a server may hand over breaks anything."""
    strange = [
        http(f"/orders/{ORDER}", client=None, headers=[(b"user-agent", b"\xff\xfe")] * 3),
        http(f"/orders/{ORDER}", headers=[(b"x" * 2_000_000, b"y" * 2_000_000)], root_path="/elsewhere"),
        http(f"/v1/orders/{ORDER}", root_path="/v1", client=("unix:", None)),
    ]
    for asgi in strange:
        assert (
            call(AuditMiddleware(answering(), routes=ROUTES, trusted_proxies="*"), asgi)[0]["status"] == 200
        )
    assert len(records.all("order.changed")) == 3
    assert records[2].auditbox["request"]["route"] == "/v1/orders/{order_id}"


def test_lifespan_and_unknown_scopes_pass() -> None:
    """What is no request reaches the application as it is, and so do its messages the server."""
    seen: list[Any] = []

    async def app(asgi: Any, receive: Any, send: Any) -> None:
        seen.append((asgi, receive, current_scope()))
        await send({"type": "some.message"})

    async def send(message: Any) -> None:
        seen.append(message)

    for kind in ("lifespan", "some.scope"):
        seen.clear()
        asgi: dict[str, Any] = {"type": kind}
        asyncio.run(AuditMiddleware(app, every="http.changed")(asgi, _receive, send))  # type: ignore[arg-type]
        assert seen == [({"type": kind}, _receive, None), {"type": "some.message"}]


def test_websockets_pass_untouched(records: CapturedRecords) -> None:
    """A websocket gets the server's own receive and send, and a context of its own."""

    @audited("chat.opened", object=ORDER)
    def open_chat() -> None: ...

    async def app(asgi: Any, receive: Any, send: Any) -> None:
        assert (receive, send) == (_receive, _receive)
        bind(actor="USR-0556-8733")
        open_chat()

    asgi: dict[str, Any] = {"type": "websocket", "path": "/chat/7", "headers": [], "client": None}
    asyncio.run(AuditMiddleware(app, every="http.changed")(asgi, _receive, _receive))  # type: ignore[arg-type]
    record = records.one("chat.opened")
    assert record.auditbox["actor"] == {"id": "USR-0556-8733"}
    assert record.auditbox["request"] == {"method": "WEBSOCKET", "route": "/chat/7"}


@pytest.mark.parametrize(
    ("answers", "event", "status"),
    [
        ([{"type": "websocket.accept"}, {"type": "websocket.send", "text": "hi"}], "chat.opened", 101),
        ([{"type": "websocket.close", "code": 1008}], "chat.refused", 403),
        ([{"type": "websocket.http.response.start", "status": 401, "headers": []}], "chat.refused", 401),
        ([], "chat.refused", None),
    ],
)
def test_the_opening_of_a_websocket(
    records: CapturedRecords, answers: list[Message], event: str, status: int | None
) -> None:
    """A rule for WEBSOCKET records whether it was opened, before the client knows; ``every=`` never does."""

    async def app(asgi: Any, receive: Any, send: Any) -> None:
        for message in answers:
            await send(message)

    rule = {"event": "chat.opened", "failed": "chat.refused", "object": "{room}"}
    asgi: dict[str, Any] = {"type": "websocket", "path": f"/chat/{ORDER}", "headers": [], "client": None}
    options: Any = {"routes": {"WEBSOCKET /chat/{room}": rule}, "every": "http.changed"}
    assert call(AuditMiddleware(app, **options), asgi) == answers
    assert records.one().event.endswith(event)
    assert records.one().auditbox["request"].get("status") == status


def test_an_application_that_gives_no_answer(records: CapturedRecords) -> None:
    """Its server answers for it: a failure that says so."""

    async def app(asgi: Any, receive: Any, send: Any) -> None: ...

    call(AuditMiddleware(app, routes=ROUTES), http())
    assert records.one("order.refused").auditbox["outcome"]["error"] == "there was no answer"


def test_a_refused_websocket() -> None:
    """``fail_closed`` closes it before it is opened."""
    trail: Any = FailingTrail()
    rule = {"WEBSOCKET /chat/{room}": {"event": "chat.opened", "object": "{room}"}}
    asgi: dict[str, Any] = {"type": "websocket", "path": f"/chat/{ORDER}", "headers": [], "client": None}
    app = AuditMiddleware(answering(), routes=rule, trail=trail, fail_closed=True)
    assert call(app, asgi) == [{"type": "websocket.close", "code": 1013}]


def test_what_is_not_recorded_is_not_touched() -> None:
    """A request that no rule can concern gets the server's own receive and send."""
    seen: list[Any] = []

    async def app(asgi: Any, receive: Any, send: Any) -> None:
        seen.append((receive, send))

    asyncio.run(AuditMiddleware(app, routes=ROUTES)(http("/else"), _receive, _receive))  # type: ignore[arg-type]
    assert seen == [(_receive, _receive)]


def test_messages_pass_as_they_are(records: CapturedRecords) -> None:
    """Trailers, early hints, server push: messages are neither copied nor held back."""
    messages: list[Message] = [
        {"type": "http.response.early_hint", "links": []},
        {"type": "http.response.start", "status": 200, "headers": [], "trailers": True},
        {"type": "http.response.pathsend", "path": "/x"},
        {"type": "http.response.trailers", "headers": []},
    ]

    async def app(asgi: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    sent = call(AuditMiddleware(app, routes=ROUTES), http())
    assert all(given is got for given, got in zip(messages, sent, strict=True))
    assert len(records) == 1


# --- context


def test_a_request_begins_without_the_one_before() -> None:
    """A server may start a request from inside another one's context (keep-alive): nothing shows through."""
    known: list[Any] = []

    def look() -> None:
        current = current_scope()
        assert current is not None
        known.append([current.get(field) for field in ("actor", "object", "documents")])

    with audit_context(actor="SYSTEM"), Scope({"object": OTHER, "documents": {}}, is_request=True):
        bind(actor="USR-0000-0001")
        with audit_context(object=ORDER):
            call(AuditMiddleware(answering(before=look)), http())
    assert known == [["SYSTEM", None, None]]


def test_a_mounted_middleware_sees_the_outer_one(records: CapturedRecords) -> None:
    """Two middleware in one request: the inner one still knows who acts."""
    inner = AuditMiddleware(answering(before=lambda: bind(object=OTHER)), every="http.inner")

    async def outer(asgi: Any, receive: Any, send: Any) -> None:
        bind(actor="USR-0000-0001")
        await inner(asgi, receive, send)

    call(AuditMiddleware(outer, routes=ROUTES), http())
    assert records.one("http.inner").auditbox["actor"] == {"id": "USR-0000-0001"}
    assert records.one("order.changed").object.id == ORDER  # type: ignore[union-attr]


def test_answers_from_outside_the_context(records: CapturedRecords) -> None:
    """An application may answer from a task that never saw the request's context (WSGI in a thread)."""

    async def app(asgi: Any, receive: Any, send: Any) -> None:
        bind(actor="USR-0000-0001", object=OTHER)
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def elsewhere() -> None:
            asyncio.run_coroutine_threadsafe(answering()(asgi, receive, send), loop).result(30)
            loop.call_soon_threadsafe(done.set)

        threading.Thread(target=elsewhere).start()
        await done.wait()

    call(AuditMiddleware(app, every="http.changed"), http())
    record = records.one("http.changed")
    assert record.object is not None
    assert (record.object.id, record.auditbox["actor"]["id"]) == (OTHER, "USR-0000-0001")
    assert record.auditbox["request"]["status"] == 200


# --- storing


def test_after_the_action_nothing_fails() -> None:
    """What cannot be stored is handed to the trail's spill; the client gets the answer."""
    trail: Any = FailingTrail()
    assert call(AuditMiddleware(answering(), routes=ROUTES, trail=trail), http())[0]["status"] == 200
    assert trail.spilled == [("order.changed", ORDER)]


@pytest.mark.parametrize("by_trail", [False, True])
def test_fail_closed_does_not_act(by_trail: bool) -> None:
    """The application is not called; the client gets a problem that says so."""
    done: list[str] = []
    trail: Any = FailingTrail(fail_closed=by_trail)
    options: Any = {} if by_trail else {"fail_closed": True}
    app = AuditMiddleware(answering(before=lambda: done.append("x")), routes=ROUTES, trail=trail, **options)
    start, body = call(app, http())
    assert (start["status"], done) == (503, [])
    assert (b"content-type", b"application/problem+json") in start["headers"]
    assert b'"status": 503' in body["body"]
    # Requests that are not recorded are served.
    assert call(app, http("/else"))[0]["status"] == 200
    assert trail.spilled == []


def test_fail_closed_covers_what_is_recorded_inside() -> None:
    """The decorator's own check raises into the application, which answers as it does."""
    trail: Any = FailingTrail(fail_closed=True)

    @audited("order.approved", object=ORDER, trail=trail)
    def approve() -> None: ...

    with pytest.raises(OutboxFull):
        call(AuditMiddleware(answering(before=approve), trail=trail), http())


def test_an_outbox_that_cannot_be_made(tmp_path: Path) -> None:
    """A path that cannot hold a file: open it serves and keeps the record, closed it refuses."""
    (tmp_path / "file").write_text("")
    trail = AuditTrail(tmp_path / "file" / "audit.db", extension="shop")
    assert call(AuditMiddleware(answering(), routes=ROUTES, trail=trail), http())[0]["status"] == 200
    closed = AuditMiddleware(answering(), routes=ROUTES, trail=trail, fail_closed=True)
    assert call(closed, http())[0]["status"] == 503


def test_without_a_trail(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """No trail: served, and the log says what is lost; fail_closed refuses."""
    monkeypatch.setattr(defaults, "_default", None)
    assert call(AuditMiddleware(answering(), routes=ROUTES), http())[0]["status"] == 200
    assert "order.changed is lost" in caplog.text
    assert call(AuditMiddleware(answering(), routes=ROUTES, fail_closed=True), http())[0]["status"] == 503
