"""AuditMiddleware in Django: what is recorded of a request, and what the application notices (nothing)."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.exceptions import ImproperlyConfigured
from django.http import FileResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings

from auditbox.capture.asgi import AuditMiddleware as AsgiMiddleware
from auditbox.context import audit_context, bind, current_scope
from auditbox.errors import OutboxFull
from auditbox.integrations.django import AuditMiddleware
from auditbox.testing import CapturedRecords
from auditbox.trail import AuditTrail

from .conftest import MIDDLEWARE, Configure

pytestmark = pytest.mark.usefixtures("database", "log_handler")
ORDER = "ORD-1208-2301-8479"
RULE = {"event": "order.changed", "failed": "order.refused", "object": "{order}"}


def apost(path: str, **more: Any) -> Any:
    """A request to the project's ASGI application."""
    return asyncio.run(AsyncClient(raise_request_exception=False).post(path, **more))


def post(path: str, **more: Any) -> Any:
    """A request to the project's WSGI application."""
    return Client(raise_request_exception=False).post(path, **more)


Post = Callable[..., Any]
BOTH = pytest.mark.parametrize("send", [post, apost], ids=["wsgi", "asgi"])


@BOTH
def test_a_request_on_record(audit: Configure, records: CapturedRecords, send: Post) -> None:
    """Method, route, status, duration, bytes, address and id; once, by the rule that fits."""
    audit(ROUTES={"POST /plain/{order}/": RULE})
    assert send(f"/plain/{ORDER}/", headers={"x-request-id": "r-1"}).status_code == 200
    assert Client().get(f"/plain/{ORDER}/").status_code == 200
    record = records.one("order.changed")
    assert record.object is not None
    assert record.object.id == ORDER
    request, outcome = record.auditbox["request"], record.auditbox["outcome"]
    assert request.pop("durationMs") >= 0
    assert request == {
        "id": "r-1", "method": "POST", "route": "/plain/{order}/", "status": 200, "address": "127.0.0.1",
    }  # fmt: skip
    assert outcome["status"] == "success"
    assert outcome["bytesOut"] == len(ORDER)
    assert [record.event.rpartition(".")[2] for record in records] == ["touched", "changed", "touched"]


@pytest.mark.parametrize(
    ("path", "route", "key"),
    [
        (f"/tenants/acme/old/{ORDER}/", "/tenants/{tenant}/old/{order}/", "POST /tenants/{t}/old/{order}/"),
        (f"/files/{ORDER}/a/b/c", "/files/{order}/{rest:path}", "POST /files/{order}/{rest:path}"),
        ("/pair/a/b/", "/pair/{var1}/{var2}/", "POST /pair/{one}/{two}/"),
        (f"/plain/{ORDER}/", "/plain/{order}/", "POST /plain/<str:order>/"),
    ],
)
def test_routes_of_every_kind(
    audit: Configure, records: CapturedRecords, path: str, route: str, key: str
) -> None:
    """Included patterns, regular expressions, unnamed groups; rules in Django's own spelling."""
    audit(
        ROUTES={key: {"event": "order.changed", "object": ORDER}},
        EVERY={"event": "http.other", "object": ORDER},
    )
    assert post(path).status_code == 200
    named = records.one("order.changed").auditbox["request"]["route"]
    audit(EVERY={"event": "http.other", "object": ORDER})
    assert post(path).status_code == 200
    assert records.one("http.other").auditbox["request"]["route"] == route
    assert "{" in named


def test_a_router_of_rest_framework(audit: Configure, records: CapturedRecords) -> None:
    """Its routes are regular expressions behind an include."""
    audit(ROUTES={"DELETE /router/orders/{pk}/": {"event": "order.deleted", "object": "{pk}"}})
    assert Client().delete(f"/router/orders/{ORDER}/").status_code == 204
    record = records.one("order.deleted")
    assert record.object is not None
    assert record.object.id == ORDER
    assert record.auditbox["request"]["route"] == "/router/orders/{pk}/"


@BOTH
@pytest.mark.parametrize(
    ("how", "status", "error"),
    [
        ("409", 409, None),
        ("forbid", 403, "PermissionDenied: not yours"),
        ("break", 500, "ValueError: no stock"),
    ],
)
def test_failures(
    audit: Configure, records: CapturedRecords, send: Post, how: str, status: int, error: str | None
) -> None:
    """An answer of 400 and more is a failure; what the view raised is named."""
    audit(ROUTES={"POST /fail/{order}/{how}/": RULE})
    assert send(f"/fail/{ORDER}/{how}/").status_code == status
    record = records.one("order.refused")
    assert record.auditbox["request"]["status"] == status
    assert record.auditbox["outcome"].get("error") == error
    assert record.auditbox["outcome"]["status"] == "failure"


def test_exceptions_that_django_lets_through(audit: Configure, records: CapturedRecords) -> None:
    """With DEBUG_PROPAGATE_EXCEPTIONS the exception is recorded and reaches the server unchanged."""
    audit(ROUTES={"POST /fail/{order}/{how}/": RULE})
    with override_settings(DEBUG_PROPAGATE_EXCEPTIONS=True), pytest.raises(ValueError, match="no stock"):
        Client().post(f"/fail/{ORDER}/break/")
    assert records.one("order.refused").auditbox["outcome"]["error"] == "ValueError: no stock"


def test_unknown_paths_and_redirects(audit: Configure, records: CapturedRecords) -> None:
    """A 404 is no action, a redirect after a form is one."""
    audit(EVERY={"event": "order.changed", "object": ORDER})
    assert post("/nowhere/").status_code == 404
    assert post(f"/redirect/{ORDER}/").status_code == 302
    assert records.one().auditbox["request"]["status"] == 302


@pytest.mark.parametrize(("send", "view"), [(post, "stream"), (apost, "astream")])
def test_a_stream(audit: Configure, records: CapturedRecords, send: Post, view: str) -> None:
    """Recorded before its first part; each part is made in the request's context."""
    audit(ROUTES={f"POST /{view}/{{order}}/": RULE})
    answer = send(f"/{view}/{ORDER}/", headers={"x-request-id": "r-1"})
    assert [record.event.rpartition(".")[2] for record in records] == ["changed"]

    async def read() -> bytes:
        return b"".join([part async for part in answer.streaming_content])

    body = asyncio.run(read()) if answer.is_async else b"".join(answer.streaming_content)
    assert body == b"012"
    assert [record.auditbox["request"]["id"] for record in records] == ["r-1"] * 4
    assert current_scope() is None


def test_a_stream_that_is_torn_or_left(audit: Configure, records: CapturedRecords) -> None:
    """A rule for whole answers (``at``: ``end``) tells how it ended; the exception reaches the server."""
    audit(ROUTES={"POST /stream/{order}/": {**RULE, "at": "end"}})
    torn = post(f"/stream/{ORDER}/?break=1")
    with pytest.raises(ValueError, match="torn"):
        b"".join(torn.streaming_content)
    left = post(f"/stream/{ORDER}/")
    next(iter(left.streaming_content))
    left.close()
    whole = post(f"/stream/{ORDER}/")
    assert b"".join(whole.streaming_content) == b"012"
    first, second, third = (
        record.auditbox["outcome"] for record in records if not record.event.endswith("touched")
    )
    assert (first["status"], first["error"]) == ("failure", "ValueError: torn")
    assert second["status"] == "failure"
    assert (third["status"], third["bytesOut"]) == ("success", 3)


def test_a_file_is_left_to_the_server(audit: Configure, records: CapturedRecords) -> None:
    """``wsgi.file_wrapper`` still gets the file itself."""
    audit(ROUTES={"GET /file/{order}/": RULE})
    request = RequestFactory().get(f"/file/{ORDER}/")
    answer = AuditMiddleware(lambda request: FileResponse(io.BytesIO(b"content")))(request)
    assert answer.file_to_stream is not None
    assert b"".join(answer.streaming_content) == b"content"
    answer.close()
    assert records.one("order.changed").auditbox["outcome"]["bytesOut"] == len("content")


@BOTH
def test_bodies_on_request(audit: Configure, records: CapturedRecords, send: Post) -> None:
    """Bounded and redacted; the view reads its body as ever."""
    audit(ROUTES={"POST /body/{order}/": {**RULE, "request_body": 1000, "response_body": 1000}})
    given = '{"status": "new", "password": "s3cret"}'
    assert send(f"/body/{ORDER}/", data=given, content_type="application/json").json() == {"read": len(given)}
    large = '{"note": "' + "x" * 2000 + '"}'
    assert send(f"/body/{ORDER}/", data=large, content_type="application/json").json() == {"read": len(large)}
    small, cut = (record.documents or {} for record in records)
    assert small["requestBody"]["content"]["status"] == "new"
    assert "s3cret" not in str(small)
    assert small["responseBody"]["content"] == {"read": len(given)}
    assert "content" not in cut["requestBody"]


def test_strange_requests(audit: Configure, records: CapturedRecords) -> None:
    """Invalid UTF-8, forged and enormous headers: served, and recorded with what is known."""
    audit(EVERY={"event": "order.changed", "object": ORDER})
    headers = {"HTTP_X_FORWARDED_FOR": "6.6.6.6", "HTTP_USER_AGENT": "x" * 2_000_000}
    assert Client().post("/files/ORD-1/%ff%fe/", **headers).status_code == 200
    request = records.one().auditbox["request"]
    assert request["address"] == "127.0.0.1"
    assert request["route"] == "/files/{order}/{rest:path}"


def test_behind_a_proxy_and_a_prefix(audit: Configure, records: CapturedRecords) -> None:
    """The address that a trusted proxy names; the server's own prefix is part of the route."""
    audit(EVERY={"event": "order.changed", "object": ORDER}, TRUSTED_PROXIES=["127.0.0.1"])
    Client().post(f"/plain/{ORDER}/", HTTP_X_FORWARDED_FOR="192.0.2.7", SCRIPT_NAME="/shop")
    request = records.one("order.changed").auditbox["request"]
    assert request["address"] == "192.0.2.7"
    assert request["route"] == "/shop/plain/{order}/"


@BOTH
def test_a_resolver_that_fails(audit: Configure, records: CapturedRecords, send: Post) -> None:
    """The request is served; the record says what failed."""

    def broken(request: Any) -> str:
        raise KeyError("nothing there")

    rule = {
        "event": "order.changed",
        "object": ORDER,
        "summary": broken,
        "documents": {"user": "{request.django.path}"},
    }
    audit(ROUTES={"POST /plain/{order}/": rule})
    assert send(f"/plain/{ORDER}/").status_code == 200
    record = records.one("order.changed")
    assert "nothing there" in record.auditbox["outcome"]["unresolved"]["summary"]
    assert record.documents is not None
    assert record.documents["user"] == f"/plain/{ORDER}/"


@BOTH
def test_fail_closed(
    audit: Configure, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch, records: CapturedRecords, send: Post
) -> None:
    """A request that would be recorded is refused where it could not be; the view does not run."""

    def full() -> None:
        raise OutboxFull

    monkeypatch.setattr(trail, "fail_closed", True)
    monkeypatch.setattr(trail, "ready", full)
    audit(ROUTES={"POST /plain/{order}/": RULE})
    answer = send(f"/plain/{ORDER}/")
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert not records


def test_inside_our_asgi_middleware(audit: Configure, records: CapturedRecords, trail: AuditTrail) -> None:
    """What an application around Django has bound stays."""
    from django.core.asgi import get_asgi_application

    audit()
    inner = get_asgi_application()

    async def binding(scope: Any, receive: Any, send: Any) -> None:
        bind(actor="USR-0001")
        await inner(scope, receive, send)

    async def request() -> None:
        body = [{"type": "http.request", "body": b"", "more_body": False}]
        scope = {
            "type": "http", "method": "POST", "path": f"/plain/{ORDER}/", "headers": [], "query_string": b"",
            "client": ("192.0.2.1", 1), "server": ("x", 80), "scheme": "http",
        }  # fmt: skip
        waiting = asyncio.get_running_loop().create_future()

        async def receive() -> Any:
            return body.pop() if body else await waiting

        async def send(message: Any) -> None:
            pass

        await AsgiMiddleware(binding, trail=trail)(scope, receive, send)

    asyncio.run(request())
    assert records.one("order.touched").auditbox["actor"] == {"id": "USR-0001"}


def test_middleware_around_django_knows_who_acts(
    audit: Configure, records: CapturedRecords, trail: AuditTrail
) -> None:
    """Our ASGI middleware outside, Django's inside without rules: the outer record has the view's actor."""
    from django.core.asgi import get_asgi_application

    audit(ACTOR=lambda request: "USR-0556-8733")
    every = {"event": "http.changed", "object": ORDER}
    outer = AsgiMiddleware(get_asgi_application(), trail=trail, every=every)

    async def request() -> None:
        communicator = ApplicationCommunicator(
            outer,
            {
                "type": "http", "method": "POST", "path": f"/plain/{ORDER}/", "query_string": b"",
                "headers": [(b"x-request-id", b"r")], "client": ("192.0.2.1", 1), "server": ("x", 80),
                "scheme": "http",
            },
        )  # fmt: skip
        await communicator.send_input({"type": "http.request", "body": b"", "more_body": False})
        assert (await communicator.receive_output(60))["status"] == 200

    asyncio.run(request())
    own = records.one("http.changed").auditbox
    assert (own["actor"], own["request"]["id"]) == ({"id": "USR-0556-8733"}, "r")


def test_an_outer_context_shows_through(audit: Configure, records: CapturedRecords) -> None:
    """A test, or a command, that runs a request inside ``audit_context``."""
    audit()
    with audit_context(actor="USR-0001"):
        post(f"/plain/{ORDER}/")
    assert records.one().auditbox["actor"] == {"id": "USR-0001"}


def test_between_middleware_of_one_kind(audit: Configure, records: CapturedRecords) -> None:
    """Behind and before middleware that is sync only, under WSGI and ASGI."""
    audit(ROUTES={"POST /coroutine/{order}/": RULE})
    sync_only = f"{__name__}.sync_only"
    for middleware in ([sync_only, *MIDDLEWARE], [*MIDDLEWARE, sync_only]):
        with override_settings(MIDDLEWARE=middleware):
            for send in (post, apost):
                assert send(f"/coroutine/{ORDER}/").status_code == 200
    assert len(records.all("order.changed")) == 4


def sync_only(get_response: Any) -> Any:
    """Middleware as it was before Django had async."""

    def middleware(request: Any) -> Any:
        return get_response(request)

    return middleware


def test_what_cannot_work_is_found_at_the_start(audit: Configure) -> None:
    """A wrong rule, an unknown key, an application that is missing: nothing is served unaudited."""
    for wrong in ({"ROUTES": {"orders": "order.changed"}}, {"ROUTE": {}}, {"EVERY": {"evnt": "x"}}):
        audit(**wrong)
        with pytest.raises(ImproperlyConfigured):
            AuditMiddleware(lambda request: None)
    audit()
    with override_settings(INSTALLED_APPS=[]), pytest.raises(ImproperlyConfigured, match="INSTALLED_APPS"):
        AuditMiddleware(lambda request: None)


def test_nothing_is_left_in_the_thread(audit: Configure, records: CapturedRecords) -> None:
    """After a request the worker's thread knows nothing of it."""
    audit()
    request = RequestFactory().post(f"/plain/{ORDER}/")

    def answer(request: Any) -> Any:
        from django.http import HttpResponse

        bind(actor="USR-0001")
        return HttpResponse()

    AuditMiddleware(answer)(request)
    assert current_scope() is None
