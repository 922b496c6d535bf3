"""The token: asked for once more after a 401, never sent where it is not wanted, never stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from auditbox.errors import ConfigurationError
from auditbox.sinks.audit_api import AuditApiSink
from auditbox.sinks.base import Later, Paused, Rejected, Sent, Unreadable

from .conftest import delivery
from .server import Exchange, Script, Server

pytestmark = pytest.mark.usefixtures("each_with_threads")

SECRET = 'idt:TKN-1234-5678:s3cr3t+/"&\\'


def _only(token: str) -> Script:
    """Accepts this token, answers 401 to any other."""

    def script(exchange: Exchange) -> None:
        known = exchange.headers.get("authorization") == f"Bearer {token}"
        exchange.reply(201 if known else 401, {"id": "AUD-1"} if known else b"")

    return script


def test_a_file_is_read_again_after_a_401(server: Server, tmp_path: Path) -> None:
    """A rotated token is used within the same attempt, and kept."""
    file = tmp_path / "token"
    file.write_text("old\n")
    sink = AuditApiSink(server.url, file)
    server.script = _only("old")
    assert isinstance(sink.send(delivery(1)), Sent)
    file.write_text("new\n")
    server.script = _only("new")
    assert isinstance(sink.send(delivery(2)), Sent)
    assert isinstance(sink.send(delivery(3)), Sent)
    assert [exchange.headers["authorization"][7:] for exchange in server.requests] == [
        "old",
        "old",
        "new",
        "new",
    ]


def test_a_callable_that_gives_the_same_token_again_is_not_tried_twice(server: Server) -> None:
    """One request and one question more, then the sink pauses; the next attempt asks again."""
    asked: list[str] = []

    def token() -> str:
        asked.append("stale")
        return "stale"

    sink = AuditApiSink(server.url, token)
    server.script = _only("fresh")
    for _ in range(2):
        outcome = sink.send(delivery())
        assert isinstance(outcome, Paused)
        assert outcome.cause == "unauthorized"
    assert len(server.requests) == 2
    assert len(asked) == 3


def test_a_second_401_ends_the_attempt(server: Server) -> None:
    """A callable that makes a new useless token each time causes two requests, not a loop."""
    tokens = iter("abcdef")
    server.script = _only("none of them")
    assert isinstance(AuditApiSink(server.url, lambda: next(tokens)).send(delivery()), Paused)
    assert len(server.requests) == 2


def test_a_look_up_renews_the_token_too(server: Server) -> None:
    """A 401 on a look-up is treated as one on a post."""
    tokens = iter(["old", "new", "new"])
    server.script = lambda exchange: (
        exchange.reply(200, {"data": []})
        if exchange.headers["authorization"] == "Bearer new"
        else exchange.reply(401)
    )
    sink = AuditApiSink(server.url, lambda: next(tokens))
    assert not isinstance(sink.verify(delivery()), Later | Unreadable)
    sink = AuditApiSink(server.url, "old")
    outcome = sink.verify(delivery())
    assert isinstance(outcome, Later)
    assert outcome.cause == "unauthorized"


def _fails() -> str:
    raise RuntimeError(SECRET)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (None, "MPT_API_TOKEN"),
        (Path("/nowhere/token"), "/nowhere/token"),
        (_fails, "RuntimeError"),
        (lambda: "", "empty"),
        (lambda: "two words", "header"),
        (lambda: None, "NoneType"),
    ],
)
def test_without_a_token_nothing_is_sent(
    server: Server, token: str | Path | Callable[[], str] | None, said: str
) -> None:
    """The sink pauses, says what is missing, and shows no text of an exception."""
    sink = AuditApiSink(server.url, token)
    sent, verified = sink.send(delivery()), sink.verify(delivery())
    assert isinstance(sent, Paused)
    assert isinstance(verified, Later)
    assert (sent.cause, verified.cause) == ("unauthorized", "unauthorized")
    assert said in sent.problem.reason
    assert "s3cr3t" not in sent.problem.reason
    assert not server.requests
    with pytest.raises(ConfigurationError, match=said):
        sink.check()


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"title": SECRET, "detail": f"x{SECRET}x", "errors": {SECRET: [{"a": SECRET}]}}).encode(),
        json.dumps({"title": "t", "errors": {"a": "y" * 290 + SECRET}}).encode(),
        json.dumps({"title": "t", "detail": SECRET}).replace("+", "\\u002B").replace("&", "\\u0026").encode(),
        b"no json but " + SECRET.encode(),
        b"y" * 270 + SECRET.encode(),
    ],
)
@pytest.mark.parametrize("status", [202, 302, 400, 401, 404, 429, 500])
def test_a_token_that_the_server_repeats_is_struck_out(server: Server, status: int, body: bytes) -> None:
    """No part of the own token ends up in what is stored, whichever way the server says it."""
    server.script = lambda exchange: exchange.reply(status, body)
    sink = AuditApiSink(server.url, SECRET)
    for outcome in (sink.send(delivery()), sink.verify(delivery())):
        assert not isinstance(outcome, Sent)
        assert "s3cr" not in json.dumps(outcome.problem.to_json())  # type: ignore[union-attr]


def test_an_opaque_token_is_struck_out(server: Server) -> None:
    """Not only what looks like a token of the platform is struck out."""
    server.script = lambda exchange: exchange.reply(400, {"title": "bad opaque-token-value", "detail": "d"})
    outcome = AuditApiSink(server.url, "opaque-token-value").send(delivery())
    assert isinstance(outcome, Rejected)
    assert outcome.problem.title == "bad ***"


def test_other_secrets_that_a_server_repeats_are_masked_by_their_form(server: Server) -> None:
    """What it says of a field by that name stays: a dead letter is mended by it."""
    errors = {"documents.buyer.password": ["Password: must not be empty."]}
    detail = "Bearer abcdefghijklmnop123456 for https://bob:hunter2@host/"
    server.script = lambda exchange: exchange.reply(422, {"title": "t", "detail": detail, "errors": errors})
    outcome = AuditApiSink(server.url, SECRET).send(delivery())
    assert isinstance(outcome, Rejected)
    assert outcome.problem.detail == "*** for https://bob:***@host/"
    assert outcome.problem.errors == errors


def test_a_sinks_repr_shows_no_token() -> None:
    """Whoever logs a sink logs no secret."""
    assert "s3cr3t" not in repr(AuditApiSink("https://api.example.com", SECRET))
