"""All rows of a list: none lost, none doubled, whatever arrives meanwhile."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditbox.api import AuditApi, F
from auditbox.emulator import Emulator, running
from auditbox.emulator.fields import RECORDS
from auditbox.emulator.identity import Caller
from auditbox.emulator.query import parse_query
from auditbox.emulator.reading import Reader
from auditbox.emulator.rql.compile import stored_timestamp
from auditbox.emulator.store import Store
from auditbox.errors import ApiConnectionError, ApiStatusError, ValidationFailed
from tests.api.conftest import QUICK, TOKEN

READER = Caller("TKN-1234-5678", "T", "ACC-1234-5678", "A", "Vendor")
START = datetime(2026, 1, 1, tzinfo=UTC)


class Growing(httpx.BaseTransport):
    """A server to which records arrive between any two requests; at most ``cap`` rows a page."""

    def __init__(self, first: list[int], arriving: list[list[int]], cap: int) -> None:
        self.store, self.count, self.cap = Store(), 0, cap
        self.arriving = list(arriving)
        self.first = self.add(first)

    def add(self, milliseconds: list[int]) -> set[str]:
        rows = []
        for offset in milliseconds:
            self.count += 1
            moment = (START + timedelta(milliseconds=offset)).isoformat()
            id = f"AUD-0000-0000-0000-{self.count * 7919 % 10000:04}"
            rows.append({"id": id, "event": f"e{offset % 3}", "timestamp": stored_timestamp(moment)})
        self.store.add_all(rows)
        return {row["id"] for row in rows}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        query = parse_query(request.url.query.decode())
        query.limit = min(query.limit or self.cap, self.cap)
        page = Reader(self.store, scoped=False).page(RECORDS, query, READER)
        if self.arriving:
            self.add(self.arriving.pop(0))
        return httpx.Response(200, json=page)


@settings(max_examples=150, deadline=None)
@given(
    first=st.lists(st.integers(0, 6), max_size=25),
    arriving=st.lists(st.lists(st.integers(0, 12), max_size=6), max_size=8),
    cap=st.integers(1, 7),
    order=st.sampled_from([None, "timestamp", "-timestamp", "event,-timestamp", "id"]),
    select=st.sampled_from([None, "-timestamp"]),
)
def test_nothing_is_lost_or_doubled(
    first: list[int], arriving: list[list[int]], cap: int, order: str | None, select: str | None
) -> None:
    """Every record that was there at the start comes exactly once, and no other one comes twice."""
    server = Growing(first, arriving, cap)
    with AuditApi("http://127.0.0.1:1", token=TOKEN, transport=server) as api:
        ids = [row.id for row in api.records.iterate(order=order, select=select)]
    assert len(ids) == len(set(ids))
    assert server.first <= set(ids)


def by_age(api: AuditApi) -> list[str]:
    """The ids of all records, oldest first; several may be of one millisecond."""
    rows = sorted(api.records.iterate(), key=lambda row: (str(row.timestamp), row.id))
    return [row.id for row in rows]


def test_the_order_holds(api: AuditApi, emulator: Emulator) -> None:
    """Rows come newest first by default, and oldest first on request."""
    for number in range(25):
        api.records.create(event="extensions.a.b", summary=str(number), details="d", object="ORD-1111-2222")
    newest = [row.timestamp for row in api.records.iterate(limit=4)]
    assert newest == sorted(newest, reverse=True)  # type: ignore[type-var]
    assert len(newest) == 25
    oldest = [row.timestamp for row in api.records.iterate(limit=4, order="timestamp")]
    assert oldest == newest[::-1]
    assert [row.id for row in api.records.iterate(order="timestamp,id", offset=20)] == by_age(api)[20:]


def test_pages_do_not_count_positions(api: AuditApi, emulator: Emulator) -> None:
    """In order of time no page asks the server to pass over the rows before it."""
    for number in range(10):
        api.records.create(event="extensions.a.b", summary=str(number), details="d", object="ORD-1111-2222")
    seen = emulator.requests()[-1]["number"]
    assert len(list(api.records.iterate(F.event == "extensions.a.b", limit=3))) == 10
    queries = [request["query"] for request in emulator.requests(after=seen)]
    assert len(queries) >= 4
    assert all("timestamp," in query for query in queries[1:])


@pytest.mark.parametrize("streaming", [True, False])
def test_streams(streaming: bool) -> None:
    """A stream gives all rows, or as many as were asked for, with a server that streams and without."""
    with running(streaming=streaming) as emulator, AuditApi(emulator.url, token=TOKEN) as api:
        for number in range(12):
            api.records.create(
                event="extensions.a.b", summary=str(number), details="d", object="ORD-1111-2222"
            )
        assert sorted(int(row.summary or "") for row in api.records.stream()) == list(range(12))
        few = api.records.stream(order="timestamp,id", limit=5, offset=3)
        assert [row.id for row in few] == by_age(api)[3:8]
        assert list(api.records.stream(limit=0)) == []
        assert [row.summary for row in api.records.stream(F.summary == "7", select="-event")] == ["7"]


def test_too_long_for_a_stream() -> None:
    """More rows than the server streams are an error that says so: pages would be no snapshot."""
    records = [{"id": f"AUD-0000-0000-0000-000{number}", "event": "e"} for number in range(3)]
    with (
        running(max_stream=2, seed={"records": records}) as emulator,
        AuditApi(emulator.url, token=TOKEN) as api,
    ):
        with pytest.raises(ValidationFailed, match="more than 2 rows") as caught:
            list(api.records.stream())
        assert caught.value.status == 413
        assert len(list(api.records.stream(limit=2))) == 2
        assert len(list(api.records.iterate())) == 3


@pytest.mark.parametrize("cap", [1, 2, 7, 100])
def test_pages_by_the_servers_limit(cap: int) -> None:
    """However few rows the server gives, whatever was asked for, all of them come, in every order."""
    records = [
        {
            "id": f"AUD-0000-0000-0000-00{number:02}",
            "event": "e",
            "timestamp": f"2026-01-01T00:00:0{number % 4}Z",
        }
        for number in range(15)
    ]
    with (
        running(max_limit=cap, seed={"records": records}) as emulator,
        AuditApi(emulator.url, token=TOKEN) as api,
    ):
        for order in (None, "timestamp", "-id", "event,-timestamp"):
            ids = [row.id for row in api.records.iterate(order=order, limit=50)]
            assert sorted(ids) == [record["id"] for record in records]
        assert api.records.list(limit=50).limit == min(cap, 50)


class Scripted(httpx.BaseTransport):
    """Answers one stream."""

    def __init__(self, body: bytes, count: str, media: str = "application/jsonl") -> None:
        self.body, self.count, self.media = body, count, media

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = {"MPT-Streaming": "true", "MPT-Item-Count": self.count, "Content-Type": self.media}
        return httpx.Response(200, content=self.body, headers=headers)


@pytest.mark.parametrize(
    ("body", "count"),
    [(b'{"id": "1", "event": "e"}\n', "2"), (b'{"id": "1"', "1"), (b"5\n", "1"), (b"", "1")],
)
def test_a_broken_stream(body: bytes, count: str) -> None:
    """A stream that ends early or holds something else is an error, not a short answer."""
    with (
        AuditApi("http://127.0.0.1:1", token=TOKEN, transport=Scripted(body, count)) as api,
        pytest.raises(ApiConnectionError),
    ):
        list(api.records.stream())


@pytest.mark.parametrize(
    ("count", "media"),
    [("", "application/jsonl"), ("-1", "application/jsonl"), ("1.0", ""), ("1", "application/json")],
)
def test_a_stream_of_which_nobody_could_say_that_it_is_whole(count: str, media: str) -> None:
    """Without the number of its rows, or in another form than asked for, it is an error before any row."""
    body = b'{"id": "1", "event": "e"}\n'
    with (
        AuditApi("http://127.0.0.1:1", token=TOKEN, transport=Scripted(body, count, media)) as api,
        pytest.raises(ApiStatusError, match="MPT-Item-Count"),
    ):
        next(api.records.stream())


@pytest.mark.parametrize("action", ["truncated", "reset"])
def test_a_stream_that_is_cut(emulator: Emulator, action: str) -> None:
    """In the middle of a row or before its answer: an error at last, and what came before it is right."""
    with AuditApi(emulator.url, token=TOKEN, retries=QUICK) as api:
        for number in range(20):
            api.records.create(
                event="extensions.a.b", summary=str(number), details="d", object="ORD-1111-2222"
            )
        whole = [row.id for row in api.records.stream()]
        emulator.script({"action": action})
        rows = []
        with pytest.raises(ApiConnectionError):
            rows.extend(row.id for row in api.records.stream())
        assert rows == whole[: len(rows)]


def test_a_streams_small_print() -> None:
    """Blank lines keep it alive, deleted rows count but do not come, and the last line needs no end."""
    body = (
        b'\n{"id": "1", "event": "e"}\r\n\n{"id": "2", "$meta": {"deleted": true}}\n{"id": "3", "event": "e"}'
    )
    with AuditApi("http://127.0.0.1:1", token=TOKEN, transport=Scripted(body, "3")) as api:
        assert [row.id for row in api.records.stream()] == ["1", "3"]


@pytest.mark.parametrize(
    "body",
    [
        {"data": {}},
        {"data": [5]},
        {},
        {"data": [{"id": 5}]},
        {"data": [{"id": ["1"]}]},
        {"data": [{"event": "e"}]},
    ],
)
def test_what_is_no_list(body: dict[str, Any]) -> None:
    """A good status with something else than a list is an error of the client's tree."""
    with answering(body) as api, pytest.raises(ApiStatusError):
        list(api.records.iterate())


@pytest.mark.parametrize(
    "meta",
    [
        None,
        {},
        [],
        "m",
        {"pagination": [1]},
        {"pagination": {"offset": "0", "limit": "10", "total": "1"}, "omitted": 5},
        {"pagination": {"offset": None, "limit": None, "total": None}, "omitted": None},
    ],
)
def test_a_list_with_a_strange_meta(meta: Any) -> None:
    """Where $meta does not say how many rows there are, the page is the only one."""
    with answering({"data": [{"id": "1"}], **({} if meta is None else {"$meta": meta})}) as api:
        assert [row.id for row in api.records.iterate()] == ["1"]
        page = api.records.list()
        assert (page.offset, page.limit, page.total, page.omitted) == (0, 1, 1, ())


def answering(body: Any) -> AuditApi:
    """A client of a server that always answers this."""
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json=body))
    return AuditApi("http://127.0.0.1:1", token=TOKEN, transport=transport, retries=QUICK)


def test_names_from_an_iterator_hold_for_every_page(api: AuditApi) -> None:
    """It is read once, and asked of each page."""
    for number in range(5):
        api.records.create(
            event="extensions.a.b",
            summary=str(number),
            details="d",
            object="ORD-1111-2222",
            documents={"n": number},
        )
    rows = api.records.iterate(select=iter(["documents"]), order=iter(["-timestamp"]), limit=2)
    assert [row.documents for row in rows] == [{"n": number} for number in range(4, -1, -1)]
