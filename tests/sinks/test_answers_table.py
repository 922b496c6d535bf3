"""The table "every answer has one meaning", row by row, over a real socket."""

from __future__ import annotations

from typing import Any

import pytest

from auditbox.sinks.audit_api import AuditApiSink
from auditbox.sinks.base import Paused, Refused, Rejected, SendOutcome, Sent, Unclear

from .conftest import delivery
from .server import Server

pytestmark = pytest.mark.usefixtures("each_transport")

PROBLEM = {
    "type": "https://tools.ietf.org/html/rfc9110#section-15.5.1",
    "title": "Bad Request",
    "detail": "One or more validation errors occurred.",
    "errors": {"summary": ["'Summary' must not be empty."]},
    "traceId": "00-9e02a91b64ac56904703a3a69ea9101d-56be90a29d0b0b25-00",
}
BUSINESS = {"title": "Conflict", "errors": [{"message": "No such listing.", "properties": ["listing.id"]}]}
GATEWAY = {"statusCode": 404, "message": "Resource not found"}
HTML = b"<html><body>403 Forbidden</body></html>"
MISDIRECTED = {"cause": "misdirected", "doubtful": False}
REDIRECTED = {"cause": "misdirected", "doubtful": True}

ROWS: list[tuple[int, Any, type[SendOutcome], dict[str, Any]]] = [
    (200, {"id": "AUD-1"}, Sent, {"remote_id": "AUD-1"}),
    (201, {"id": "AUD-1"}, Sent, {"remote_id": "AUD-1"}),
    (201, {}, Sent, {"remote_id": None}),
    (201, {"id": 7}, Sent, {"remote_id": None}),
    *((status, PROBLEM, Rejected, {}) for status in (400, 402, 406, 409, 410, 413, 415, 418, 422, 451, 499)),
    (409, BUSINESS, Rejected, {}),
    *((status, PROBLEM, Refused, {}) for status in (403, 404)),
    *((status, PROBLEM, Paused, REDIRECTED) for status in (300, 301, 302, 303, 307, 308)),
    *((status, b"", Paused, REDIRECTED) for status in (301, 303, 304, 399)),
    (303, {"id": "AUD-1"}, Paused, REDIRECTED),
    *((status, PROBLEM, Paused, MISDIRECTED) for status in (405, 407)),
    *((status, b"", Paused, MISDIRECTED) for status in (400, 403, 404, 405, 413, 422)),
    *((status, HTML, Paused, MISDIRECTED) for status in (400, 403, 404, 413, 418)),
    *((status, b"text", Paused, MISDIRECTED) for status in (400, 403, 404)),
    *((status, ["a list"], Paused, MISDIRECTED) for status in (400, 403, 404)),
    (404, GATEWAY, Paused, MISDIRECTED),
    (403, b"x" * 1_100_000, Paused, MISDIRECTED),
    (401, PROBLEM, Paused, {"cause": "unauthorized", "doubtful": False}),
    (401, b"", Paused, {"cause": "unauthorized"}),
    (429, PROBLEM, Paused, {"cause": "throttled", "wait": None}),
    (429, b"", Paused, {"cause": "throttled", "wait": None}),
    *((status, PROBLEM, Unclear, {"pauses": False}) for status in (408, 500, 501, 502, 504, 507, 511, 599)),
    *((status, b"", Unclear, {"pauses": False}) for status in (408, 500, 502, 504)),
    (504, b"upstream request timeout", Unclear, {"pauses": False}),
    (503, PROBLEM, Unclear, {"pauses": True, "wait": None}),
    (503, b"", Unclear, {"pauses": True, "wait": None}),
    *((status, {"id": "AUD-1"}, Unclear, {}) for status in (202, 203, 204, 206, 226, 299)),
    *((status, body, Unclear, {}) for status in (200, 201) for body in (b"", b"ok", b"[]", b"null", HTML)),
    (201, b'{"id": "AUD-1"', Unclear, {}),
    (201, b"[" * 100_000, Unclear, {}),
    (201, b'{"id": "' + b"x" * 1_100_000 + b'"}', Unclear, {}),
    (600, PROBLEM, Unclear, {}),
    (999, b"", Unclear, {}),
]


@pytest.mark.parametrize(("status", "body", "kind", "attributes"), ROWS)
def test_every_answer_has_one_meaning(
    server: Server, sink: AuditApiSink, status: int, body: Any, kind: type, attributes: dict[str, Any]
) -> None:
    """Each row of the table, and one request for it: no redirect is followed, nothing is sent twice."""
    server.script = lambda exchange: exchange.reply(status, body, location="/elsewhere")
    outcome = sink.send(delivery())
    assert type(outcome) is kind
    assert {name: getattr(outcome, name) for name in attributes} == attributes
    assert len(server.requests) == 1
    if not isinstance(outcome, Sent):
        assert outcome.problem.status == status
        assert outcome.problem.reason.startswith(str(status))


def test_a_rejection_keeps_what_the_server_said(server: Server, sink: AuditApiSink) -> None:
    """Title, detail, errors and trace id go into the dead letter, and one line for people."""
    server.script = lambda exchange: exchange.reply(400, PROBLEM)
    outcome = sink.send(delivery())
    assert isinstance(outcome, Rejected)
    assert outcome.problem.to_json() == {
        "reason": "400 Bad Request: summary: 'Summary' must not be empty.",
        "status": 400,
        "title": PROBLEM["title"],
        "detail": PROBLEM["detail"],
        "errors": PROBLEM["errors"],
        "traceId": PROBLEM["traceId"],
    }


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": " 7 "}, 7.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "999999999"}, 3600.0),
        ({"retry_after": "9" * 400}, 3600.0),
        ({"date": "Fri, 30 Jan 2026 10:00:00 GMT", "retry_after": "Fri, 30 Jan 2026 10:02:00 GMT"}, 120.0),
        ({"date": "Fri, 30 Jan 2026 10:00:00 GMT", "retry_after": "Fri, 30 Jan 2026 09:00:00 GMT"}, 0.0),
        ({"retry_after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "\xb2"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_seconds_or_a_date_by_the_servers_own_clock(
    server: Server, sink: AuditApiSink, status: int, headers: dict[str, str], wait: float | None
) -> None:
    """The wait is what the server asked for, an hour at most, None where it makes no sense."""
    server.script = lambda exchange: exchange.reply(status, **headers)
    outcome = sink.send(delivery())
    assert isinstance(outcome, Paused | Unclear)
    assert outcome.wait == wait


def test_a_problem_is_cut_to_a_size_worth_keeping(server: Server, sink: AuditApiSink) -> None:
    """A server that answers with a megabyte of errors does not fill the outbox with them."""
    deep: Any = "end"
    for _ in range(100):
        deep = {"deeper": deep}
    errors = {f"field-{n}": ["x" * 1000] * 8 for n in range(100)}
    server.script = lambda exchange: exchange.reply(
        400, {"title": "T" * 5000, "errors": {"deep": deep, **errors}}
    )
    outcome = sink.send(delivery())
    assert isinstance(outcome, Rejected)
    assert len(str(outcome.problem.to_json())) < 20_000
    assert outcome.problem.title is not None
    assert len(outcome.problem.title) <= 300
