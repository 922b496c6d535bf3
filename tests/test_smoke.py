"""The part of the suite that runs against the built wheel, without the sources and without extras."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import auditbox
from auditbox.sinks.audit_api import AuditApiSink

pytestmark = pytest.mark.smoke
ORDER = "ORD-1208-2301-8479"


class TinyApi(http.server.BaseHTTPRequestHandler):
    """Answers 201 to everything and remembers it."""

    protocol_version = "HTTP/1.1"
    received: list[dict[str, object]] = []

    def do_POST(self) -> None:
        record = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.received.append(record)
        body = json.dumps({"id": f"AUD-{len(self.received):04}", **record}).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_a_record_reaches_an_api(tmp_path: Path) -> None:
    """Captured, on disk, delivered, in order: with nothing but the core dependencies."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), TinyApi)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sink = AuditApiSink(f"http://127.0.0.1:{server.server_port}", "idt:TKN-1234-5678:secret")
    with auditbox.AuditTrail(tmp_path / "audit.db", sink=sink, extension="shop") as trail:
        ids = [trail.record("order.approved", object=ORDER, documents={"n": n}) for n in range(20)]
        assert trail.flush(30)
    server.shutdown()
    server.server_close()
    sent = [record["documents"] for record in TinyApi.received]
    assert [documents["auditbox"]["id"] for documents in sent] == ids  # type: ignore[index]


def test_the_command_line_works_without_extras(tmp_path: Path) -> None:
    """`auditbox --help`, and one line instead of a traceback."""
    command = [sys.executable, "-m", "auditbox"]
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert helped.returncode == 0
    assert "status" in helped.stdout
    missing = [*command, "status", "--outbox", str(tmp_path / "no.db")]
    failed = subprocess.run(missing, capture_output=True, text=True, check=False)
    assert failed.returncode != 0
    assert len(failed.stderr.strip().splitlines()) == 1
    assert "there is no outbox" in failed.stderr


def test_the_package_is_typed() -> None:
    """Type checkers of users see the annotations."""
    assert Path(auditbox.__file__).with_name("py.typed").exists()
