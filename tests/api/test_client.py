"""The typed client against the emulator, over real sockets."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from auditbox.api import AsyncAuditApi, AuditApi, F, Retries
from auditbox.emulator import Emulator
from auditbox.errors import (
    ApiConnectionError,
    ApiStatusError,
    AuthenticationError,
    ConfigurationError,
    NotFound,
    PermissionDenied,
    RateLimited,
    RecordError,
    ServerError,
    ValidationFailed,
)
from auditbox.records import AuditRecord
from tests.api.conftest import QUICK, TOKEN

ORDER = "ORD-1208-2301-8479"


def create(api: AuditApi, summary: str = "Order approved", **more: Any) -> AuditRecord:
    """A record of an order."""
    given = {"event": "extensions.shop.order.approved", "details": "{{order.id}}", "object": ORDER, **more}
    return api.records.create(summary=summary, **given)


def test_create_and_get(api: AuditApi) -> None:
    """A created record comes back typed, and is read again the same."""
    record = create(api, documents={"order": {"id": ORDER, "at": datetime(2026, 1, 1, tzinfo=UTC)}})
    assert record.object is not None
    assert (record.object.id, record.object.object_type) == (ORDER, "Order")
    assert record.timestamp is not None
    assert record.timestamp.tzinfo is not None
    assert record.documents == {"order": {"id": ORDER, "at": "2026-01-01T00:00:00Z"}}
    assert api.records.get(record.id) == record
    assert api.records.get(record.id, render=True).details == ORDER


def test_select(api: AuditApi) -> None:
    """Lists lack documents unless they are selected; parts can be left out, required ones too."""
    record = create(api, documents={"order": {"id": ORDER}})
    assert api.records.list().omitted == ("documents", "viewers")
    assert api.records.list().data[0].documents is None
    (found,) = api.records.list(select=["documents", "-actor", "-id"])
    assert (found.documents, found.actor, found.id) == (record.documents, None, "")
    assert api.records.get(record.id, select="-documents").documents is None


def test_filter(api: AuditApi) -> None:
    """A condition, RQL text and an object with RQL as its text find the same."""
    wanted = create(api, "50% & 'more' + #1")

    class Query:
        def __str__(self) -> str:
            return "eq(id,'" + wanted.id + "')"

    create(api, "something else")
    for condition in (
        F.summary == "50% & 'more' + #1",
        f"id='{wanted.id}'",
        Query(),
        F.summary.contains("& 'm"),
    ):
        assert [record.id for record in api.records.list(condition)] == [wanted.id]


def test_page(api: AuditApi) -> None:
    """A page says where it stands, with the limit that the server applied."""
    records = [create(api, str(number)) for number in range(3)]
    page = api.records.list(order="timestamp,id", limit=2, offset=1)
    assert (page.offset, page.limit, page.total, len(page)) == (1, 2, 3, 2)
    assert page.data[-1].id in {record.id for record in records}
    assert api.records.list(limit=1000).limit == 100
    empty = api.records.list(limit=0)
    assert (list(empty), empty.total) == ([], 3)


def test_event_types(api: AuditApi) -> None:
    """Event types are listed, read and renamed."""
    create(api)
    (found,) = api.event_types.list(F.key == "extensions.shop.order.approved")
    assert found.name == "Order approved"
    renamed = api.event_types.update(found.id, name="Approved", description="An order was approved")
    assert (renamed.name, renamed.key) == ("Approved", found.key)
    assert api.event_types.get(found.id) == renamed
    assert list(api.event_types.iterate()) == list(api.event_types.stream()) == [renamed]
    with pytest.raises(ConfigurationError):
        api.event_types.update(found.id)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event": "order.approved"}, "event"),
        ({"summary": ""}, "summary"),
        ({"details": None}, "details"),
        ({"object": {"name": "x"}}, "object.id"),
        ({"documents": {"x": object()}}, "documents"),
        ({"documents": [1]}, "documents"),
        ({"documents": {"x": float("nan")}}, "documents"),
        ({"documents": {"x": [{"y": float("inf")}]}}, "documents"),
    ],
)
def test_what_cannot_be_a_record(
    api: AuditApi, emulator: Emulator, changes: dict[str, Any], field: str
) -> None:
    """A wrong value is a RecordError that names the field, before anything is sent."""
    with pytest.raises(RecordError) as caught:
        create(api, **changes)
    assert caught.value.field == field
    assert emulator.requests() == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ValidationFailed),
        (401, AuthenticationError),
        (403, PermissionDenied),
        (404, NotFound),
        (405, ApiStatusError),
        (409, ValidationFailed),
        (413, ValidationFailed),
        (415, ValidationFailed),
        (422, ValidationFailed),
        (429, RateLimited),
        (500, ServerError),
        (501, ServerError),
        (504, ServerError),
        (302, ApiStatusError),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        {"title": "T", "detail": "D", "errors": {"summary": ["empty"]}, "traceId": "00-1-2-00"},
        {"title": "T", "detail": "D", "traceId": "00-1-2-00"},
        {"title": "T", "errors": [{"message": "no", "properties": ["a"]}], "traceId": "00-1-2-00"},
        {"statusCode": 404, "message": "Resource not found"},
        "upstream request timeout",
        "",
    ],
)
def test_errors_by_their_meaning(
    shared: tuple[Emulator, AuditApi], status: int, kind: type[ApiStatusError], body: Any
) -> None:
    """Each status is one class of error, with what its body says, whatever shape that has."""
    emulator, api = shared
    emulator.script({"action": "status", "status": status, "body": body, "retryAfter": 0})
    with pytest.raises(ApiStatusError) as caught:
        create(api)
    error = caught.value
    assert (type(error), error.status, error.retry_after) == (kind, status, 0)
    if isinstance(body, dict) and "title" in body:
        assert (error.title, error.detail, error.trace_id) == ("T", body.get("detail"), "00-1-2-00")
        assert error.errors == body.get("errors")
    assert str(error).startswith(str(status))


@pytest.fixture(scope="module")
def shared() -> Any:
    """An emulator and a client that many cases share."""
    from auditbox.emulator import running

    with running() as started, AuditApi(started.url, token=TOKEN, retries=QUICK) as client:
        yield started, client


def test_a_refusal_names_the_fields(api: AuditApi) -> None:
    """What the API itself says of a wrong filter and of a wrong object is there by field."""
    with pytest.raises(ValidationFailed) as caught:
        api.records.list("eq(nothing,'x')")
    assert caught.value.fields == {"nothing": ["Invalid property path."]}
    with pytest.raises(ValidationFailed) as caught:
        create(api, object={"id": "order 5"})
    assert list(caught.value.fields) == ["object.id"]


@pytest.mark.parametrize("action", ["truncated", "empty"])
def test_a_good_answer_without_a_record(api: AuditApi, emulator: Emulator, action: str) -> None:
    """A 201 whose body is no JSON object is an error, not a crash."""
    emulator.script({"action": action})
    with pytest.raises(ApiStatusError, match="no JSON object"):
        create(api)


def test_a_record_is_sent_once(api: AuditApi, emulator: Emulator) -> None:
    """A write is never repeated by itself, whatever happens to it."""
    for fault in ({"action": "drop"}, {"action": "status", "status": 503}, {"action": "reset"}):
        emulator.script(fault)
        with pytest.raises((ApiConnectionError, ServerError)):
            create(api)
    assert len(emulator.requests()) == 3
    assert emulator.health()["records"] == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"action": "reset"},
        {"action": "status", "status": 503},
        {"action": "status", "status": 429, "retryAfter": 0},
    ],
)
def test_a_read_is_repeated(api: AuditApi, emulator: Emulator, fault: dict[str, Any]) -> None:
    """A read that failed for a passing reason is tried again, and given up at last."""
    emulator.script({**fault, "count": 2})
    assert api.records.list().total == 0
    emulator.script(fault)
    with pytest.raises((ApiConnectionError, ApiStatusError)):
        api.records.list()
    assert len(emulator.requests()) == 6


def test_a_long_wait_is_an_error(api: AuditApi, emulator: Emulator) -> None:
    """Where the server asks for a longer wait than is good for a read, the caller is told at once."""
    emulator.script({"action": "status", "status": 429, "retryAfter": 3600})
    with pytest.raises(RateLimited) as caught:
        api.records.list()
    assert caught.value.retry_after == 3600


def test_no_redirect_is_followed(api: AuditApi, emulator: Emulator) -> None:
    """The token is not carried elsewhere by a redirect."""
    elsewhere = {"Location": f"{emulator.url}/public/v1/audit/records"}
    emulator.script({"action": "status", "status": 302, "headers": elsewhere, "count": 1})
    with pytest.raises(ApiStatusError):
        api.records.list()
    assert len(emulator.requests()) == 1


@pytest.mark.parametrize("id", ["", ".", "..", None, 5])
def test_what_is_no_id(api: AuditApi, emulator: Emulator, id: Any) -> None:
    """It is an error before anything is sent: dots would be another path, nothing at all the list."""
    for attempt in (api.records.get, api.event_types.get, partial(api.event_types.update, name="N")):
        with pytest.raises(ConfigurationError, match="no id"):
            attempt(id)
    assert emulator.requests() == []


@pytest.mark.parametrize(
    "answer", [{"message": "ok"}, {}, {"id": 5}, {"id": None, "event": "extensions.a.b"}]
)
def test_a_good_answer_of_something_else(api: AuditApi, emulator: Emulator, answer: dict[str, Any]) -> None:
    """JSON without an id is no record and no event type, whoever answers it with a good status."""
    emulator.script({"action": "status", "status": 200, "body": answer})
    for attempt in (
        lambda: create(api),
        lambda: api.records.get("AUD-0000-0000-0000-0001"),
        lambda: api.event_types.get("AET-0000-0001"),
        lambda: api.event_types.update("AET-0000-0001", name="N"),
    ):
        with pytest.raises(ApiStatusError, match="the answer is no "):
            attempt()


def test_a_hanging_server(emulator: Emulator) -> None:
    """A server that does not answer is an ApiConnectionError after the timeout."""
    emulator.script({"action": "hang"})
    with (
        AuditApi(emulator.url, token=TOKEN, timeout=0.2) as api,
        pytest.raises(ApiConnectionError, match="in time"),
    ):
        create(api)


def test_every_phase_has_the_timeout() -> None:
    """Connecting, sending, reading, and waiting for a connection."""
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"])
        return httpx.Response(200, json={"data": []})

    with AuditApi("http://127.0.0.1:1", token=TOKEN, timeout=7, transport=httpx.MockTransport(answer)) as api:
        list(api.records.iterate())
        list(api.records.stream())
    assert seen
    assert all(phases == dict.fromkeys(("connect", "read", "write", "pool"), 7) for phases in seen)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nContent-Length: 1000\r\n"
STREAM = HEAD + b"MPT-Streaming: true\r\nMPT-Item-Count: 2\r\n\r\n" + b'{"id": "1", "event": "e"}\n{"id'


@pytest.mark.parametrize(
    ("sent", "attempt"),
    [
        (b"", lambda api: create(api, documents={"a": "x" * 20_000_000})),  # its buffers fill up
        (b"HTTP/1.1 200 OK\r\n", lambda api: api.records.list()),
        (HEAD + b'\r\n{"data": [', lambda api: api.records.list()),
        (STREAM, lambda api: list(api.records.stream())),
    ],
)
def test_a_server_that_falls_silent(sent: bytes, attempt: Callable[[AuditApi], object]) -> None:
    """While it should read, in its head, its body or a stream: an ApiConnectionError after the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                if sent:
                    connection.recv(65536)
                    connection.sendall(sent)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with (
            AuditApi(url, token=TOKEN, timeout=0.3, retries=Retries(attempts=1)) as api,
            pytest.raises(ApiConnectionError, match="in time"),
        ):
            attempt(api)
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    for connection in held:
        connection.close()


def test_a_refused_connection(emulator: Emulator) -> None:
    """Nobody there is an ApiConnectionError that says where, and not with which token."""
    emulator.stop()
    with AuditApi(emulator.url, token=TOKEN) as api, pytest.raises(ApiConnectionError) as caught:
        create(api)
    assert str(caught.value) == f"127.0.0.1:{emulator.port} gave no answer (ConnectError)"


def test_a_renewed_token(emulator: Emulator, tmp_path: Path) -> None:
    """After a 401 a file is read again, and the request, a write too, is sent with the newer token."""
    file = tmp_path / "token"
    file.write_text("expired")
    with AuditApi(emulator.url, token=file) as api:
        with pytest.raises(AuthenticationError):
            create(api)
        file.write_text(TOKEN)
        assert create(api).id
    assert [request["status"] for request in emulator.requests()] == [401, 401, 201]


def test_nothing_leaks_from_the_environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the environment are not used."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with AuditApi(emulator.url, token=TOKEN) as api:
        assert api.records.list().total == 0
        assert "secret" not in repr(api)


def test_the_awaiting_client(emulator: Emulator, api: AuditApi) -> None:
    """The async client does the same: results, rows, errors, and a token from a blocking callable."""

    async def use() -> None:
        async with AsyncAuditApi(emulator.url, token=lambda: TOKEN, retries=QUICK) as awaiting:
            made = await awaiting.records.create(
                event="extensions.shop.a", summary="s", details="d", object={"id": ORDER}
            )
            assert await awaiting.records.get(made.id) == api.records.get(made.id)
            assert (await awaiting.records.list()).total == 1
            assert [row.id async for row in awaiting.records.iterate()] == [made.id]
            assert [row.id async for row in awaiting.records.stream()] == [made.id]
            (kind,) = (await awaiting.event_types.list()).data
            assert (await awaiting.event_types.update(kind.id, name="N")).name == "N"
            with pytest.raises(NotFound):
                await awaiting.records.get("AUD-0000-0000-0000-0000")
            await asyncio.to_thread(emulator.script, {"action": "reset", "count": 2})
            assert (await awaiting.records.list()).total == 1

    asyncio.run(use())


def test_an_abandoned_stream(emulator: Emulator) -> None:
    """A stream that is left half read gives its connection back: there is always one for the next request."""
    with AuditApi(emulator.url, token=TOKEN, timeout=2, retries=Retries(attempts=1)) as api:
        for number in range(3):
            create(api, str(number))
        for _ in range(101):  # one more than the client has connections
            rows = api.records.stream()
            next(rows)
            rows.close()  # type: ignore[attr-defined]
        assert api.records.list().total == 3


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), None, "5", True])
def test_a_wrong_timeout(timeout: Any) -> None:
    """A timeout that is no time at all is refused."""
    with pytest.raises(ConfigurationError):
        AuditApi("https://api.s1.show", token=TOKEN, timeout=timeout)


def test_the_package_is_light() -> None:
    """What the sinks need of this package imports neither the HTTP client nor a web framework."""
    code = (
        "import sys, auditbox.api.address, auditbox.api.tokens, auditbox.api.problems; "
        "sys.exit(any(name in sys.modules for name in ('httpx', 'fastapi')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
