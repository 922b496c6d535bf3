"""Creating records: the contract's rules, lax and strict."""

import json
import re
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from auditbox.emulator import Emulator, running, shipped_seed
from tests.emulator.conftest import CLIENT, OPERATIONS, ORDER, TOKEN, VENDOR, submission


def test_a_record_is_completed(http: httpx.Client) -> None:
    """The answer is 201 with id, timestamp, actor, request and viewers set by the server."""
    answer = http.post("/records", json=submission())
    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert "date" in answer.headers
    assert re.fullmatch(r"AUD(-\d{4}){4}", body["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["timestamp"])
    assert body["actor"]["id"] == "TKN-1234-5678"
    assert body["object"] == {"id": ORDER, "name": ORDER, "objectType": "Order"}
    assert body["request"]["api"]["ip"] == "127.0.0.1"
    assert body["documents"] == submission()["documents"]
    assert http.get(f"/records/{body['id']}").json() == body


def test_what_the_server_sets_is_ignored(http: httpx.Client) -> None:
    """Read-only and unknown fields of a submission are tolerated and have no effect."""
    given = submission(
        actor={"id": "USR-1", "type": "x"}, payload={"a": 1}, timestamp="2001-01-01", viewers=[]
    )
    body = http.post("/records", json=given).json()
    assert body["actor"]["id"] == "TKN-1234-5678"
    assert "payload" not in body
    assert not body["timestamp"].startswith("2001")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "AUD-1"}, "id"),
        ({"summary": ""}, "summary"),
        ({"summary": None}, "summary"),
        ({"summary": "  "}, "summary"),
        ({"details": ""}, "details"),
        ({"details": 5}, "details"),
        ({"event": None}, "event"),
        ({"event": "platform.commerce.order.created"}, "event"),
        ({"event": "extensions.shop"}, "event"),
        ({"event": "extensions.shop.a b"}, "event"),
        ({"type": "public"}, "type"),
        ({"type": ["Public"]}, "type"),
        ({"documents": [1]}, "documents"),
        ({"documents": "text"}, "documents"),
        ({"object": "ORD-1"}, "object"),
        ({"object": {"id": "order 5"}}, "object.id"),
        ({"object": {"id": 5}}, "object.id"),
        ({"object": {"id": ORDER, "name": {}}}, "object.name"),
    ],
)
def test_what_is_rejected(shared: httpx.Client, changes: dict[str, Any], field: str) -> None:
    """A submission that breaks a rule is a 400 whose errors name the field; nothing is stored."""
    before = shared.get("/records").json()["$meta"]["pagination"]["total"]
    answer = shared.post("/records", json=submission(**changes))
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", answer.json()["traceId"])
    assert shared.get("/records").json()["$meta"]["pagination"]["total"] == before


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"5", b'{"a": NaN}', b'{"summary": "\\ud800"}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_object(shared: httpx.Client, body: bytes) -> None:
    """A body that is no JSON object, or no Unicode, is a 400."""
    answer = shared.post("/records", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("text/json", 201),
        ("application/problem+json", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
    ],
)
def test_media_types(shared: httpx.Client, media: str, status: int) -> None:
    """JSON media types are taken, others are a 415."""
    content = httpx.Request("POST", "http://x", json=submission()).content
    assert shared.post("/records", content=content, headers={"Content-Type": media}).status_code == status


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        "Basic idt:TKN-1234-5678:s",
        "Bearer idt:USR-1234-5678:s",
        "Bearer idt:TKN-1:s",
    ],
)
def test_no_token(shared: httpx.Client, authorization: str | None) -> None:
    """Without a well-formed token every operation is a 401 with an empty body."""
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path in (("GET", "records"), ("POST", "records"), ("PUT", "event-types/AET-1")):
        answer = httpx.request(method, f"{shared.base_url}{path}", headers=headers, trust_env=False)
        assert (answer.status_code, answer.content) == (401, b"")


def test_the_object_of_the_documents(http: httpx.Client) -> None:
    """Without an object the one recognised platform object of the documents is meant."""
    given = submission(object=None, documents={"order": {"id": ORDER}, "note": {"id": "x"}, "n": 5})
    assert http.post("/records", json=given).json()["object"]["id"] == ORDER


@pytest.mark.parametrize(
    "documents", [None, {}, {"a": {"id": "x"}}, {"a": {"id": ORDER}, "b": {"id": "AGR-2119-4550-8674"}}]
)
def test_no_single_object(shared: httpx.Client, documents: dict[str, Any] | None) -> None:
    """None or several objects are a 400."""
    answer = shared.post("/records", json=submission(object=None, documents=documents))
    assert list(answer.json()["errors"]) == ["object"]


def test_event_types_are_provisioned(http: httpx.Client) -> None:
    """The first record of an event makes its type, named after the record; later ones change nothing."""
    http.post("/records", json=submission())
    http.post("/records", json=submission(summary="Another"))
    (found,) = http.get("/event-types").json()["data"]
    assert re.fullmatch(r"AET-\d{4}-\d{4}", found.pop("id"))
    assert found == {"key": "extensions.shop.order.approved", "name": "Order approved"}


def test_event_types_are_partly_updatable(http: httpx.Client) -> None:
    """Name and description can be changed, one at a time; key and id cannot."""
    http.post("/records", json=submission())
    (found,) = http.get("/event-types").json()["data"]
    path = f"/event-types/{found['id']}"
    assert http.put(path, json={"description": "D", "id": found["id"]}).json() == {
        **found,
        "description": "D",
    }
    assert http.put(path, json={"name": "N"}).json()["name"] == "N"
    for wrong in ({"key": "x"}, {"name": ""}, {"description": None}, {"name": 5}, {"id": "AET-0"}):
        assert http.put(path, json=wrong).status_code == 400
    assert http.get(path).json() == {**found, "name": "N", "description": "D"}
    assert http.put("/event-types/AET-0000-0000", json={"name": "N"}).status_code == 404


def test_a_stranger_is_refused(strict: Emulator, connect: Callable[..., httpx.Client]) -> None:
    """Strict, an unknown token or a wrong secret is a 401, and a client may not write."""
    assert connect(strict, "idt:TKN-1234-5678:x").get("/records").status_code == 401
    assert connect(strict, "idt:TKN-1111-1111:x").get("/records").status_code == 401
    assert connect(strict, CLIENT).post("/records", json=submission()).status_code == 403


def test_a_vendor_cannot_open_a_history(strict: Emulator, connect: Callable[..., httpx.Client]) -> None:
    """Strict, a vendor may write about what it can see; operations opens the history of the rest."""
    vendor, operations = connect(strict, VENDOR), connect(strict, OPERATIONS)
    unseen = submission(object={"id": "ORD-9999-0000-0001"})
    assert vendor.post("/records", json=submission()).status_code == 201
    assert vendor.post("/records", json=unseen).status_code == 403
    opened = operations.post("/records", json=unseen).json()
    assert opened["type"] == "Private"
    assert [viewer["type"] for viewer in opened["viewers"]] == ["Operations"]
    assert vendor.post("/records", json=unseen).status_code == 403


def test_an_unknown_object_type(strict: Emulator, connect: Callable[..., httpx.Client]) -> None:
    """Strict, an id with an unknown prefix is a 400; lax, it is taken."""
    given = submission(object={"id": "XYZ-1111-2222"})
    assert connect(strict, OPERATIONS).post("/records", json=given).status_code == 400


def test_visibility_is_inherited(strict: Emulator, connect: Callable[..., httpx.Client]) -> None:
    """A record has the viewers of the object's newest one; a private one is for operations alone."""
    vendor, operations, client = (connect(strict, token) for token in (VENDOR, OPERATIONS, CLIENT))
    public = vendor.post("/records", json=submission()).json()
    assert public["type"] == "Public"
    assert {viewer["id"] for viewer in public["viewers"]} == {
        "ACC-0000-0001",
        "ACC-1111-1111",
        "ACC-9042-0088",
    }
    private = operations.post("/records", json=submission(type="Private")).json()
    for reader, sees_private in ((vendor, False), (client, False), (operations, True)):
        assert reader.get(f"/records/{public['id']}").status_code == 200
        assert reader.get(f"/records/{private['id']}").status_code == (200 if sees_private else 404)
        ids = {row["id"] for row in reader.get("/records").json()["data"]}
        assert public["id"] in ids
        assert (private["id"] in ids) is sees_private


def test_a_client_sees_what_is_public_and_its_own(
    strict: Emulator, connect: Callable[..., httpx.Client]
) -> None:
    """A client does not see the records of objects that it is no viewer of."""
    rows = connect(strict, CLIENT).get("/records").json()["data"]
    assert [row["object"]["id"] for row in rows] == [ORDER]


def test_a_private_record_is_not_for_clients(connect: Callable[..., httpx.Client]) -> None:
    """A client that is among the viewers of a private record does not see it; a vendor does."""
    seed = shipped_seed()
    private = seed.records[-1].model_copy(update={"id": "AUD-0000-0000-0000-0001", "type": "Private"})
    with running(strict=True, seed=seed.model_copy(update={"records": [private]})) as emulator:
        assert connect(emulator, VENDOR).get(f"/records/{private.id}").status_code == 200
        assert connect(emulator, CLIENT).get(f"/records/{private.id}").status_code == 404
        assert connect(emulator, CLIENT).get("/records").json()["data"] == []


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000])
def test_a_number_beyond_all_bounds(http: httpx.Client, number: str) -> None:
    """It could not be answered as JSON again, so it is no JSON here; a large one is kept whole."""
    head = {"Content-Type": "application/json"}
    body = json.dumps(submission(documents={"n": 0})).replace('"n": 0', f'"n": {number}')
    answer = http.post("/records", content=body, headers=head)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["$"])
    large = http.post("/records", content=body.replace(number, "9" * 400), headers=head).json()
    assert large["documents"] == {"n": int("9" * 400)}


def test_half_a_request_is_none(emulator: Emulator) -> None:
    """A client that goes away before it has sent all of the body has posted nothing."""
    body = json.dumps(submission()).encode()
    head = f"POST /public/v1/audit/records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body) + 1}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", emulator.port)) as connection:
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(65536)  # until the emulator has closed it, or answered
    assert emulator.health()["records"] == 0
    assert emulator.requests() == []


def test_unusual_text_survives(http: httpx.Client) -> None:
    """Every Unicode text is stored and found as it was sent."""
    text = "\x00 'quoted' \"double\" \\ 😀 ẞ \u2028 {{"
    body = http.post("/records", json=submission(summary=text, documents={text: [text]})).json()
    again = http.get(f"/records/{body['id']}").json()
    assert (again["summary"], again["documents"]) == (text, {text: [text]})
