"""Hostile and strange requests to real servers: answered byte for byte as without us, and on record."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from auditbox.outbox.inspection import Inspection

from .conftest import BOUND, ORDER

ROOT = Path(__file__).parents[2]
APPS, LARGE = "tests.capture.untouched", "4000000"
UVICORN = ("uvicorn", "--fd", "{fd}", "--no-access-log", "--no-proxy-headers")
PATIENT = (*UVICORN, "--http", "h11", "--h11-max-incomplete-event-size", LARGE)
GUNICORN = ("gunicorn", "--bind", "fd://{fd}", "--no-control-socket", "--limit-request-field_size", LARGE)
SERVERS = {
    "fastapi-uvicorn-h11": (*PATIENT, f"{APPS}.asgi_app:app"),
    "fastapi-uvicorn-httptools": (*UVICORN, "--http", "httptools", f"{APPS}.asgi_app:app"),
    "fastapi-hypercorn": ("hypercorn", "--bind", "fd://{fd}", f"{APPS}.asgi_app:app"),
    "flask-gunicorn-sync": (*GUNICORN, f"{APPS}.wsgi_app:app"),
    "flask-gunicorn-gthread": (*GUNICORN, "--threads", "4", f"{APPS}.wsgi_app:app"),
    "django-gunicorn": (*GUNICORN, f"{APPS}.django_app:wsgi"),
    "django-uvicorn": (*PATIENT, "--lifespan", "off", f"{APPS}.django_app:asgi"),
}


class Ask(NamedTuple):
    """One request; its name is its id."""

    name: str
    path: str
    headers: tuple[str, ...] = ()
    body: bytes = b""
    method: str = "POST"
    unresolved: frozenset[str] = frozenset()
    """What its record cannot say."""
    goes_after: int | None = None
    """The client is gone after so many bytes of the answer."""
    announced: int | None = None
    """The length that the body should have: the client is gone before that."""

    def raw(self) -> bytes:
        """As it goes over the wire."""
        chunked = any("chunked" in header for header in self.headers)
        size = self.announced or len(self.body)
        length = () if chunked or self.method == "GET" else (f"content-length: {size}",)
        end = () if self.method == "GET" else ("connection: close",)
        lines = (f"{self.method} {self.path} HTTP/1.1", "host: shop", f"x-request-id: {self.name}")
        head = "\r\n".join((*lines, *length, *self.headers, *end, "", ""))
        return head.encode("latin-1") + self.body


USER = "authorization: Bearer USR-0556-8733"
FORGED = ("x-forwarded-for: 6.6.6.6", 'forwarded: for="6.6.6.6"')
NO_OBJECT = frozenset({"object"})
ASKS = [
    Ask("plain", f"/orders/{ORDER}", body=b"hello"),
    Ask("chunked", f"/orders/{ORDER}", ("transfer-encoding: chunked",), b"5\r\nhello\r\n0\r\n\r\n"),
    Ask("expecting", f"/orders/{ORDER}", ("expect: 100-continue",), b"hello"),
    Ask("leaves", f"/orders/{ORDER}", body=b"hel", announced=5000),
    Ask("head", f"/orders/{ORDER}", method="HEAD"),
    Ask("resolver", f"/orders/{ORDER}", ("x-resolver: raise",), unresolved=frozenset({"summary"})),
    Ask("no-object", "/none", unresolved=NO_OBJECT),
    Ask("raises", f"/raise/{ORDER}"),
    Ask("user", f"/sync/{ORDER}", (USER,)),
    Ask("user-fails", f"/sync/{ORDER}", (USER, "x-fail: dependency")),
    Ask("user-refused", f"/async/{ORDER}", (USER,)),
    Ask("stream", f"/stream/{ORDER}"),
    Ask("torn", f"/torn/{ORDER}"),
    Ask("endless", f"/endless/{ORDER}", goes_after=5000),
    Ask("background", f"/background/{ORDER}"),
    Ask("file", f"/file/{ORDER}"),
    Ask("moved", f"/moved/{ORDER}"),
    Ask("empty", f"/empty/{ORDER}"),
    Ask("unknown", "/unknown", unresolved=NO_OBJECT),
    Ask("bytes", "/orders/\xff\xfe", unresolved=NO_OBJECT),
    Ask("escaped", "/orders/%ff%fe%00", unresolved=NO_OBJECT),
    Ask("forged", f"/orders/{ORDER}", FORGED),
    Ask("forged-badly", f"/orders/{ORDER}", ("x-forwarded-for: , ,\xff,", 'forwarded: for="')),
    Ask("mounted", f"/tenants/acme/orders/{ORDER}"),
    Ask("above-before", f"/orders/{ORDER}", ("x-break: above-before",)),
    Ask("above-after", f"/orders/{ORDER}", ("x-break: above-after",)),
    Ask("below-before", f"/orders/{ORDER}", ("x-break: below-before",)),
    Ask("below-after", f"/orders/{ORDER}", ("x-break: below-after",)),
    Ask("large", f"/orders/{ORDER}", (f"x-large: {'x' * 2_000_000}",)),
]
SOCKET = (
    "connection: upgrade",
    "upgrade: websocket",
    "sec-websocket-version: 13",
    "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
)
SAYS_HI, SAYS_BYE = b"\x81\x82\0\0\0\0hi", b"\x88\x82\0\0\0\0\x0f\xa0"
CHAT = Ask("chat", f"/chat/{ORDER}", SOCKET, method="GET")


class Played(NamedTuple):
    """What came of all requests."""

    answers: dict[str, bytes]
    seen: list[str]
    """What the application has seen, in any order."""
    records: dict[str, Any]


def answer(port: int, ask: Ask) -> bytes:
    """The bytes of the answer, but for its date."""
    with socket.create_connection(("127.0.0.1", port), timeout=BOUND) as connection:
        connection.sendall(ask.raw())
        if ask.announced:
            connection.shutdown(socket.SHUT_WR)
        got = bytearray()
        while part := connection.recv(65536):
            got += part
            if ask.goes_after is not None and len(got) >= ask.goes_after:
                break
            if ask is CHAT and got.endswith((b"\r\n\r\n", b"enough")):
                connection.sendall(SAYS_BYE if got.endswith(b"enough") else SAYS_HI)
    return re.sub(rb"(?i)(\r\ndate: )[^\r]*", rb"\1now", bytes(got[: ask.goes_after]))


def on(command: tuple[str, ...], listener: socket.socket) -> list[str]:
    """The server's command for this socket."""
    return [sys.executable, "-m", *(part.replace("{fd}", str(listener.fileno())) for part in command)]


def played(command: tuple[str, ...], asks: list[Ask], folder: Path, audit: str) -> Played:
    """Sends the requests one after the other to a server of their own."""
    folder = folder / audit
    folder.mkdir()
    seen, outbox = folder / "seen", folder / "audit.db"
    known = {"AUDIT": audit, "SEEN": str(seen), "AUDITBOX_OUTBOX": str(outbox), "PYTHONPATH": str(ROOT)}
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener, (folder / "log").open("wb") as log:
        port = listener.getsockname()[1]
        server = subprocess.Popen(
            on(command, listener),
            cwd=folder, env={**os.environ, **known}, pass_fds=[listener.fileno()], stdout=log, stderr=log,
        )  # fmt: skip
    try:
        answers = {ask.name: answer(port, ask) for ask in asks}
        until = time.monotonic() + BOUND
        while "endless stream ends" not in seen.read_text():  # the server has to notice that nobody listens
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.02)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(BOUND)
    records = [story.record for story in Inspection(outbox).newest(1000)] if audit == "1" else []
    by_id = {record["documents"]["auditbox"]["request"]["id"]: record for record in records}
    assert len(by_id) == len(records), Counter(
        record["documents"]["auditbox"]["request"]["id"] for record in records
    )
    return Played(answers, sorted(seen.read_text().splitlines()), by_id)


@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS)
def test_requests_are_served_as_without_us(command: tuple[str, ...], tmp_path: Path) -> None:
    """The same bytes, the same for the application; each request that reached us has one record."""
    asks = [*ASKS, CHAT] if "asgi_app" in command[-1] else ASKS
    plain, audited = (played(command, asks, tmp_path, audit) for audit in "01")
    if (
        "hypercorn" in command
    ):  # answers a body that breaks off by itself, or the application does: who is first
        plain.answers["leaves"] = audited.answers["leaves"] = b""
    assert audited.answers == plain.answers
    assert audited.seen == plain.seen
    reached = {line.removeprefix("reached ") for line in audited.seen if line.startswith("reached ")}
    assert set(audited.records) == reached - {"above-before"}
    for ask in asks:
        if ask.name in audited.records:
            check(ask, audited.answers[ask.name], audited.records[ask.name])


def check(ask: Ask, answered: bytes, record: Any) -> None:
    """The record says what the client got, who asked, and what could not be found out."""
    own = record["documents"]["auditbox"]
    answers = re.findall(rb"HTTP/1.1 (\d+)", answered)  # the first may be 100, and who leaves may get none
    if answers and "-after" not in ask.name:  # what raises when the answer is made changes nothing, or all
        assert own["request"]["status"] == int(answers[-1]), ask
        torn = ask.goes_after is not None or (ask.name == "torn" and not answered.endswith(b"\r\n0\r\n\r\n"))
        failed = torn or own["request"]["status"] >= 400
        assert record["event"] == f"extensions.shop.http.{'failed' if failed else 'changed'}", ask
    assert own["request"]["address"] == "127.0.0.1", ask
    assert own.get("actor", {}).get("id") == ("USR-0556-8733" if "user" in ask.name else None), ask
    nowhere = ask.name == "below-before" or own["request"]["status"] == 404  # no route was found
    unresolved = ask.unresolved | ({"object"} if nowhere else set())
    assert set(own["outcome"].get("unresolved", ())) == unresolved, ask
    about = "ORD-0000-0000-0000" if "object" in unresolved else ORDER
    assert record["object"]["id"] == about, ask


@pytest.mark.parametrize("name", ["fastapi-uvicorn-h11", "fastapi-hypercorn"])
def test_a_start_that_fails_ends_as_without_us(name: str, tmp_path: Path) -> None:
    """The application's own lifespan raises: the same exit status, and its error is in the log."""
    ended = []
    for audit in "01":
        known = {"AUDIT": audit, "FAIL_START": "1", "SEEN": str(tmp_path / audit), "PYTHONPATH": str(ROOT)}
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = subprocess.run(
                on(SERVERS[name], listener),
                cwd=tmp_path, env={**os.environ, **known, "AUDITBOX_OUTBOX": str(tmp_path / "audit.db")},
                pass_fds=[listener.fileno()], capture_output=True, text=True, check=False, timeout=BOUND,
            )  # fmt: skip
        assert "no database" in server.stderr + server.stdout
        ended.append(server.returncode)
    assert ended[0] == ended[1]  # hypercorn's is 0
    assert not (tmp_path / "audit.db").exists()
