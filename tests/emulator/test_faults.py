"""Scripted faults, over real sockets."""

import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from auditbox.emulator import Emulator, create_app, running
from auditbox.errors import ConfigurationError
from tests.emulator.conftest import ORDER, TOKEN, submission


def post(http: httpx.Client, **changes: Any) -> httpx.Response:
    """Posts a good submission."""
    return http.post("/records", json=submission(**changes))


def stored(emulator: Emulator) -> int:
    """How many records the emulator holds."""
    return int(emulator.health()["records"])


def test_status(emulator: Emulator, http: httpx.Client) -> None:
    """A status is answered instead of the request being processed, with what else is scripted."""
    emulator.script({"action": "status", "status": 429, "retryAfter": 7, "headers": {"X-A": "b"}, "count": 1})
    answer = post(http)
    assert (answer.status_code, answer.headers["retry-after"], answer.headers["x-a"]) == (429, "7", "b")
    assert answer.json()["status"] == 429
    assert stored(emulator) == 0
    assert post(http).status_code == 201


@pytest.mark.parametrize("status", [204, 302, 418, 499, 599])
def test_any_status(shared_faults: Any, status: int) -> None:
    """Statuses that have no name can be scripted as well."""
    emulator, http = shared_faults
    emulator.script({"action": "status", "status": status})
    assert http.get("/records").status_code == status


def test_a_wrong_address_is_noted(emulator: Emulator) -> None:
    """What was sent to a wrong path is in the log: that is what one looks for there."""
    httpx.get(f"{emulator.url}/v1/records")
    assert [(seen["path"], seen["status"]) for seen in emulator.requests()] == [("/v1/records", 404)]


@pytest.mark.parametrize("body", ["upstream request timeout", {"statusCode": 404}, [1], ""])
def test_a_scripted_body(emulator: Emulator, http: httpx.Client, body: Any) -> None:
    """The body of a scripted status is the scripted one."""
    emulator.script({"action": "status", "status": 504, "body": body})
    answer = post(http)
    assert (answer.text if isinstance(body, str) else answer.json()) == body


def test_commit_before_status(emulator: Emulator, http: httpx.Client) -> None:
    """With commit the request is processed all the same: a gateway's 504 after the upstream was done."""
    emulator.script({"action": "status", "status": 504, "commit": True})
    assert post(http).status_code == 504
    assert stored(emulator) == 1


@pytest.mark.parametrize(("action", "kept"), [("reset", 0), ("drop", 1)])
def test_a_broken_connection(emulator: Emulator, http: httpx.Client, action: str, kept: int) -> None:
    """The connection is reset: before anything was done, or after the record was committed."""
    emulator.script({"action": action, "count": 1})
    with pytest.raises(httpx.ReadError):
        post(http)
    assert stored(emulator) == kept
    assert post(http).status_code == 201


def test_html(emulator: Emulator, http: httpx.Client) -> None:
    """A gateway's page comes as HTML."""
    emulator.script({"action": "html", "status": 502})
    answer = post(http)
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert stored(emulator) == 0


@pytest.mark.parametrize("action", ["truncated", "empty"])
def test_half_an_answer(emulator: Emulator, http: httpx.Client, action: str) -> None:
    """The record is stored and the answer's body is cut in half, or missing."""
    emulator.script({"action": action})
    answer = post(http)
    assert answer.status_code == 201
    assert stored(emulator) == 1
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        answer.json()


def test_slow(emulator: Emulator, http: httpx.Client) -> None:
    """A slow body trickles in and is whole in the end."""
    emulator.script({"action": "slow", "delay": 0.05})
    with http.stream("POST", "/records", json=submission()) as answer:
        pieces = list(answer.iter_raw())
    assert len(pieces) > 1
    assert stored(emulator) == 1
    assert b"".join(pieces).startswith(b'{"id":"AUD-')


@pytest.mark.parametrize(("commit", "kept"), [(False, 0), (True, 1)])
def test_hang(emulator: Emulator, http: httpx.Client, commit: bool, kept: int) -> None:
    """No answer comes, whether the request was processed or not; other requests are served meanwhile."""
    emulator.script({"action": "hang", "commit": commit, "method": "POST"})
    with pytest.raises(httpx.ReadTimeout):
        http.post("/records", json=submission(), timeout=0.2)
    assert http.get("/records").json()["$meta"]["pagination"]["total"] == kept
    assert emulator.requests()[0]["status"] is None


def test_a_hanging_request_does_not_hold_the_emulator(emulator: Emulator, http: httpx.Client) -> None:
    """Stopping works while a request hangs."""
    emulator.script({"action": "hang"})
    failed = threading.Event()

    def hang() -> None:
        try:
            http.get("/records")
        except httpx.HTTPError:
            failed.set()

    thread = threading.Thread(target=hang)
    thread.start()
    while not emulator.requests():  # each look is a round trip, not a busy loop
        pass
    emulator.stop()
    thread.join()
    assert failed.is_set()


def test_delay_and_latency(emulator: Emulator, http: httpx.Client) -> None:
    """A delayed request is late and otherwise as usual."""
    emulator.script({"action": "delay", "delay": 0.15}, latency=0.15)
    answer = post(http)
    assert answer.status_code == 201
    assert answer.elapsed.total_seconds() >= 0.3


@pytest.mark.parametrize(
    ("rule", "struck"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"count": 2}, [1, 2]),
        ({"skip": 3}, [4, 5]),
        ({"skip": 1, "count": 2}, [2, 3]),
        ({"ordinals": [2, 5]}, [2, 5]),
        ({"method": "get"}, []),
        ({"path": "/public/v1/audit/rec*"}, [1, 2, 3, 4, 5]),
        ({"path": "*/event-types"}, []),
        ({"object": "ORD-*-0003"}, [3]),
        ({"object": "AGR-*"}, []),
        ({"probability": 0}, []),
    ],
)
def test_when_a_fault_strikes(shared_faults: Any, rule: dict[str, Any], struck: list[int]) -> None:
    """A rule strikes by ordinal, count, method, path and the record's object."""
    emulator, http = shared_faults
    emulator.script({"action": "status", "status": 503, **rule})
    answers = [post(http, object={"id": f"ORD-0000-000{number}"}).status_code for number in range(1, 6)]
    assert [number for number, status in enumerate(answers, 1) if status == 503] == struck


@pytest.fixture(scope="module")
def shared_faults() -> Any:
    """An emulator and a client that many cases share."""
    from auditbox.emulator import running

    headers = {"Authorization": f"Bearer {TOKEN}"}
    with (
        running() as started,
        httpx.Client(base_url=f"{started.url}/public/v1/audit", headers=headers) as http,
    ):
        yield started, http


def test_chance_is_repeatable(emulator: Emulator, http: httpx.Client) -> None:
    """With a seed the same requests go wrong again."""

    def run(seed: int) -> list[int]:
        emulator.script({"action": "status", "status": 503, "probability": 0.4}, seed=seed)
        return [http.get("/records").status_code for _ in range(40)]

    first = run(1)
    assert 5 < first.count(503) < 30
    assert run(1) == first
    assert run(2) != first


def test_the_first_rule_decides(emulator: Emulator, http: httpx.Client) -> None:
    """Of several rules the first one that strikes decides; the next one counts from there."""
    emulator.script(
        {"action": "status", "status": 429, "count": 1}, {"action": "status", "status": 503, "count": 1}
    )
    assert [http.get("/records").status_code for _ in range(3)] == [429, 503, 200]


@pytest.mark.parametrize(
    "plan",
    [
        {"faults": [{"action": "explode"}]},
        {"faults": [{"action": "status", "status": 99}]},
        {"faults": [{"action": "reset", "probability": 2}]},
        {"faults": [{"action": "reset", "ordinal": 5}]},
        {"latency": -1},
        [{}],
        5,
    ],
)
def test_a_wrong_plan(plan: Any) -> None:
    """A plan that cannot be used is one clear error, at construction and over HTTP; the old one stays."""
    with pytest.raises(ConfigurationError):
        create_app(faults=plan)


@pytest.mark.parametrize("name", ["faults.json", "faults.yaml"])
def test_a_plan_from_a_file(tmp_path: Path, name: str) -> None:
    """It is read at the start, JSON or YAML; over HTTP no file is ever read."""
    file = tmp_path / name
    file.write_text("[{action: status, status: 418}]" if name.endswith("yaml") else '{"latency": 0.01}')
    with running(faults=file) as emulator:
        plan = httpx.get(f"{emulator.url}/_emulator/faults").json()
        assert (plan["latency"], len(plan["faults"])) in {(0, 1), (0.01, 0)}
        answer = httpx.put(f"{emulator.url}/_emulator/faults", json=str(file))
        assert answer.status_code == 400
    with pytest.raises(ConfigurationError, match="cannot be read"):
        create_app(faults=tmp_path / "none.json")


def test_control_over_http(emulator: Emulator, http: httpx.Client) -> None:
    """Faults are put, shown with their counts, refused when wrong, and cleared; control is never struck."""
    control = f"{emulator.url}/_emulator/faults"
    plan: dict[str, Any] = {
        "faults": [{"action": "status", "status": 500, "path": "*"}],
        "latency": 0.0,
        "seed": 5,
    }
    assert httpx.put(control, json=plan).status_code == 200
    assert http.get("/records").status_code == 500
    shown = httpx.get(control).json()
    assert shown["faults"][0] == {**plan["faults"][0], "seen": 1, "struck": 1}
    refused = httpx.put(control, json={"faults": [{"action": "explode"}]})
    assert (refused.status_code, "faults.0.action" in refused.json()["message"]) == (400, True)
    for wrong in (b"{", b"", b"[" * 100_000, b"5", b"\xff"):
        assert httpx.put(control, content=wrong).status_code == 400
    assert http.get("/records").status_code == 500
    assert httpx.delete(control).status_code == 204
    assert http.get("/records").status_code == 200


def test_what_arrived(emulator: Emulator, http: httpx.Client) -> None:
    """The log shows each request with its body, its answer and its fault, and no secret."""
    post(http)
    emulator.script({"action": "drop", "count": 1})
    with pytest.raises(httpx.ReadError):
        post(http)
    http.get("/records?limit=1")
    first, second, third = emulator.requests()
    assert (first["method"], first["path"], first["status"]) == ("POST", "/public/v1/audit/records", 201)
    assert first["body"] == submission()
    assert first["headers"]["authorization"] == "Bearer idt:TKN-1234-5678:***"
    assert (second["status"], second["fault"], second["body"]["object"]["id"]) == (None, "drop", ORDER)
    assert (third["query"], third["body"]) == ("limit=1", None)
    assert [request["number"] for request in emulator.requests(after=2)] == [3]
    httpx.delete(f"{emulator.url}/_emulator/requests")
    assert emulator.requests() == []


def test_a_limit_of_what_arrived_is_that_of_the_latest(emulator: Emulator, http: httpx.Client) -> None:
    """In the order of arrival, and only of those after a number; the count stays that of all."""
    for number in range(5):
        http.get(f"/records?limit={number + 1}")

    def shown(query: str) -> list[int]:
        answer = httpx.get(f"{emulator.url}/_emulator/requests?{query}").json()
        assert answer["count"] == 5
        return [request["number"] for request in answer["requests"]]

    assert shown("limit=2") == [4, 5]
    assert shown("after=2&limit=2") == [4, 5]
    assert shown("after=4&limit=2") == [5]
    assert shown("limit=0") == shown("limit=-1") == []
    assert shown("") == [1, 2, 3, 4, 5]


def test_any_body_can_be_shown(emulator: Emulator, http: httpx.Client) -> None:
    """The log also shows bodies that are no JSON and no Unicode."""
    bodies = [b'{"a": "\\ud800"}', b"\xff{", b'{"a": NaN}', b"[" * 5000]
    for body in bodies:
        http.post("/records", content=body, headers={"Content-Type": "application/json"})
    shown = [request["body"] for request in emulator.requests()]
    assert shown == [{"a": "\ud800"}, "\ufffd{", '{"a": NaN}', "[" * 5000]


def test_without_a_server() -> None:
    """In process, where there is no connection to break, breaking it is an exception."""

    async def use() -> None:
        app = create_app(faults=[{"action": "reset"}])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
            with pytest.raises(ConnectionResetError):
                await http.get("/public/v1/audit/records")

    import asyncio

    asyncio.run(use())
