"""Which rule a request gets, and which route it is reported under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from auditbox.capture.address import Proxies
from auditbox.capture.paths import braced
from auditbox.capture.request import LiveInfo, Request
from auditbox.capture.rules import Rules, status_test
from auditbox.errors import ConfigurationError


class Given(Request):
    """A request of which all is given: what a framework says of its route, and the headers."""

    def __init__(
        self, method: str, path: str, *, root: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(method, path, root, {}, Proxies())
        self.given = headers or {}
        self.tail_and_params: tuple[str | None, Mapping[str, Any]] = (None, {})

    def routed(self) -> tuple[str | None, Mapping[str, Any]]:
        return self.tail_and_params

    def _read_headers(self) -> Mapping[str, str]:
        return self.given

    def _peer(self) -> str | None:
        return "192.0.2.1"


def answered(
    method: str, path: str, *, tail: str | None = None, params: Mapping[str, Any] | None = None, **known: Any
) -> Request:
    """A request that the application has answered, with what a framework says of its route."""
    status, error = known.pop("status", 200), known.pop("error", None)
    request = Given(method, path, **known)
    request.tail_and_params = (tail, params or {})
    request.status, request.error = status, error
    return request


def event(rules: Rules, request: Request) -> str | None:
    """The event under which the request is recorded."""
    rule = rules.rule(request)
    return rule.event(request) if rule else None


@dataclass
class Entity:
    """Something that has an id."""

    id: str


ORDERS = Rules(
    {
        "POST /orders/{order_id}": "order.changed",
        "POST /orders/export": "orders.exported",
        "* /files/{rest:path}": "file.touched",
        "post /orders/{id:int}/ship": "order.shipped",
    }
)


@pytest.mark.parametrize(
    ("method", "path", "tail", "expected"),
    [
        ("POST", "/orders/7", None, "order.changed"),
        ("GET", "/orders/7", None, None),
        ("POST", "/orders/7/", None, None),
        ("POST", "/orders/export", None, "orders.exported"),
        ("POST", "/orders/export", "/orders/{x}", "order.changed"),
        ("POST", "/orders/export", "/orders/export", "orders.exported"),
        ("POST", "/orders/export", "/export", "orders.exported"),
        ("POST", "/orders/7", "/orders/special", "order.changed"),
        ("POST", "/orders/7/ship", "/{order_id}/ship", "order.shipped"),
        ("DELETE", "/files/a/b.txt", "/files/{name:path}", "file.touched"),
        ("POST", "/other", None, None),
        ("POST", "/x/orders/7", None, None),
        ("POST", "/orders/\udcff\x00\n", None, "order.changed"),
        ("POST", "/orders/" + "x" * 2_000_000, None, "order.changed"),
    ],
)
def test_routes(method: str, path: str, tail: str | None, expected: str | None) -> None:
    """By method and path; where a framework has routed, a rule for another of its routes is not meant."""
    assert event(ORDERS, answered(method, path, tail=tail)) == expected


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 399, 200, 299])
def test_statuses_of_success(status: int) -> None:
    """2xx and 3xx are recorded."""
    assert event(ORDERS, answered("POST", "/orders/7", status=status)) == "order.changed"


@pytest.mark.parametrize("status", [307, 308, 400, 404, 422, 500, 503])
def test_statuses_of_nothing(status: int) -> None:
    """Errors are not, nor what asks for the same request at another place: it has not happened here."""
    assert event(ORDERS, answered("POST", "/orders/7", status=status)) is None


def test_failed_names_the_event_of_a_failure() -> None:
    """4xx, 5xx, an exception and an abort are failures; 307 is neither."""
    rules = Rules({"POST /orders/{id}": {"event": "order.changed", "failed": "order.refused"}})
    for status in (400, 422, 500):
        assert event(rules, answered("POST", "/orders/7", status=status)) == "order.refused"
    assert (
        event(rules, answered("POST", "/orders/7", status=None, error=KeyboardInterrupt())) == "order.refused"
    )
    assert event(rules, answered("POST", "/orders/7", status=307)) is None


@pytest.mark.parametrize("statuses", [range(400, 500), {404}, 404, lambda status: status == 404, [404]])
def test_statuses_may_be_named(statuses: Any) -> None:
    """For all rules or for one: a container, a callable or a number."""
    request = answered("POST", "/orders/7", status=404)
    assert event(Rules({"POST /orders/{id}": "order.missing"}, statuses=statuses), request) == "order.missing"
    rule = {"event": "order.missing", "statuses": statuses}
    assert event(Rules({"POST /orders/{id}": rule}, statuses=200), request) == "order.missing"
    assert not status_test(statuses)(200)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_every_is_for_what_changes_something(method: str) -> None:
    """One rule for all requests that change something and have no rule of their own."""
    rules = Rules({"POST /orders/{id}": "order.changed"}, every="http.changed")
    assert event(rules, answered(method, "/else")) == "http.changed"
    assert event(rules, answered("POST", "/orders/7")) == "order.changed"
    for safe in ("GET", "HEAD", "OPTIONS"):
        assert event(rules, answered(safe, "/else")) is None


def test_a_callable_chooses() -> None:
    """It gets the answered request and gives a rule, an event or nothing."""

    def choose(request: Request) -> dict[str, Any] | str | None:
        if request.method == "GET":
            return "report.read"
        return {"event": "order.changed", "object": "{id}"} if request.route == "/orders/{id}" else None

    rules = Rules(choose)
    assert event(rules, answered("POST", "/orders/7", tail="/orders/{id}")) == "order.changed"
    assert event(rules, answered("GET", "/report")) == "report.read"
    assert event(rules, answered("POST", "/orders/7", tail="/orders/{id}", status=404)) is None
    assert event(rules, answered("POST", "/else")) is None


def test_which_requests_may_be_recorded() -> None:
    """Known before the application runs: fail_closed asks only for those."""
    assert ORDERS.concern(answered("POST", "/orders/7"))
    assert not ORDERS.concern(answered("POST", "/else"))
    assert Rules(every="http.changed").concern(answered("POST", "/else"))
    assert not Rules(every="http.changed").concern(answered("GET", "/else"))
    assert Rules(lambda request: None).concern(answered("GET", "/else"))
    assert not Rules().concern(answered("POST", "/else"))


@pytest.mark.parametrize(
    ("path", "tail", "params", "route"),
    [
        ("/orders/7", "/orders/{id}", {"id": 7}, "/orders/{id}"),
        ("/api/orders/7", "/orders/{id}", {"id": 7}, "/api/orders/{id}"),
        ("/t/acme/orders/7", "/orders/{id}", {"id": "7", "tenant": "acme"}, "/t/{tenant}/orders/{id}"),
        ("/orders/orders/7", "/{id}/{n}", {"id": "orders", "n": "7"}, "/orders/{id}/{n}"),
        ("/files/a/b", "/files/{rest:path}", {"rest": "a/b"}, "/files/{rest:path}"),
        ("/orders", "", {}, "/orders"),
        ("/static/x.css", "/static", {"path": "x.css"}, "/static/x.css"),
        ("/orders/7", None, {}, "/orders/7"),
    ],
)
def test_the_route_of_a_request(path: str, tail: str | None, params: dict[str, Any], route: str) -> None:
    """The template with the prefixes of mounts and routers, which the inner route does not know."""
    assert answered("GET", path, tail=tail, params=params).route == route
    assert answered("GET", path, tail=tail, params=params, root="/root").route == "/root" + route


@pytest.mark.parametrize(
    "template",
    ["/orders/<id>", "/orders/<int:id>", "/orders/<string(length=2):id>", "orders/<uuid:id>"],
)
def test_routes_of_flask_and_django(template: str) -> None:
    """A framework's own way to write a parameter is told in braces; Django's lacks the first slash."""
    request = answered("POST", "/orders/7", tail=braced(template), params={"id": 7})
    assert request.route == "/orders/{id}"
    assert event(ORDERS, request) == "order.changed"
    assert event(Rules({f"POST /{template.lstrip('/')}": "order.changed"}), request) == "order.changed"


def test_none_is_a_rule_too() -> None:
    """The closest path decides; where the framework knows better, its route does."""
    rules = Rules({"* /orders/{id}": "order.changed", "POST /orders/export": None}, every="http.changed")
    assert event(rules, answered("POST", "/orders/export")) is None
    assert event(rules, answered("PUT", "/orders/export")) == "order.changed"
    assert event(rules, answered("POST", "/orders/export", tail="/orders/{name}")) == "order.changed"
    assert not Rules({"POST /orders/export": None}).concern(answered("POST", "/orders/export"))


def test_the_rules_route_and_parameters() -> None:
    """Without a framework the rule says what the path means; a framework's converted values win."""
    request = answered("POST", "/orders/7/ship", params={"id": 7})
    assert ORDERS.rule(request) is not None
    assert (request.route, request.path_params) == ("/orders/{id:int}/ship", {"id": 7})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-request-id": " req-1 ", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}, "req-1"),
        ({"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "mpt-task-id": "t"}, "a" * 32),
        ({"traceparent": "nonsense", "mpt-task-id": "TSK-1"}, "TSK-1"),
        ({"x-request-id": "x" * 2_000_000}, "x" * 128),
        ({}, None),
    ],
)
def test_the_id_of_a_request(headers: dict[str, str], expected: str | None) -> None:
    """The caller's own id, else the trace's, else the Marketplace task's; never an endless one."""
    assert answered("GET", "/", headers=headers).id == expected


def test_what_is_known_of_a_request() -> None:
    """What is unknown is absent."""
    info = answered("GET", "/orders/7", headers={"user-agent": "curl"}).info()
    assert info.pop("durationMs") >= 0
    assert info == {
        "method": "GET",
        "route": "/orders/7",
        "path": "/orders/7",
        "status": 200,
        "address": "192.0.2.1",
        "userAgent": "curl",
    }


def test_a_running_request_is_seen_as_it_stands() -> None:
    """What is captured inside the request sees the route once it is known, and no status before its time."""
    request = Given("GET", "/orders/7")
    live = LiveInfo(request)
    assert live["route"] == "/orders/7"
    assert "status" not in live
    request.tail_and_params = ("/orders/{id}", {})
    assert (live["route"], "status" in live) == ("/orders/{id}", False)
    request.status = 204
    assert live["status"] == 204
    assert len(live) == len(list(live)) == len(dict(live))


@pytest.mark.parametrize(
    "options",
    [
        {"routes": {"/orders": "order.changed"}},
        {"routes": {"POST orders": "order.changed"}},
        {"routes": {"POST /orders/{id}/{id}": "order.changed"}},
        {"routes": {"POST /orders/{id": "order.changed"}},
        {"routes": {"POST /orders/{}": "order.changed"}},
        {"routes": {7: "order.changed"}},
        {"routes": {"POST /orders/{id}": {"event": "order.changed", "object": "{order_id}"}}},
        {"routes": {"POST /orders/{id}": {"evnt": "order.changed"}}},
        {"routes": {"POST /orders/{id}": {"object": "{id}"}}},
        {"routes": {"POST /orders/{id}": {"event": "order.{id}"}}},
        {"routes": {"POST /orders/{id}": {"event": "order.changed", "failed": "a b"}}},
        {"routes": {"POST /orders/{id}": 7}},
        {"routes": {"POST /orders/{id}": {"event": "order.changed", "at": "never"}}},
        {"routes": {"POST /orders/{id}": {"event": "order.changed", "response_body": 0.5}}},
        {"routes": {"POST /orders/<int:id>/<id>": "order.changed"}},
        {"routes": ["POST /orders"]},
        {
            "routes": {
                "POST /orders/{id}": {"event": "order.changed", "object": {"id": "{id}", "kind": "Order"}}
            }
        },
        {"routes": {"POST /orders/{id}": {"event": "order.changed", "object": ["{id}"]}}},
        {"routes": {"POST /orders/{id}": {"event": "order.changed", "actor": "{request[user]}"}}},
        {"every": {"event": "order.changed", "object": 7}},
        {"every": {}},
        {"every": "order changed"},
        {"statuses": "2xx"},
        {"statuses": 2.5},
    ],
)
def test_mistakes_are_found_at_construction(options: dict[str, Any]) -> None:
    """A rule that cannot work is an error when the application starts."""
    with pytest.raises(ConfigurationError):
        Rules(**options)


RULE = {"event": "order.changed"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"routes": {"POST /o/{oid}": {**RULE, "object": "oid"}}},
            r"routes\['POST /o/{oid}'\]: object='oid': .* '{oid}'",
        ),
        (
            {"routes": {"POST /o/{oid}": {**RULE, "object": {"id": "oid"}}}},
            "object={'id': 'oid'}: .* '{oid}'",
        ),
        ({"every": {**RULE, "object": "{{oid}}"}}, "every: object='{{oid}}': .* '{oid}'"),
        ({"routes": {"PSOT /o/{oid}": RULE}}, "'PSOT' is no HTTP method; did you mean 'POST'"),
        ({"routes": {"FROB /o/{oid}": RULE}}, r"'FROB' is no HTTP method; known are .*'\*' is any method"),
        ({"every": {**RULE, "summary": "{request.hdrs[a]}"}}, "no 'hdrs'; did you mean 'headers'"),
        ({"every": {**RULE, "documents": {"a": ["{request.pth}"]}}}, "no 'pth'; did you mean 'path'"),
    ],
)
def test_a_mistake_is_named_with_the_way_out(options: dict[str, Any], words: str) -> None:
    """What would go wrong at each request is told once, with what was meant."""
    with pytest.raises(ConfigurationError, match=words):
        Rules(**options)


@pytest.mark.parametrize(
    "found",
    ["ORD-1208-2301-8479", "ORD-{id}", "{id}", "", lambda request: "oid", {"id": "{id}", "name": "Order"},
     {"id": lambda request: "oid", "objectType": "{request.headers[kind]}"}, Entity("ORD-1208-2301-8479")],
)  # fmt: skip
def test_an_object_that_can_be_one_is_accepted(found: Any) -> None:
    """A constant id, a template, a callable, a mapping of these, something that has an id."""
    assert Rules({"POST /orders/{id}": {**RULE, "object": found}}, every=RULE)


def test_a_chosen_rule_is_taken_as_it_is() -> None:
    """The action has happened: what of the rule does not work leaves its field out, and not the record."""
    rules = Rules(lambda request: {**RULE, "object": "oid", "summary": "{request.hdrs[a]}"})
    assert event(rules, answered("POST", "/orders/7")) == "order.changed"


@pytest.mark.parametrize("method", ["GET", "PATCH", "PROPFIND", "delete", "*", "WEBSOCKET"])
def test_methods_of_rules(method: str) -> None:
    """HTTP's and WebDAV's, in any letters."""
    assert Rules({f"{method} /orders": RULE})


def test_an_event_is_a_rule_in_short() -> None:
    """The record is about what the application binds, or the trail's default object."""
    short, long = Rules({"POST /orders/{id}": "order.changed"}), Rules({"POST /orders/{id}": RULE})
    request = answered("POST", "/orders/7")
    for rules in (short, long):
        rule = rules.rule(request)
        assert rule is not None
        assert (rule.event(request), rule.fields(request)) == ("order.changed", ({}, {}))
