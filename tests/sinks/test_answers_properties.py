"""Whatever comes back: an outcome, never an exception, and Sent only for proof."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditbox.sinks.answers import lookup_trouble, send_outcome, struck
from auditbox.sinks.audit_api import AuditApiSink
from auditbox.sinks.base import Later, Missing, Sent, Unreadable
from auditbox.sinks.exchange import Answer
from auditbox.sinks.wire import json_object

from .conftest import delivery
from .server import Exchange, Server

pytestmark = pytest.mark.usefixtures("each_transport")

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("t0ken"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["id", "title", "detail", "errors", "traceId", "message", "properties", "data", "$meta"]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)
BODIES = st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "date", "content-type"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30)
    | st.sampled_from(
        ["5", "-1", "Fri, 30 Jan 2026 10:00:00 GMT", "Fri, 99 Jan 9999999 10:00:00 GMT", "1e9"]
    ),
)
HEAVY = settings(max_examples=300, deadline=None)


def _answers() -> st.SearchStrategy[Answer]:
    headers = HEADERS.map(lambda raw: httpx.Headers([(k, v.encode("latin-1")) for k, v in raw.items()]))
    return st.builds(
        Answer,
        st.integers(100, 999),
        headers,
        BODIES,
        st.sampled_from([None, "the body broke off"]),
        st.booleans(),
    )


@HEAVY
@given(_answers())
def test_only_a_200_or_201_with_an_object_is_proof(answer: Answer) -> None:
    """Sent means exactly that; any other outcome can be stored and shows no token."""
    outcome = send_outcome(struck(answer, "t0ken"))
    proof = answer.status in (200, 201) and json_object(answer.body) is not None
    assert isinstance(outcome, Sent) == proof
    if not isinstance(outcome, Sent):
        assert "t0ken" not in json.dumps(outcome.problem.to_json())
        wait = getattr(outcome, "wait", None)
        assert wait is None or 0 <= wait <= 3600


@HEAVY
@given(_answers())
def test_a_look_up_that_failed_is_never_an_empty_trail(answer: Answer) -> None:
    """It cannot be read, or later: nothing else."""
    outcome = lookup_trouble(struck(answer, "t0ken"))
    assert isinstance(outcome, Later | Unreadable)
    json.dumps(outcome.problem.to_json())


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    """One server for all examples."""
    running = Server()
    yield running
    running.stop()


def _play(raw: bytes, server: Server) -> AuditApiSink:
    def script(exchange: Exchange) -> None:
        exchange.raw(raw)
        exchange.close()

    server.script = script
    return AuditApiSink(server.url, "t0ken")


@settings(max_examples=60, deadline=None)
@given(raw=st.binary(max_size=300))
def test_random_bytes_are_never_proof(shared: Server, raw: bytes) -> None:
    """Over a real socket: no exception, no Sent, no Missing."""
    sink = _play(raw, shared)
    assert not isinstance(sink.send(delivery()), Sent)
    assert not isinstance(sink.verify(delivery()), Sent | Missing)
    sink.close()


@settings(max_examples=60, deadline=None)
@given(status=st.integers(100, 999), body=BODIES, headers=HEADERS)
def test_random_responses_get_an_outcome(
    shared: Server, status: int, body: bytes, headers: dict[str, str]
) -> None:
    """Over a real socket: Sent only for 200 or 201 with a JSON object."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Said\r\n{lines}content-length: {len(body)}\r\n\r\n"
    sink = _play(head.encode("latin-1") + body, shared)
    outcome: Any = sink.send(delivery())
    if isinstance(outcome, Sent):
        assert status in (200, 201)
        assert json_object(body) is not None
    assert not isinstance(sink.verify(delivery()), Sent)
    sink.close()
