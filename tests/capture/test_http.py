"""What the middleware promises whatever carries the request: each test runs under ASGI and under WSGI."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditbox import default as defaults
from auditbox.capture.decorator import audited
from auditbox.capture.request import Request
from auditbox.context import bind, current_scope
from auditbox.errors import ConfigurationError
from auditbox.testing import CapturedRecords
from auditbox.trail import AuditTrail

from .carriers import Reply, Seen, by_asgi, by_wsgi
from .conftest import ORDER, OTHER
from .test_decorator import FailingTrail

Serve = Callable[..., Seen]
PATH = f"/orders/{ORDER}"
RULE = {"event": "order.changed", "object": "{order_id}", "failed": "order.refused"}
ROUTES = {"POST /orders/{order_id}": RULE}


@pytest.fixture(autouse=True)
def _default(trail: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "_default", trail)


@pytest.fixture(params=[by_asgi, by_wsgi], ids=["asgi", "wsgi"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """Serves one request with a view."""
    served: Serve = request.param
    return served


def answer(*parts: bytes, status: int = 200, **headers: str) -> Callable[[bytes], Reply]:
    """A view that answers so."""
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return lambda body: Reply(status, parts or (b"done",), named)


def test_what_a_record_says(serve: Serve, records: CapturedRecords) -> None:
    """Who, what, where from, how it ended and how much went out, before the first byte leaves."""
    there: list[int] = []
    seen = serve(
        answer(content_length="4"),
        path=PATH,
        headers={"user-agent": "curl", "mpt-task-id": "TSK-1"},
        on_part=lambda: there.append(len(records)),
        routes=ROUTES,
    )
    assert (seen.status, seen.body, there) == (200, b"done", [1])
    own = records.one("order.changed").auditbox
    assert own["request"].pop("durationMs") >= 0
    assert own["request"] == {
        "id": "TSK-1",
        "method": "POST",
        "route": "/orders/{order_id}",
        "status": 200,
        "address": "192.0.2.1",
        "userAgent": "curl",
    }
    assert own["outcome"].pop("durationMs") >= 0
    assert own["outcome"] == {"status": "success", "bytesOut": 4}


def test_rules_as_flask_and_django_write_them(serve: Serve, records: CapturedRecords) -> None:
    """``<int:order_id>`` is a parameter like ``{order_id}``."""
    routes = {
        "POST /orders/<order_id>": RULE,
        "POST /files/<path:rest>": {"event": "file.kept", "object": ORDER, "summary": "{rest}"},
    }
    serve(answer(), path=PATH, routes=routes)
    serve(answer(), path="/files/a/b", routes=routes)
    assert records.one("order.changed").auditbox["request"]["route"] == "/orders/{order_id}"
    assert records.one("file.kept").summary == "a/b"


def test_what_is_never_recorded(serve: Serve, records: CapturedRecords) -> None:
    """None in place of a rule takes a path out of a wider rule and out of ``every=``."""
    routes = {"POST /orders/{order_id}": RULE, "POST /orders/export": None}
    serve(answer(), path="/orders/export", routes=routes, every={"event": "http.changed", "object": OTHER})
    assert not records
    serve(answer(), path=PATH, routes=routes)
    assert len(records) == 1


def test_an_exception_is_recorded_and_passes(serve: Serve, records: CapturedRecords) -> None:
    """The very exception goes on to the server; the record says what it was."""
    error = ValueError("no stock")

    def view(body: bytes) -> Reply:
        raise error

    with pytest.raises(ValueError, match="no stock") as caught:
        serve(view, path=PATH, routes=ROUTES)
    assert caught.value is error
    own = records.one("order.refused").auditbox
    assert own["outcome"]["error"] == "ValueError: no stock"
    assert own["request"]["status"] == 500


def test_the_context_of_what_is_captured_inside(serve: Serve, records: CapturedRecords) -> None:
    """In the view and in the parts of a stream; afterwards nothing is left."""

    @audited("order.touched", object=ORDER)
    def touch() -> None: ...

    def parts() -> Iterator[bytes]:
        touch()
        bind(object=OTHER)
        yield b"1"
        touch()
        yield b"2"

    def view(body: bytes) -> Reply:
        bind(actor="USR-0556-8733")
        touch()
        return Reply(parts=parts())

    assert serve(view, path=PATH, every="http.changed").body == b"12"
    assert current_scope() is None
    assert len(records.all("order.touched")) == 3
    assert {record.auditbox["actor"]["id"] for record in records} == {"USR-0556-8733"}
    assert {record.auditbox["request"]["route"] for record in records} == {PATH}


def test_what_a_view_says_of_its_request(serve: Serve, records: CapturedRecords) -> None:
    """An application with an id of its own binds it; the rest is known as ever."""

    def view(body: bytes) -> Reply:
        bind(request={"id": "mine"})
        return Reply()

    serve(view, path=PATH, routes=ROUTES)
    request = records.one().auditbox["request"]
    assert (request["id"], request["route"], request["status"]) == ("mine", "/orders/{order_id}", 200)


def test_nothing_of_a_request_is_left_for_the_next(serve: Serve, records: CapturedRecords) -> None:
    """The next request of the same thread has neither actor nor object nor documents, even after a leak."""

    def first(body: bytes) -> Reply:
        from auditbox.context import audit_context

        bind(actor="USR-0000-0001", documents={"secret": {"a": 1}})
        audit_context(object=OTHER).__enter__()  # never closed
        return Reply()

    serve(first, path=PATH, every={"event": "http.changed", "object": ORDER})
    assert current_scope() is None
    serve(answer(), path=PATH, every={"event": "http.changed", "object": ORDER})
    _, second = records
    assert "actor" not in second.auditbox
    assert set(second.documents or ()) == {"auditbox"}


@pytest.mark.parametrize("inner", ["recording", "binding"])
def test_one_middleware_inside_another(serve: Serve, records: CapturedRecords, inner: str) -> None:
    """What the application binds is known to the outer one too, also of a stream; each has its own route."""
    options: dict[str, Any] = {"every": {"event": "http.inner"}} if inner == "recording" else {}

    def parts() -> Iterator[bytes]:
        bind(documents={"order": {"id": OTHER}})
        yield b"1"

    def view(body: bytes) -> Reply:
        bind(actor="USR-0556-8733", object=OTHER, request={"id": "mine"})
        return Reply(parts=parts())

    serve(view, path=PATH, inside=options, every={"event": "http.outer", "at": "end"})
    record = records.one("http.outer")
    assert record.object is not None
    assert (record.object.id, record.auditbox["actor"]["id"]) == (OTHER, "USR-0556-8733")
    assert (record.auditbox["request"]["id"], record.auditbox["request"]["status"]) == ("mine", 200)
    assert (record.documents or {})["order"] == {"id": OTHER}
    assert record.auditbox["request"]["route"] == PATH
    assert len(records.all("http.inner")) == (inner == "recording")
    assert current_scope() is None


# --- how much is sent, and when the record is made


@pytest.mark.parametrize(
    ("method", "view", "bytes_out"),
    [
        ("POST", answer(b"12", b"345", content_length="5"), 5),
        ("POST", answer(b"12", b"345"), None),
        ("HEAD", answer(b"", content_length="5"), 0),
        ("POST", answer(b"", status=204), 0),
    ],
)
def test_bytes_out_as_they_are_announced(
    serve: Serve, records: CapturedRecords, method: str, view: Any, bytes_out: int | None
) -> None:
    """A record that is made before the first byte knows the Content-Length; a stream's is unknown."""
    serve(view, method=method, path=PATH, routes={"* /orders/{order_id}": RULE})
    assert records.one("order.changed").auditbox["outcome"].get("bytesOut") == bytes_out


def test_at_the_end_all_is_known(serve: Serve, records: CapturedRecords) -> None:
    """``"at": "end"`` counts what was sent, and records before the client has the end."""
    there: list[int] = []
    routes = {"POST /orders/{order_id}": {**RULE, "at": "end"}}
    view = answer(b"12", b"345")
    serve(view, path=PATH, routes=routes, on_part=lambda: there.append(len(records)))
    assert there == [0, 0]
    assert records.one("order.changed").auditbox["outcome"]["bytesOut"] == 5


@pytest.mark.parametrize("failed", [True, False])
def test_a_stream_that_breaks_off(serve: Serve, records: CapturedRecords, failed: bool) -> None:
    """At the end it is a failure, of the event of failures if there is one: a part has gone out."""
    rule = {**RULE, "at": "end", "failed": "order.refused" if failed else None}

    def parts() -> Iterator[bytes]:
        yield b"12"
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        serve(lambda body: Reply(parts=parts()), path=PATH, routes={"POST /orders/{order_id}": rule})
    outcome = records.one("order.refused" if failed else "order.changed").auditbox["outcome"]
    assert outcome.pop("durationMs") >= 0
    assert outcome == {"status": "failure", "error": "OSError: disk", "bytesOut": 2}


def test_a_client_that_goes_away(serve: Serve, records: CapturedRecords) -> None:
    """Recorded once, as begun or as broken off; what was sent until then is counted."""
    for at in ("start", "end"):
        rule = {**RULE, "at": at}
        serve(answer(b"12", b"345"), path=PATH, gone_after=1, routes={"POST /orders/{order_id}": rule})
    assert records.one("order.changed").auditbox["outcome"]["status"] == "success"
    outcome = records.one("order.refused").auditbox["outcome"]
    assert (outcome["status"], outcome["error"]) == ("failure", "the answer broke off")


# --- bodies


@pytest.mark.parametrize(
    ("kind", "body", "content"),
    [
        ("application/json", b'{"note": "x", "password": "geheim"}', {"note": "x", "password": "[redacted]"}),
        ("application/problem+json; charset=utf-8", b"[1]", [1]),
        ("application/x-www-form-urlencoded", b"a=1&a=2&token=x", {"a": ["1", "2"], "token": "[redacted]"}),
        ("text/plain", b"password=geheim", "password=[redacted]"),
    ],
)  # fmt: skip
def test_bodies_are_kept_on_request(
    serve: Serve, records: CapturedRecords, kind: str, body: bytes, content: Any
) -> None:
    """Both ways, in a form whose secrets can be masked; application and client see them as they are."""
    got: list[bytes] = []

    def view(read: bytes) -> Reply:
        got.append(read)
        return Reply(headers=[("content-type", kind)], parts=[body])

    rule = {**RULE, "request_body": True, "response_body": True}
    routes = {"POST /orders/{order_id}": rule}
    headers = {"content-type": kind, "content-length": str(len(body))}
    seen = serve(view, path=PATH, headers=headers, body=body, routes=routes)
    assert (got, seen.body) == ([body], body)
    documents = records.one("order.changed").documents or {}
    plain = kind.partition(";")[0]
    expected = {"contentType": plain, "bytes": len(body), "content": content}
    assert (documents["requestBody"], documents["responseBody"]) == (expected, expected)


@pytest.mark.parametrize(
    ("kind", "body", "omitted"),
    [
        ("application/json", b'{"password": "' + b"x" * 100, "more than 50 bytes"),
        ("application/json", b'{"password": "geheim', "not readable: JSONDecodeError"),
        ("application/json", b"[" * 50, "not readable: "),
        ("text/plain", b"\xff", "not readable: UnicodeDecodeError"),
        ("image/png", b"\x89PNG", "not readable: ValueError"),
    ],
)
def test_bodies_that_are_not_kept(
    serve: Serve, records: CapturedRecords, kind: str, body: bytes, omitted: str
) -> None:
    """What is too large or cannot be redacted is named by its size: never a part of it."""
    routes = {"POST /orders/{order_id}": {**RULE, "request_body": 50, "response_body": 50}}
    headers = {"content-type": kind, "content-length": str(len(body))}
    serve(answer(body, content_type=kind), path=PATH, headers=headers, body=body, routes=routes)
    documents = records.one("order.changed").documents or {}
    for name in ("requestBody", "responseBody"):
        assert documents[name]["bytes"] == len(body)
        assert documents[name]["omitted"].startswith(omitted)
        assert "content" not in documents[name]


def test_without_a_request_no_body_is_kept(serve: Serve, records: CapturedRecords) -> None:
    """By default records hold no bodies."""
    serve(answer(b"{}"), path=PATH, body=b"{}", routes=ROUTES)
    assert set(records.one().documents or ()) == {"auditbox"}


# --- what is wrong


def broken(request: Request) -> Any:
    """A resolver that raises."""
    raise KeyError("tenant")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("object", broken, "KeyError: 'tenant'"),
        ("object", "{request.scope[nothing]}", "{request.scope[nothing]}: KeyError: 'nothing'"),
        ("summary", "From {request.headers[x-tenant]}", "{request.headers[x-tenant]}: KeyError"),
        ("object", lambda request: "none", "an object id looks like"),
        ("object", lambda request: 7, "an object id looks like"),
        ("actor", broken, "KeyError: 'tenant'"),
        ("actor", lambda request: 7, "an id, or a mapping"),
        ("summary", lambda request: 7, "a text"),
        ("details", broken, "KeyError: 'tenant'"),
        ("documents", lambda request: 7, "a mapping of names to values"),
        ("lane", lambda request: "x" * 1000, "1 to 200 characters"),
    ],
)
def test_a_field_that_fails_is_named(
    serve: Serve, records: CapturedRecords, tmp_path: Path, field: str, value: Any, says: str
) -> None:
    """The request is served, the record is there with what is known, and says what failed."""
    trail = AuditTrail(tmp_path / "a.db", extension="shop", default_object=OTHER)
    routes = {"POST /orders/{order_id}": {**RULE, field: value}}
    assert serve(answer(), path=PATH, routes=routes, trail=trail).status == 200
    record = records.one("order.changed")
    assert record.object is not None
    assert record.object.id == (OTHER if field == "object" else ORDER)
    assert says in record.auditbox["outcome"]["unresolved"][field]


@pytest.mark.parametrize("bound", [{"actor": 7}, {"object": "none"}, {"documents": 7}, {"request": 7}])
def test_a_wrong_value_that_was_bound_is_named(
    serve: Serve, records: CapturedRecords, tmp_path: Path, bound: dict[str, Any]
) -> None:
    """A view that binds nonsense is served as ever; the record does without it and says so."""

    def view(body: bytes) -> Reply:
        bind(**bound)
        return Reply()

    trail = AuditTrail(tmp_path / "a.db", extension="shop", default_object=OTHER)
    assert serve(view, path=PATH, every="http.changed", trail=trail).status == 200
    [field] = bound
    record = records.one("http.changed")
    if field != "request":  # its place is the middleware's own
        assert field in record.auditbox["outcome"]["unresolved"]
    assert record.auditbox["request"]["route"] == PATH


@pytest.mark.parametrize("path", ["/orders/none", "/orders/\udcff", "/orders/ü", "/orders/" + "x" * 100_000])
def test_a_route_without_an_object(
    serve: Serve, records: CapturedRecords, tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Recorded about the trail's default object; without one about nothing, and the log says what to do."""
    assert serve(answer(), path=path, routes=ROUTES).status == 200
    record = records.one("order.changed")
    assert record.object is not None
    assert record.object.id == ""
    assert "an object id looks like" in record.auditbox["outcome"]["unresolved"]["object"]
    assert "POST '/orders/{order_id}': audit record of order.changed has no object" in caplog.text
    assert "auditbox dead fix" in caplog.text
    records.clear()
    trail = AuditTrail(tmp_path / "a.db", extension="shop", default_object=OTHER)
    assert serve(answer(), path=path, routes=ROUTES, trail=trail).status == 200
    record = records.one("order.changed")
    assert record.object is not None
    assert record.object.id == OTHER
    assert "an object id looks like" in record.auditbox["outcome"]["unresolved"]["object"]


def test_an_object_that_is_none_is_named_with_its_template(
    serve: Serve, caplog: pytest.LogCaptureFixture, records: CapturedRecords
) -> None:
    """The error says which template of which route gave None."""
    routes = {"POST /orders/{order_id}": {**RULE, "object": "{request.error.code}"}}
    serve(answer(), path=PATH, routes={"POST /orders/{order_id}": {**RULE, "object": "{request.error}"}})
    assert "POST '/orders/{order_id}'" in caplog.text
    assert "the template '{request.error}' gave None" in caplog.text
    caplog.clear()
    serve(answer(), path=PATH, routes=routes)
    assert "{request.error.code}: AttributeError: " in caplog.text


def test_large_and_forged_headers(serve: Serve, records: CapturedRecords) -> None:
    """Two megabytes of header are shortened; who is not trusted is not believed."""
    headers = {
        "x-request-id": "i" * 2_000_000,
        "user-agent": "a" * 2_000_000,
        "x-forwarded-for": "6.6.6.6, " * 200_000,
        "forwarded": "for=6.6.6.6",
    }
    assert serve(answer(), path=PATH, headers=headers, routes=ROUTES).status == 200
    request = records.one().auditbox["request"]
    assert (len(request["id"]), len(request["userAgent"]), request["address"]) == (128, 512, "192.0.2.1")
    for trusted, header in (("192.0.2.0/24", "x-forwarded-for"), ("192.0.2.1", "forwarded")):
        serve(
            answer(),
            path=PATH,
            headers={"x-forwarded-for": "203.0.113.7", "forwarded": "for=203.0.113.7"},
            routes=ROUTES,
            trusted_proxies=[trusted],
            forwarded_header=header,
        )
        assert records[-1].auditbox["request"]["address"] == "203.0.113.7"


# --- fail_closed and what is known before the action


def test_fail_closed_stops_before_the_action(serve: Serve) -> None:
    """An outbox that cannot store: a 503, and the view never runs; what is not recorded is served."""
    done: list[bytes] = []

    def view(body: bytes) -> Reply:
        done.append(body)
        return Reply()

    trail: Any = FailingTrail()
    seen = serve(view, path=PATH, routes=ROUTES, trail=trail, fail_closed=True)
    assert (seen.status, done) == (503, [])
    assert json.loads(seen.body)["status"] == 503
    assert ("retry-after", "5") in seen.headers
    assert serve(view, path="/else", routes=ROUTES, trail=trail, fail_closed=True).status == 200


@pytest.mark.parametrize("path", ["/orders/none", "/orders/\udcff"])
def test_fail_closed_stops_an_object_that_cannot_be_one(serve: Serve, trail: AuditTrail, path: str) -> None:
    """Where the path alone decides the object; a more exact path that is never recorded is served."""
    routes = {**ROUTES, "POST /orders/export": None}
    assert serve(answer(), path=path, routes=routes, fail_closed=True).status == 503
    assert serve(answer(), path="/orders/export", routes=routes, fail_closed=True).status == 200
    assert serve(answer(), path=path, routes=routes).status == 200


def test_undeclared_events(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped event: an error at construction with the trail at hand, else before the first action."""
    trail = AuditTrail(tmp_path / "a.db", extension="shop", events=["order.changed"])
    monkeypatch.setattr(defaults, "_default", trail)
    for given in (None, trail):
        with pytest.raises(
            ConfigurationError, match=r"routes\['POST /orders/\{order_id\}'\].*order\.refused"
        ):
            serve(answer(), path=PATH, routes=ROUTES, trail=given)
    named = "auditbox.default._default"  # looked up when it is needed
    assert serve(answer(status=404), path=PATH, routes=ROUTES, trail=named).status == 404
    assert "requests that should be recorded will not be: " in caplog.text
    assert "order.refused" in caplog.text
    assert serve(answer(status=404), path=PATH, routes=ROUTES, trail=named, fail_closed=True).status == 503


def test_no_trail_at_all(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing tells at the start, the log names the way out; with fail_closed nothing is done."""
    monkeypatch.setattr(defaults, "_default", None)
    assert serve(answer(), path=PATH, routes=ROUTES).status == 200
    assert "is lost: No trail is configured: call auditbox.configure(AuditTrail(...))" in caplog.text
    assert serve(answer(), path=PATH, routes=ROUTES, fail_closed=True).status == 503


@pytest.mark.parametrize("name", ["X-Tenant", "x-tenant"])
def test_headers_by_any_name(serve: Serve, records: CapturedRecords, name: str) -> None:
    """As HTTP has it; one that is absent is named as the rule names it."""
    documents = {
        "there": f"{{request.headers[{name}]}}",
        "got": lambda request: request.headers.get(name),
        "absent": lambda request: request.headers.get("X-Other", "none"),
    }
    rule = {**RULE, "documents": documents, "summary": "{request.headers[X-Other]}"}
    serve(answer(), path=PATH, headers={"x-tenant": "acme"}, routes={"POST /orders/{order_id}": rule})
    record = records.one()
    assert record.documents is not None
    assert {key: record.documents[key] for key in documents} == {
        "there": "acme",
        "got": "acme",
        "absent": "none",
    }
    assert "KeyError: 'X-Other'" in record.auditbox["outcome"]["unresolved"]["summary"]


@pytest.mark.parametrize(
    "options",
    [
        {"routes": {"POST /orders/{order_id}": {**RULE, "object": "{id}"}}},
        {"routes": {"POST /orders/{order_id}": {**RULE, "at": "once"}}},
        {"routes": {"POST /orders/{order_id}": {**RULE, "request_body": -1}}},
        {"routes": {"POST /orders/{order_id}": {**RULE, "object": "{order_id"}}},
        {"trusted_proxies": ["nonsense"]},
    ],
)
def test_mistakes_are_errors_at_construction(serve: Serve, options: Any) -> None:
    """And the error names the route."""
    with pytest.raises(ConfigurationError, match=r"routes|trusted_proxies"):
        serve(answer(), **options)
