"""The contract's rules on creating, one after the other, and what a record inherits (2, 3 and 10)."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from auditbox.emulator import Emulator, running, shipped_seed
from tests.emulator.conftest import CLIENT, OPERATIONS, ORDER, VENDOR, submission

Connect = Callable[..., httpx.Client]
JSON = {"Content-Type": "application/json"}
UNSEEN = "ORD-9999-0000-0001"


@pytest.mark.parametrize(
    ("token", "content", "media", "status"),
    [
        ("idt:TKN-9999-9999:x", b"{", "text/plain", 401),
        (CLIENT, b"{", "text/plain", 403),
        (VENDOR, b"{", "text/plain", 415),
        (VENDOR, b"{", "application/json", 400),
        (VENDOR, {"object": {"id": UNSEEN}, "summary": ""}, "application/json", 400),
        (VENDOR, {"object": {"id": "XYZ-1111-2222"}}, "application/json", 400),
        (VENDOR, {"object": {"id": UNSEEN}}, "application/json", 403),
        (VENDOR, {}, "application/json", 201),
    ],
)
def test_the_first_rule_that_is_broken_answers(
    strict: Emulator, connect: Connect, token: str, content: Any, media: str, status: int
) -> None:
    """Token, account, media type, body, fields, object, access: in this order."""
    content = content if isinstance(content, bytes) else json.dumps(submission(**content)).encode()
    answer = connect(strict, token).post("/records", content=content, headers={"Content-Type": media})
    assert answer.status_code == status


def test_every_wrong_field_is_named(http: httpx.Client) -> None:
    """One 400 says all that is wrong with the fields."""
    errors = http.post("/records", json={"id": "x", "type": "public", "object": {"id": "y"}}).json()["errors"]
    assert set(errors) == {"id", "event", "summary", "details", "type", "object.id"}


@pytest.mark.parametrize("depth", [50, 198])
def test_a_nested_body_is_taken(http: httpx.Client, depth: int) -> None:
    """What auditbox itself would send is far below the limit; whatever is taken can be read in every way."""
    given = submission(documents={"a": json.loads("[" * depth + "]" * depth)}, details="{{a}}")
    made = http.post("/records", json=given).json()
    assert http.get(f"/records/{made['id']}").json()["documents"] == given["documents"]
    for query in ("render()", "select=documents.a.b.c", "select=-documents.a.b.c"):
        assert http.get(f"/records/{made['id']}?{query}").status_code == 200


@pytest.mark.parametrize("depth", [250, 970, 990, 20_000])
@pytest.mark.parametrize("brackets", [b"[]", b'{"a":}'])
def test_a_body_nested_too_deeply(shared: httpx.Client, depth: int, brackets: bytes) -> None:
    """Beyond it is a 400, never a 500."""
    opening, inner = brackets[:-1], b"" if brackets == b"[]" else b"1"
    body = b'{"documents":{"a":' + opening * depth + inner + brackets[-1:] * depth + b"}}"
    answer = shared.post("/records", content=body, headers=JSON)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["$"])


def test_the_same_submission_twice_is_two_records(http: httpx.Client) -> None:
    """There is no idempotency key and nothing is recognised as doubled."""
    ids = {http.post("/records", json=submission()).json()["id"] for _ in range(3)}
    assert len(ids) == http.get("/records").json()["$meta"]["pagination"]["total"] == 3


@pytest.mark.parametrize("kind", ["Private", "Public"])
def test_a_vendor_does_not_choose_who_sees_it(strict: Emulator, connect: Connect, kind: str) -> None:
    """The type that it sends is ignored: the object's newest record decides."""
    made = connect(strict, VENDOR).post("/records", json=submission(type=kind)).json()
    assert (made["type"], len(made["viewers"])) == ("Public", 3)


def test_after_a_private_record_the_vendors_own_is_hidden_from_it(strict: Emulator, connect: Connect) -> None:
    """It may still write, as it sees older ones; the new one is like the newest, which it cannot see."""
    vendor, operations = connect(strict, VENDOR), connect(strict, OPERATIONS)
    operations.post("/records", json=submission(type="Private"))
    made = vendor.post("/records", json=submission())
    assert made.status_code == 201
    assert (made.json()["type"], [v["type"] for v in made.json()["viewers"]]) == ("Private", ["Operations"])
    assert vendor.get(f"/records/{made.json()['id']}").status_code == 404
    assert operations.get(f"/records/{made.json()['id']}").status_code == 200


def test_the_type_is_inherited_with_the_viewers(connect: Connect) -> None:
    """A private newest record makes private ones, whoever its viewers are."""
    seed = shipped_seed()
    newest = seed.records[-1].model_copy(update={"type": "Private"})
    with running(strict=True, seed=seed.model_copy(update={"records": [newest]})) as emulator:
        made = connect(emulator, VENDOR).post("/records", json=submission()).json()
        assert (made["type"], len(made["viewers"])) == ("Private", 3)


def test_null_and_empty_fields_are_absent(connect: Connect) -> None:
    """In answers to a post, a get and a list."""
    seed = {
        "records": [{"id": "AUD-1", "event": "extensions.a.b", "summary": "", "documents": {}, "viewers": [],
                     "object": {"id": ORDER, "name": ""}, "timestamp": "2026-01-02T00:00:00Z"}],
        "eventTypes": [{"id": "AET-0000-0001", "key": "extensions.a.b", "name": "", "description": ""}],
    }  # fmt: skip
    with running(seed=seed) as emulator:
        http = connect(emulator)
        whole = {"id": "AUD-1", "event": "extensions.a.b", "timestamp": "2026-01-02T00:00:00.000Z"}
        assert http.get("/records/AUD-1").json() == {**whole, "object": {"id": ORDER}}
        assert http.get("/records?select=*").json()["data"] == [{**whole, "object": {"id": ORDER}}]
        made = http.post("/records", json=submission(documents={})).json()
        assert "documents" not in made
        assert http.get(f"/records/{made['id']}").json() == made


def test_an_empty_name_of_an_event_type_is_filled_in(connect: Connect) -> None:
    """By the next record of the event; a name that is there already stays."""
    key = submission()["event"]
    types = [{"id": f"AET-0000-000{n}", "key": key if n == 1 else f"{key}.x", **name}
             for n, name in ((1, {}), (2, {"name": "Kept"}))]  # fmt: skip
    with running(seed={"eventTypes": types}) as emulator:
        http = connect(emulator)
        assert http.get("/event-types/AET-0000-0001").json() == {"id": "AET-0000-0001", "key": key}
        for event in (key, f"{key}.x"):
            http.post("/records", json=submission(event=event))
        assert [kind["name"] for kind in http.get("/event-types").json()["data"]] == [
            "Order approved",
            "Kept",
        ]


def test_event_types_are_everybodys(strict: Emulator, connect: Connect) -> None:
    """Every account reads all of them and, as the platform has no gate there, may rename them."""
    for token in (OPERATIONS, VENDOR, CLIENT):
        http = connect(strict, token)
        assert http.get("/event-types").json()["$meta"]["pagination"]["total"] == 3
        answer = http.put("/event-types/AET-0000-0001", json={"name": f"By {token}", "unknown": 1})
        assert (answer.status_code, answer.json()["name"]) == (200, f"By {token}")
        assert "unknown" not in answer.json()


@pytest.mark.parametrize(
    ("content", "media", "status"),
    [
        (b'{"name": "N"}', "text/json", 200),
        (b'{"name": "N"}', "application/merge-patch+json", 200),
        (b'{"name": "N"}', "text/plain", 415),
        (b"[]", "application/json", 400),
        (b"{", "application/json", 400),
    ],
)
def test_bodies_of_an_update(
    strict: Emulator, connect: Connect, content: bytes, media: str, status: int
) -> None:
    """An update takes the media types that a create takes."""
    headers = {"Content-Type": media}
    answer = connect(strict, VENDOR).put("/event-types/AET-0000-0001", content=content, headers=headers)
    assert answer.status_code == status


PLACES = [
    {"network": "203.0.113.0/24", "countryCode": "CH", "countryName": "Switzerland", "region": "Zug"},
    {"network": "203.0.0.0/16", "countryCode": "AU"},
    {"network": "2001:db8::/32", "countryCode": "DE"},
]


@pytest.fixture(scope="module")
def located() -> Iterator[Emulator]:
    """An emulator that knows some places."""
    with running(seed={"locations": PLACES}) as started:
        yield started


@pytest.mark.parametrize(
    ("forwarded", "ip", "place"),
    [
        (None, "127.0.0.1", None),
        ("203.0.113.7", "203.0.113.7", {"countryCode": "CH", "countryName": "Switzerland", "region": "Zug"}),
        ("203.0.113.7, 10.0.0.1", "203.0.113.7", PLACES[0]),
        ("203.0.9.9", "203.0.9.9", {"countryCode": "AU"}),
        ("2001:DB8::7", "2001:db8::7", {"countryCode": "DE"}),
        ("192.0.2.1", "192.0.2.1", None),
        ("unknown", "127.0.0.1", None),
        ("", "127.0.0.1", None),
    ],
)
def test_where_a_request_came_from(
    located: Emulator, connect: Connect, forwarded: str | None, ip: str, place: dict[str, str] | None
) -> None:
    """The first gateway's word counts; the seed's narrowest network says the place, else there is none."""
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    http = connect(located)
    made = http.post("/records", json=submission(), headers={**headers, "User-Agent": "shop/1"}).json()
    expected = place and {name: value for name, value in place.items() if name != "network"}
    assert made["request"]["api"] == {
        "ip": ip, "userAgent": "shop/1", **({"geolocation": expected} if expected else {})
    }  # fmt: skip
    assert http.get(f"/records/{made['id']}").json()["request"] == made["request"]
    code = (place or {}).get("countryCode")
    condition = f"eq(request.api.geolocation.countryCode,{code!r})" if code else "eq(id,'x')"
    found = {row["id"] for row in http.get(f"/records?{condition}&limit=100").json()["data"]}
    assert (made["id"] in found) is bool(place)


def test_correlation(http: httpx.Client) -> None:
    """The operation is the caller's trace and the request its id, where it sends them; else both are new."""
    trace = "9e02a91b64ac56904703a3a69ea9101d"
    headers = {"traceparent": f"00-{trace}-56be90a29d0b0b25-00", "x-request-id": "req-1"}
    log = http.post("/records", json=submission(), headers=headers).json()["request"]["log"]
    assert log == {"requestId": "req-1", "operationId": trace}
    own = [http.post("/records", json=submission()).json()["request"]["log"] for _ in range(2)]
    assert own[0].keys() == own[1].keys() == log.keys()
    assert not set(own[0].values()) & set(own[1].values())


def test_a_body_beyond_the_limit(connect: Connect) -> None:
    """It is a 413 with a problem body, kept nowhere; one of just the limit is taken."""
    content = json.dumps(submission()).encode()
    with running(max_body=len(content)) as emulator:
        http = connect(emulator)
        assert http.post("/records", content=content, headers=JSON).status_code == 201
        answer = http.post("/records", content=content + b" ", headers=JSON)
        assert (answer.status_code, answer.json()["title"]) == (413, "Payload Too Large")
        chunked = http.post("/records", content=iter([b"x" * 1000] * 100), headers=JSON)
        assert chunked.status_code == 413
        assert [request["body"] for request in emulator.requests()[1:]] == [None, None]
        assert emulator.health()["records"] == 1


def test_the_limit_of_a_body() -> None:
    """Unless it is said otherwise, it is the 30,000,000 bytes of the platform's kind of server."""
    with running() as emulator:
        url = f"{emulator.url}/public/v1/audit/records"
        headers = {**JSON, "Authorization": f"Bearer {VENDOR}"}
        for size, status in ((30_000_000, 400), (30_000_001, 413)):
            assert httpx.post(url, content=bytes(size), headers=headers, timeout=60).status_code == status
