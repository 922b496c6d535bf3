"""A connection for each request at once, one TLS context for all, nothing shared with a forked child."""

from __future__ import annotations

import gc
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from auditbox.errors import ConfigurationError
from auditbox.sinks.audit_api import AuditApiSink, Timeouts
from auditbox.sinks.base import Sent

from .conftest import delivery
from .server import Exchange, Server

pytestmark = pytest.mark.usefixtures("each_with_threads")

FORK = """
import ctypes, os, ssl, sys
from auditbox.sinks.audit_api import AuditApiSink
from auditbox.sinks.base import Delivery, Sent

url, kind, certificate, transport = sys.argv[1:]
trust = ssl.create_default_context(cafile=certificate) if certificate else None
sink = AuditApiSink(url, lambda: "token", ssl_context=trust, transport=transport)
def send(number):
    outcome = sink.send(Delivery(number, str(number), "L", b'{"n": %d}' % number))
    assert isinstance(outcome, Sent), outcome
send(1)
child = os.fork() if kind == "python" else ctypes.PyDLL(None).fork()
if child == 0:
    sink.abort_overdue()
    if kind == "python":
        sink.close()
    send(2)
    sink.close()
    sys.stdout.flush()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
send(3)
sink.close()
"""


@pytest.mark.parametrize("kind", ["python", "c"])
@pytest.mark.parametrize("fixture", ["server", "tls_server"])
def test_a_forked_child_has_a_connection_of_its_own(
    request: pytest.FixtureRequest, certificate: Path, fixture: str, kind: str, each_with_threads: str
) -> None:
    """The child's requests, its close and its exit leave the parent's connection as it was."""
    server: Server = request.getfixturevalue(fixture)
    trusted = str(certificate) if fixture == "tls_server" else ""
    subprocess.run(
        [sys.executable, "-c", FORK, server.url, kind, trusted, each_with_threads], check=True, timeout=60
    )
    assert [(exchange.number, exchange.body) for exchange in server.requests] == [
        (1, b'{"n": 1}'),
        (2, b'{"n": 2}'),
        (1, b'{"n": 3}'),
    ]


def test_as_many_connections_as_requests_at_once(server: Server, sink: AuditApiSink) -> None:
    """Eight threads with ten records each, answered when all eight have come, make eight connections."""
    together = threading.Barrier(8)

    def script(exchange: Exchange) -> None:
        together.wait(30)
        exchange.reply(201, {"id": "AUD-1"})

    def work() -> None:
        for number in range(10):
            sink.send(delivery(number))

    server.script = script
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 80
    assert server.connections == 8


def test_the_connections_of_ended_threads_do_not_pile_up(server: Server, sink: AuditApiSink) -> None:
    """A new thread takes over or closes what ended ones have left."""
    together = threading.Barrier(6)

    def work() -> None:
        together.wait()
        sink.send(delivery())
        together.wait()

    for _ in range(3):
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    gc.collect()
    for _ in range(server.connections - 6):
        assert server.ended.acquire(timeout=10)


def test_close_closes_the_idle_connections_of_all_threads(server: Server, sink: AuditApiSink) -> None:
    """The server sees them end, though their threads never come back."""
    threads = [threading.Thread(target=sink.send, args=(delivery(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.send(delivery(9))
    sink.close()
    for _ in range(server.connections):
        assert server.ended.acquire(timeout=10)


def test_close_lets_an_attempt_finish(server: Server, sink: AuditApiSink) -> None:
    """An answer that is on its way does not become a doubt; the connection ends after it."""
    arrived, answer = threading.Event(), threading.Event()

    def script(exchange: Exchange) -> None:
        arrived.set()
        assert answer.wait(10)
        exchange.reply(201, {"id": "AUD-1"})

    server.script = script
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.append(sink.send(delivery())))
    thread.start()
    assert arrived.wait(10)
    sink.close()
    answer.set()
    thread.join()
    assert outcomes == [Sent("AUD-1")]
    assert server.ended.acquire(timeout=10)


def test_all_threads_share_one_tls_context(
    tls_server: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making one takes 20 ms and a megabyte: once, at the first use, not once a thread."""
    made: list[str] = []
    create = ssl.create_default_context

    def counted(**given: Any) -> ssl.SSLContext:
        made.append("context")
        return create(cafile=certificate)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    sink = AuditApiSink(tls_server.url, "token")
    assert not made
    outcomes: list[Any] = []
    threads = [threading.Thread(target=lambda: outcomes.append(sink.send(delivery()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close()
    assert outcomes == [Sent("AUD-1")] * 6
    assert len(made) == 1


def test_what_goes_over_the_wire(server: Server, sink: AuditApiSink) -> None:
    """One POST with the body as it is and these headers, no others."""
    sink.send(delivery(1))
    (exchange,) = server.requests
    assert (exchange.method, exchange.target) == ("POST", "/public/v1/audit/records")
    assert exchange.body == delivery(1).body
    agent = exchange.headers.pop("user-agent")
    assert agent.startswith("auditbox/")
    assert exchange.headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": str(len(delivery(1).body)),
        "authorization": "Bearer idt:TKN-1234-5678:secret",
    }


def test_the_environment_is_not_trusted(
    server: Server, sink: AuditApiSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No proxy out of a variable, no credentials out of a .netrc."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert sink.send(delivery()) == Sent("AUD-1")


@pytest.mark.parametrize("suffix", ["", "/", "/public", "/public/v1", "/public/v1/"])
def test_every_way_to_write_the_address_is_one_destination(suffix: str) -> None:
    """An outbox belongs to a destination, so equal addresses must be equal."""
    sink = AuditApiSink(f"HTTPS://API.example.com:443{suffix}", "token")
    assert sink.destination == "https://api.example.com/public/v1"


@pytest.mark.parametrize(
    "url", ["", "api.example.com", "http://api.example.com", "ftp://x", "https://", None, 7]
)
def test_a_url_of_no_use_is_one_clear_error(url: Any) -> None:
    """Said at construction, before anything touches the network."""
    with pytest.raises(ConfigurationError):
        AuditApiSink(url, "token")


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), "60", None])
def test_a_time_of_no_use_is_one_clear_error(seconds: Any) -> None:
    """Deadline and phases are seconds above 0."""
    with pytest.raises(ConfigurationError, match="deadline"):
        AuditApiSink("https://api.example.com", "token", deadline=seconds)
    with pytest.raises(ConfigurationError, match="timeout read"):
        Timeouts(read=seconds)


def test_the_other_sinks_need_no_http_client() -> None:
    """Only the module that posts imports httpx."""
    script = "import sys, auditbox.sinks.base, auditbox.sinks.jsonlines; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
