"""Reading: select, omitted, paging, rendering, streams, errors of the HTTP kind."""

import contextlib
import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from auditbox.emulator import Emulator, running
from tests.emulator.conftest import ORDER, TOKEN, submission


@pytest.fixture(scope="module")
def http() -> Any:
    """A client for an emulator with the shipped seed's records and one of our own."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    seed = {
        "records": [
            ROW,
            {"id": "AUD-1111-0000-0000-0002", "event": "extensions.a.b", "timestamp": "2026-01-02"},
        ]
    }
    with (
        running(seed=seed) as started,
        httpx.Client(base_url=f"{started.url}/public/v1/audit", headers=headers) as it,
    ):
        yield it


ROW = {
    "id": "AUD-1111-0000-0000-0001",
    "event": "platform.commerce.order.created",
    "summary": "{{order.name}} by {{ actor.name }}",
    "details": "{{order.lines}}{{order.missing}} {{object.id}} {{braces}} {{ {{order.open",
    "object": {"id": ORDER, "name": "An order", "objectType": "Order"},
    "timestamp": "2026-01-01T12:00:00.123Z",
    "actor": {"id": "USR-1", "name": "Will", "account": {"id": "ACC-1", "accountType": "Vendor"}},
    "type": "Public",
    "request": {"api": {"ip": "::1", "geolocation": {"countryCode": "CH", "region": "ZH"}}},
    "documents": {"order": {"name": "O-1", "lines": [1, {"a": None}]}, "braces": "{{x}}"},
    "viewers": [{"id": "ACC-1", "name": "Acme", "type": "Vendor"}],
}
WITHOUT = {name: value for name, value in ROW.items() if name not in {"documents", "viewers"}}


def one(http: httpx.Client, query: str) -> dict[str, Any]:
    """The seeded record as a list with this query shows it."""
    (row,) = http.get(f"/records?id={ROW['id']}&{query}").json()["data"]
    return dict(row)


def test_get_is_whole(http: httpx.Client) -> None:
    """A get answers everything; what is null is absent."""
    assert http.get(f"/records/{ROW['id']}").json() == ROW
    assert http.get("/records/AUD-1111-0000-0000-0002").json() == {
        "id": "AUD-1111-0000-0000-0002",
        "event": "extensions.a.b",
        "timestamp": "2026-01-02T00:00:00.000Z",
    }


@pytest.mark.parametrize(
    ("select", "row", "omitted"),
    [
        ("", WITHOUT, ["documents", "viewers"]),
        ("object,actor", WITHOUT, ["documents", "viewers"]),
        ("documents,+viewers", ROW, []),
        ("*", ROW, []),
        ("*,-viewers", {**WITHOUT, "documents": ROW["documents"]}, ["viewers"]),
        ("nothing,-neither", WITHOUT, ["documents", "viewers"]),
        ("-actor", {k: v for k, v in WITHOUT.items() if k != "actor"}, ["actor", "documents", "viewers"]),
        (
            "DOCUMENTS.order.name",
            {**WITHOUT, "documents": {"order": {"name": "O-1"}}},
            ["viewers"],
        ),
        ("viewers.id", {**WITHOUT, "viewers": [{"id": "ACC-1"}]}, ["documents"]),
        (
            "-request.api.geolocation",
            {**WITHOUT, "request": {"api": {"ip": "::1"}}},
            ["request.api.geolocation", "documents", "viewers"],
        ),
        (
            "-actor,actor.account.id",
            {**WITHOUT, "actor": {"account": {"id": "ACC-1"}}},
            ["documents", "viewers"],
        ),
    ],
)
def test_select(http: httpx.Client, select: str, row: dict[str, Any], omitted: list[str]) -> None:
    """select adds to the default parts, minus takes away, and $meta.omitted tells what is missing."""
    answer = http.get("/records", params={"select": select, "order": "timestamp", "limit": 1}).json()
    assert answer["data"][0] == row
    assert answer["$meta"].get("omitted", []) == omitted


def test_select_on_get(http: httpx.Client) -> None:
    """select works on a get, in the official client's spelling too."""
    answer = http.get(f"/records/{ROW['id']}?select=object%2C-documents%2C-viewers&render%28%29=").json()
    assert set(answer) == set(WITHOUT)
    assert answer["summary"] == "O-1 by Will"


@pytest.mark.parametrize("spelling", ["render()", "render%28%29=", "RENDER()", "render()&select=documents"])
def test_render(http: httpx.Client, spelling: str) -> None:
    """Placeholders are filled from documents, actor and object; no braces remain, whatever was in them."""
    row = one(http, spelling)
    assert row["summary"] == "O-1 by Will"
    assert row["details"] == f'[1, {{"a": null}}] {ORDER} x  order.open'
    assert ("documents" in row) is ("select" in spelling)


def test_no_render(http: httpx.Client) -> None:
    """Without render() templates come as they are; render=true is nothing the API knows."""
    assert one(http, "")["summary"] == ROW["summary"]
    assert http.get("/records?render=true").status_code == 400


@pytest.mark.parametrize(
    ("query", "pagination"),
    [
        ("", {"offset": 0, "limit": 10, "total": 2}),
        ("limit=1000", {"offset": 0, "limit": 100, "total": 2}),
        ("limit=0", {"offset": 0, "limit": 0, "total": 2}),
        ("limit=1&offset=1", {"offset": 1, "limit": 1, "total": 2}),
        ("offset=50", {"offset": 50, "limit": 10, "total": 2}),
        ("limit=ten", {"offset": 0, "limit": 10, "total": 2}),
    ],
)
def test_pagination(http: httpx.Client, query: str, pagination: dict[str, int]) -> None:
    """The page says with which limit it was made, exactly in the three fields that clients take."""
    assert http.get(f"/records?{query}").json()["$meta"]["pagination"] == pagination


FILTER = (
    "and(ilike(summary,%22*A%26b%20%27c%27%20%C3%A9%2B%25*%22),ge(timestamp,'2026-01-01T00%3A00%3A00%2B00%3A00'),"
    "in(event,('a.b','platform.commerce.order.created')),not(eq(type,'Private')),eq(object.icon,null()),"
    "or(eq(actor.id,'x'),eq(actor.name,'Will'),eq(actor.name,empty())))"
)


@pytest.mark.parametrize(
    ("path", "ids"),
    [
        (f"/records?limit=100&offset=0&eq(object.id,'{ORDER}')&render()", ["1"]),
        ("/records?limit=5&offset=0&order=-timestamp,+id&select=object,-documents,request.api.geolocation"
         f"&{FILTER}&render()", ["1"]),
        ("/records?limit=5&offset=0&any(viewers,eq(type,'Vendor'))", ["1"]),
        ("/records?limit=0&offset=0&any(viewers,eq(type,'Vendor'))", []),
        ("/records?order=-timestamp,+id", ["2", "1"]),
        ("/records?order=%2Btimestamp&LIMIT=1", ["1"]),
        ("/records?render()&eq(object.name,'An%20order')&limit=1&select=%2Bdocuments", ["1"]),
        ("/records?eq(object.name,'An+order')", ["1"]),
        ("/records?summary=ilike&event=extensions.a.b", []),
    ],
)  # fmt: skip
def test_what_clients_really_send(wire: Callable[[str], tuple[int, Any]], path: str, ids: list[str]) -> None:
    """The official client's requests, byte for byte: parts in any order, signs and quotes encoded or not."""
    status, body = wire(path)
    assert (status, [row["id"][-1] for row in body["data"]]) == (200, ids)


@pytest.fixture(scope="module")
def wire() -> Iterator[Callable[[str], tuple[int, Any]]]:
    """Sends a path and query without touching them."""
    summary = "x a&b 'c' é+% y"
    seed = {
        "records": [
            {**ROW, "summary": summary},
            {"id": "AUD-1111-0000-0000-0002", "event": "extensions.a.b", "timestamp": "2026-01-02"},
        ]
    }
    with running(seed=seed) as started:

        def send(path: str) -> tuple[int, Any]:
            connection = HTTPConnection("127.0.0.1", started.port, timeout=60)
            connection.request("GET", f"/public/v1/audit{path}", headers={"Authorization": f"Bearer {TOKEN}"})
            with contextlib.closing(connection):
                answer = connection.getresponse()
                return answer.status, json.loads(answer.read())

        yield send


def test_a_part_that_is_no_parameter(wire: Callable[[str], tuple[int, Any]]) -> None:
    """rql= is nothing that the API knows, and neither is a filter of another kind of object."""
    for path in ("/records?rql=eq(id,1)", "/records?key='x'", "/event-types?summary='x'"):
        assert wire(path)[0] == 400


def test_http_errors(http: httpx.Client) -> None:
    """404 for what is unknown or nowhere, 405 for other verbs, 400 for a wrong filter, all of them JSON."""
    missing = http.get("/records/AUD-0000-0000-0000-0000")
    assert missing.json()["detail"] == "Entity for given id AUD-0000-0000-0000-0000 not found"
    assert (missing.status_code, missing.json()["title"]) == (404, "Not Found")
    assert http.get("/event-types/AET-0000-0000").status_code == 404
    assert http.get("/nowhere").json() == {"statusCode": 404, "message": "Resource not found"}
    for method, path in (("DELETE", "/records"), ("PUT", f"/records/{ROW['id']}"), ("POST", "/event-types")):
        answer = http.request(method, path, json={})
        assert (answer.status_code, answer.json()["status"]) == (405, 405)
    wrong = http.get("/event-types?eq(nothing,'x')")
    assert wrong.json()["errors"] == {"nothing": ["Invalid property path."]}


def test_a_stream(http: httpx.Client) -> None:
    """A stream is one line for each row and says how many there are; JSON is an envelope."""
    answer = http.get(
        "/records?order=timestamp", headers={"MPT-Streaming": "true", "Accept": "application/jsonl"}
    )
    assert answer.headers["mpt-streaming"] == "true"
    assert answer.headers["content-type"].startswith("application/jsonl")
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert (answer.headers["mpt-item-count"], rows[0]) == ("2", WITHOUT)
    whole = http.get(
        "/records?limit=1&offset=1", headers={"MPT-Streaming": "true", "Accept": "application/json"}
    )
    assert whole.headers["mpt-item-count"] == "1"
    assert [row["id"] for row in whole.json()["data"]] == [ROW["id"]]
    assert whole.json()["$meta"]["pagination"] == {"offset": 1, "limit": 1, "total": 1}
    assert http.get("/records", headers={"MPT-Streaming": "true", "Accept": "text/csv"}).status_code == 406


def test_no_stream() -> None:
    """An emulator that does not stream answers 501."""
    headers = {"MPT-Streaming": "true", "Authorization": f"Bearer {TOKEN}"}
    with running(streaming=False) as started:
        answer = httpx.get(f"{started.url}/public/v1/audit/records", headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (501, "Not Implemented")


def test_too_long_for_a_stream() -> None:
    """More rows than a stream may have are a 413 that says so; pages and bounded streams are no matter."""
    seed = {"records": [{**ROW, "id": f"AUD-1111-0000-0000-000{number}"} for number in range(3)]}
    headers = {"MPT-Streaming": "true", "Authorization": f"Bearer {TOKEN}"}
    with running(max_stream=2, max_limit=2, seed=seed) as started:
        url = f"{started.url}/public/v1/audit/records"
        answer = httpx.get(url, headers=headers)
        assert (answer.status_code, answer.json()["title"]) == (413, "Payload Too Large")
        assert "more than 2 rows" in answer.json()["detail"]
        assert httpx.get(f"{url}?limit=2", headers=headers).headers["mpt-item-count"] == "2"
        page = httpx.get(f"{url}?limit=50", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert (len(page["data"]), page["$meta"]["pagination"]["limit"]) == (2, 2)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, "application/jsonl"),
        ("*/*", "application/jsonl"),
        ("application/*", "application/jsonl"),
        ("text/html, application/json;q=0.5", "application/json"),
        ("APPLICATION/JSONL", "application/jsonl"),
        ("text/csv", None),
    ],
)
def test_what_a_stream_is_made_of(http: httpx.Client, accept: str | None, media: str | None) -> None:
    """JSON lines unless JSON is asked for; anything else is a 406."""
    request = http.build_request("GET", "/event-types", headers={"MPT-Streaming": "true"})
    request.headers.pop("Accept")
    if accept is not None:
        request.headers["Accept"] = accept
    answer = http.send(request)
    assert answer.status_code == (406 if media is None else 200)
    assert media is None or answer.headers["content-type"].partition(";")[0] == media


def test_a_stream_is_a_snapshot(emulator: Emulator) -> None:
    """Records that arrive while a stream is read are not in it, and do not disturb it."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=f"{emulator.url}/public/v1/audit", headers=headers) as http:
        big = submission(documents={"x": "y" * 20_000})
        for _ in range(300):
            http.post("/records", json=big)
        query = "/records?order=timestamp&select=documents"
        with http.stream("GET", query, headers={"MPT-Streaming": "true"}) as answer:
            lines = answer.iter_lines()
            first = next(lines)
            for _ in range(20):
                httpx.post(f"{emulator.url}/public/v1/audit/records", json=big, headers=headers)
            rows = [json.loads(first), *(json.loads(line) for line in lines if line)]
    assert len({row["id"] for row in rows}) == len(rows) == int(answer.headers["mpt-item-count"]) == 300
