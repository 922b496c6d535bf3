"""Before anything doubtful is sent again, the trail is read: how far, and what ends the reading."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote_plus

import pytest

from auditbox.sinks.audit_api import AuditApiSink
from auditbox.sinks.base import Later, Missing, Sent, Unclear, Unreadable

from .conftest import EVENT, OBJECT, delivery
from .server import Exchange, Server, TinyApi

pytestmark = pytest.mark.usefixtures("each_transport")

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _record(entry: str | None, at: float = NOON) -> dict[str, Any]:
    documents = {"auditbox": {"id": entry}} if entry else {"order": {}}
    return {"event": EVENT, "object": {"id": OBJECT}, "documents": documents, "timestamp": _stamp(at)}


@pytest.fixture
def api(server: Server) -> TinyApi:
    """The server answers as the Audit API does."""
    made = TinyApi()
    server.script = made
    return made


@pytest.mark.parametrize("after", [0, 9, 10, 11, 95, 199])
@pytest.mark.parametrize("largest_page", [3, 100])
def test_it_is_found_behind_newer_records(
    server: Server, sink: AuditApiSink, api: TinyApi, after: int, largest_page: int
) -> None:
    """Page after page is read, by the size of what really came; twenty at the most."""
    api.largest_page = largest_page
    stored = api.store(_record("0197-1"))
    for number in range(after):
        api.store(_record(f"other-{number}"))
    outcome = sink.verify(delivery(1, sent_at=NOON))
    if after < 20 * min(largest_page, 10):
        assert outcome == Sent(stored["id"])
    else:
        assert isinstance(outcome, Unreadable)
    assert len(server.requests) == min(after // min(largest_page, 10) + 1, 20)


def test_the_request_says_what_it_looks_for(server: Server, sink: AuditApiSink, api: TinyApi) -> None:
    """Object and event, newest first, with documents, a small page, past any cache."""
    sink.verify(delivery(1))
    request = server.requests[0]
    assert request.target.startswith("/public/v1/audit/records?")
    assert request.query.split("&") == [
        f"eq(object.id,'{OBJECT}')",
        f"eq(event,'{EVENT}')",
        "order=-timestamp",
        "select=+documents",
        "limit=10",
        "offset=0",
    ]
    assert request.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("event", "filters"),
    [
        ("extensions.shop.a'b", ['eq(event,"extensions.shop.a\'b")']),
        ('extensions.shop.a"b', ["eq(event,'extensions.shop.a\"b')"]),
        ("extensions.shop.a&b+c#d%41,(é)\u2028", ["eq(event,'extensions.shop.a&b+c#d%41,(é)\u2028')"]),
        ("extensions.shop.'\"", []),
        ("extensions.shop.\ud800", ["eq(event,'extensions.shop.?')"]),
    ],
)
def test_values_travel_whole(server: Server, sink: AuditApiSink, event: str, filters: list[str]) -> None:
    """Whatever a name holds arrives as it is; what the query language cannot say is left out."""
    server.script = lambda exchange: exchange.reply(200, {"data": []})
    assert sink.verify(delivery(1, event=event)) == Missing()
    raw = server.requests[0].target.partition("?")[2].split("&")
    assert [unquote_plus(part) for part in raw[1 : 1 + len(filters)]] == filters
    assert unquote_plus(raw[1 + len(filters)]) == "order=-timestamp"


def test_the_end_of_the_trail_is_an_answer(sink: AuditApiSink, api: TinyApi) -> None:
    """Nothing there, and no more pages: it did not arrive."""
    assert sink.verify(delivery(1)) == Missing()
    for number in range(10):
        api.store(_record(f"other-{number}"))
    assert sink.verify(delivery(1)) == Missing()


@pytest.mark.parametrize(("age", "requests"), [(599, 2), (601, 1)])
def test_a_record_older_than_the_attempt_ends_the_reading(
    server: Server, sink: AuditApiSink, api: TinyApi, age: float, requests: int
) -> None:
    """Older by the server's stamps, less ten minutes for clocks that differ."""
    for number in range(15):
        api.store(_record(f"other-{number}", at=NOON - age))
    assert sink.verify(delivery(1, sent_at=NOON)) == Missing()
    assert len(server.requests) == requests


def test_an_entry_is_found_even_behind_an_older_record_of_its_page(sink: AuditApiSink, api: TinyApi) -> None:
    """A page is read whole before an old record in it ends the reading."""
    api.store(_record("0197-1"))
    api.store(_record("other", at=NOON - 10_000))
    assert isinstance(sink.verify(delivery(1, sent_at=NOON)), Sent)


def test_without_a_time_it_reads_to_the_end(server: Server, sink: AuditApiSink, api: TinyApi) -> None:
    """An entry whose sender was killed has no time of its attempt."""
    for number in range(25):
        api.store(_record(f"other-{number}", at=number))
    assert sink.verify(delivery(1)) == Missing()
    assert len(server.requests) == 3


def test_a_trail_that_is_too_long_cannot_be_read(server: Server, sink: AuditApiSink, api: TinyApi) -> None:
    """After twenty pages it is given up."""
    for number in range(201):
        api.store(_record(f"other-{number}"))
    outcome = sink.verify(delivery(1, sent_at=NOON))
    assert isinstance(outcome, Unreadable)
    assert "200" in outcome.problem.reason
    assert len(server.requests) == 20


def test_a_server_that_repeats_its_page_is_given_up(server: Server, sink: AuditApiSink) -> None:
    """A list that never ends does not hold the thread for ever."""
    server.script = lambda exchange: exchange.reply(200, {"data": [_record("other")]})
    assert isinstance(sink.verify(delivery(1)), Unreadable)
    assert len(server.requests) == 20


@pytest.mark.parametrize(
    ("status", "kind", "cause"),
    [
        (403, Unreadable, None),
        (404, Unreadable, None),
        (401, Later, "unauthorized"),
        (429, Later, "throttled"),
        (503, Later, "throttled"),
        (301, Later, "misdirected"),
        (405, Later, "misdirected"),
        (407, Later, "misdirected"),
        (400, Unreadable, None),
        (408, Later, None),
        (500, Later, None),
        (502, Later, None),
        (204, Later, None),
    ],
)
def test_what_is_no_page_is_no_answer(
    server: Server, sink: AuditApiSink, status: int, kind: type, cause: str | None
) -> None:
    """A problem with 400, 403 or 404 says that it cannot be read; all else is tried again, after a pause."""
    server.script = lambda exchange: exchange.reply(status, {"title": "No"}, retry_after="9")
    outcome = sink.verify(delivery(1))
    assert type(outcome) is kind
    assert getattr(outcome, "cause", None) == cause
    assert getattr(outcome, "wait", None) == (9.0 if cause else None)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"data": null}', b'{"data": {}}', b"[" * 100_000, b'{"data": ["']
)
def test_a_success_without_a_list_is_tried_again(server: Server, sink: AuditApiSink, body: bytes) -> None:
    """It must not count as an empty trail: the record would be sent twice."""
    server.script = lambda exchange: exchange.reply(200, body)
    assert isinstance(sink.verify(delivery(1)), Later)


@pytest.mark.parametrize(
    "record",
    [
        None,
        7,
        "text",
        [],
        {},
        {"documents": None},
        {"documents": []},
        {"documents": {"auditbox": "0197-1"}},
        {"documents": {"auditbox": {"id": None}}},
        {"id": "0197-1"},
        {"timestamp": "soon"},
        {"timestamp": 7},
    ],
)
@pytest.mark.parametrize("meta", [{}, {"$meta": None}, {"$meta": {"pagination": {"total": "x"}}}])
def test_odd_records_are_not_the_entry(
    server: Server, sink: AuditApiSink, record: Any, meta: dict[str, Any]
) -> None:
    """Records of other writers can hold anything; a broken $meta only costs one more page."""
    server.script = lambda exchange: exchange.reply(
        200, {"data": [record] if "offset=0" in exchange.target else [], **meta}
    )
    assert sink.verify(delivery(1, sent_at=NOON)) == Missing()


def test_a_list_without_documents_cannot_be_read(server: Server, sink: AuditApiSink) -> None:
    """Where the server leaves the documents out, the absence of the id proves nothing."""
    pagination = {"offset": 0, "limit": 10, "total": 1}
    meta = {"pagination": pagination, "omitted": ["documents", "viewers"]}
    server.script = lambda exchange: exchange.reply(200, {"$meta": meta, "data": [{"id": "AUD-1"}]})
    assert isinstance(sink.verify(delivery(1)), Unreadable)
    assert len(server.requests) == 1


def test_a_page_that_is_too_large_is_asked_for_row_by_row(server: Server, sink: AuditApiSink) -> None:
    """Others may have stored megabytes in one record."""
    api = TinyApi()
    api.store(_record("0197-1"))
    for _ in range(9):
        api.store({**_record("other"), "summary": "x" * 2_000_000})
    server.script = api
    assert isinstance(sink.verify(delivery(1, sent_at=NOON)), Sent)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"{", b'{"object": 7, "event": null}', b"\xff"])
def test_an_entry_that_says_nothing_cannot_be_looked_up(
    server: Server, sink: AuditApiSink, body: bytes
) -> None:
    """Without an object and an event there is nothing to ask for."""
    assert isinstance(sink.verify(delivery(1)._replace(body=body)), Unreadable)
    assert not server.requests


@pytest.mark.parametrize("left", ["object", "event"])
def test_one_of_object_and_event_is_enough(sink: AuditApiSink, api: TinyApi, left: str) -> None:
    """The id decides; a filter less only means more to read."""
    stored = api.store(_record("0197-1"))
    entry = delivery(1)
    record = json.loads(entry.body)
    kept = {name: value for name, value in record.items() if name not in {"object", "event"} - {left}}
    assert sink.verify(entry._replace(body=json.dumps(kept).encode())) == Sent(stored["id"])


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_gateways_page_does_not_say_that_the_trail_cannot_be_read(
    server: Server, sink: AuditApiSink, status: int
) -> None:
    """HTML in place of a problem: the address is wrong for now, and nothing is sent a second time."""
    server.script = lambda exchange: exchange.reply(status, b"<html>no</html>")
    outcome = sink.verify(delivery(1))
    assert isinstance(outcome, Later)
    assert outcome.cause == "misdirected"


def test_the_clock_is_the_servers(server: Server, sink: AuditApiSink) -> None:
    """It comes from a Date header, so that a wrong local clock does no harm; before that nothing is known."""
    assert sink.clock() == 0

    def dated(exchange: Exchange) -> None:
        exchange.reply(500, date=format_datetime(datetime.fromtimestamp(NOON, UTC), usegmt=True))

    server.script = dated
    assert isinstance(sink.send(delivery(1)), Unclear)
    assert NOON - 1 <= sink.clock() <= NOON + 60
