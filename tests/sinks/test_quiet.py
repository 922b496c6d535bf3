"""Delivery does not trace itself."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import context

from auditbox.sinks.audit_api import AuditApiSink
from auditbox.sinks.quiet import quiet

from .conftest import delivery
from .server import Server

pytestmark = pytest.mark.usefixtures("each_with_threads")


def test_instrumentation_is_suppressed_around_send_and_verify(server: Server) -> None:
    """Whatever runs inside sees the key that instrumentations honour; afterwards it is gone."""
    seen: list[Any] = []

    def token() -> str:
        seen.append(context.get_value("suppress_instrumentation"))
        return "token"

    for call in ("send", "verify"):
        getattr(AuditApiSink(server.url, token), call)(delivery())
    assert seen == [True, True]
    assert context.get_value("suppress_instrumentation") is None


def test_the_callers_context_comes_back_after_an_error() -> None:
    """Also where the block raises."""
    with pytest.raises(ZeroDivisionError), quiet():
        _ = 1 / 0
    assert context.get_value("suppress_instrumentation") is None


def test_quiet_itself_imports_nothing() -> None:
    """Where nobody has imported OpenTelemetry, there is nothing to suppress."""
    script = (
        "import sys\nfrom auditbox.sinks.quiet import quiet\nbefore = set(sys.modules)\n"
        "with quiet(): pass\nsys.exit(set(sys.modules) != before)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_delivery_logs_nothing_of_the_http_client(
    server: Server, sink: AuditApiSink, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's INFO line for each request would be captured by a handler on the root logger."""
    with caplog.at_level(logging.INFO):
        sink.send(delivery())
        sink.verify(delivery())
    assert not caplog.records
