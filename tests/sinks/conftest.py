"""The scripted server, plain and with TLS, and sinks that point at it."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditbox.sinks.audit_api import AuditApiSink
from auditbox.sinks.base import Delivery, SendOutcome, VerifyOutcome

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
