"""Reading: select, omitted, paging, rendering, streams, errors of the HTTP kind."""

import json
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
    assert whole.json()["$meta"]["pagination"] == {"offset": 1, "limit": 1, "total": 2}
    assert http.get("/records", headers={"MPT-Streaming": "true", "Accept": "text/csv"}).status_code == 406


def test_no_stream() -> None:
    """An emulator that does not stream answers 501."""
    headers = {"MPT-Streaming": "true", "Authorization": f"Bearer {TOKEN}"}
    with running(streaming=False) as started:
        answer = httpx.get(f"{started.url}/public/v1/audit/records", headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (501, "Not Implemented")


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
