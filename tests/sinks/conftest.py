"""The scripted server, plain and with TLS, and sinks that point at it."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditbox.errors import ConfigurationError
from auditbox.sinks.audit_api import AuditApiSink
from auditbox.sinks.base import Delivery, SendOutcome, VerifyOutcome
from auditbox.sinks.exchange import Call

from .server import Server

OBJECT = "ORD-1208-2301-8479"
EVENT = "extensions.shop.order.approved"


def delivery(
    number: int = 1, *, object: str = OBJECT, event: str = EVENT, sent_at: float | None = None, size: int = 0
) -> Delivery:
    """An entry as the relay hands it over."""
    own = {"id": f"0197-{number}", "outbox": "box", "seq": number}
    record = {
        "event": event,
        "object": {"id": object},
        "summary": "Order approved",
        "details": "Order approved" + "." * size,
        "documents": {"auditbox": own},
    }
    return Delivery(number, own["id"], object, json.dumps(record).encode(), sent_at)  # type: ignore[arg-type]


def until_done(sink: AuditApiSink, call: Callable[[], SendOutcome | VerifyOutcome]) -> Any:
    """The outcome of a call in another thread, while this one is the watchdog."""
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.append(call()))
    thread.start()
    while thread.is_alive():
        sink.abort_overdue()
        thread.join(0.02)
    return outcomes[0]


@pytest.fixture(scope="module", params=["httpx", "fast", "flight", "fast flight"])
def each_transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every AuditApiSink of the module's tests has this transport, unless it names another.

    With a flight a ``send`` goes through a flight, as the relay's do, wherever a connection can be had.
    """
    defaults = AuditApiSink.__init__.__kwdefaults__
    transport = "fast" if "fast" in request.param else "httpx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(defaults, "transport", transport)
        if "flight" in request.param:
            patch.setattr(AuditApiSink, "send", _send_in_flight)
        yield transport


@pytest.fixture(scope="module", params=["httpx", "fast"])
def each_with_threads(request: pytest.FixtureRequest) -> Iterator[str]:
    """As ``each_transport``, for what a flight leaves to threads: tokens, instrumentation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(AuditApiSink.__init__.__kwdefaults__, "transport", request.param)
        yield request.param


_send = AuditApiSink.send


def _send_in_flight(sink: AuditApiSink, delivery: Delivery) -> SendOutcome:
    if not _has_connection(sink):
        return _send(sink, delivery)
    flight = sink.flight()
    landed: list[Any] = []
    if not flight.launch(delivery):
        landed.append((delivery.seq, None))
    while not landed:
        landed = flight.land(10)
    assert flight.close() == []
    ((number, outcome),) = landed
    assert number == delivery.seq
    return outcome or _send(sink, delivery)


def _has_connection(sink: AuditApiSink) -> bool:
    """Makes one, where that is possible, and leaves it to the next request."""
    pool: Any = sink._connections
    if pool.foreign or (sink._token.known is None and callable(sink._source)):
        return False
    connection = pool.take()
    try:
        sink._token.get()
        if connection is None:
            connection = pool._make()
            connection._connect(Call(b"POST", sink._records, [], b"", 0.0, 0))
            connection.reusable = True
    except (OSError, ConfigurationError):
        return False
    finally:
        if connection is not None:
            connection.reusable, connection.idle_since = connection._socket is not None, time.monotonic()
            pool.give(connection)
    return True


@pytest.fixture
def server() -> Iterator[Server]:
    """A plain server."""
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def sink(server: Server) -> Iterator[AuditApiSink]:
    """A sink for the plain server."""
    made = AuditApiSink(server.url, "idt:TKN-1234-5678:secret")
    yield made
    made.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command makes the test certificate and is not installed")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    made = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {certificate}"
    command = [openssl, *made.split(), "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[Server]:
    """A server with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    running = Server(context)
    yield running
    running.stop()


@pytest.fixture
def tls_sink(tls_server: Server, certificate: Path) -> Iterator[AuditApiSink]:
    """A sink that trusts the TLS server's certificate."""
    trust = ssl.create_default_context(cafile=certificate)
    made = AuditApiSink(tls_server.url, "idt:TKN-1234-5678:secret", ssl_context=trust, deadline=1.0)
    yield made
    made.close()
