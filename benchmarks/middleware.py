"""What the middleware costs a request, beside the OpenTelemetry instrumentation of the same framework.

    python -m benchmarks.middleware [--rounds 7] [--count 1000] [--json FOLDER] [--svg FILE]

The endpoint does nothing. Ours records each request, on disk before the answer leaves; OpenTelemetry puts its
spans into a queue that its batch processor empties into an exporter that does nothing. The applications are
called in one process without a server in between, so that the difference is the middleware's and no socket's.
"""

from __future__ import annotations

import asyncio
import gc
import io
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from fastapi import FastAPI
from flask import Flask

from auditbox import AuditMiddleware, AuditTrail
from auditbox.wsgi import AuditMiddleware as WsgiAuditMiddleware
from benchmarks.bars import Bars
from benchmarks.measure import quantiles
from benchmarks.report import Report, options

ORDER = "ORD-1208-2301-8479"
ROUTES = {"POST /orders/{order_id}/approve": {"event": "order.approved", "object": "{order_id}"}}
PATH = f"/orders/{ORDER}/approve"
ALONE = "the capture alone"
GOAL = 0.5
Subject = Callable[[], object]
Round = tuple[float, float, float]
"""p50 and p99 in microseconds, requests a second."""


def fastapi_app() -> FastAPI:
    """An endpoint that does nothing."""
    app = FastAPI()

    @app.post("/orders/{order_id}/approve")
    async def approve(order_id: str) -> dict[str, str]:
        return {"id": order_id}

    return app


def flask_app() -> Flask:
    """The same."""
    app = Flask("shop")

    @app.post("/orders/<order_id>/approve")
    def approve(order_id: str) -> dict[str, str]:
        return {"id": order_id}

    return app


def asgi_call(app: Any, loop: asyncio.AbstractEventLoop) -> Subject:
    """One request, as uvicorn would hand it over."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200

    def scope() -> dict[str, Any]:
        headers = [(b"host", b"shop"), (b"user-agent", b"curl/8"), (b"x-request-id", b"req-1")]
        return {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
            "scheme": "http", "path": PATH, "raw_path": PATH.encode(), "query_string": b"", "root_path": "",
            "headers": headers, "client": ("192.0.2.1", 4711), "server": ("192.0.2.2", 80),
        }  # fmt: skip

    return lambda: loop.run_until_complete(app(scope(), receive, send))


def wsgi_call(app: Any) -> Subject:
    """One request, as gunicorn would hand it over."""

    def start_response(status: str, headers: Any, error: Any = None) -> None:
        assert status == "200 OK"

    def call() -> None:
        environ = {
            "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": PATH, "QUERY_STRING": "",
            "SERVER_NAME": "shop", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "192.0.2.1", "HTTP_HOST": "shop", "HTTP_USER_AGENT": "curl/8",
            "HTTP_X_REQUEST_ID": "req-1", "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr, "wsgi.version": (1, 0), "wsgi.multithread": False,
            "wsgi.multiprocess": True, "wsgi.run_once": False,
        }  # fmt: skip
        answer = app(environ, start_response)
        for _ in answer:
            pass
        answer.close()

    return call


@contextmanager
def tracing() -> Iterator[Any]:
    """An OpenTelemetry SDK whose spans go nowhere."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> Any:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    yield provider
    provider.shutdown()


def fastapi_subjects(trail: AuditTrail, provider: Any, loop: asyncio.AbstractEventLoop) -> dict[str, Subject]:
    """FastAPI as it is, with our middleware and with OpenTelemetry's."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    audited, traced = fastapi_app(), fastapi_app()
    audited.add_middleware(AuditMiddleware, trail=trail, routes=ROUTES)
    FastAPIInstrumentor.instrument_app(traced, tracer_provider=provider)
    apps = {"FastAPI": fastapi_app(), "FastAPI, auditbox": audited, "FastAPI, OpenTelemetry": traced}
    return {name: asgi_call(app, loop) for name, app in apps.items()}


def flask_subjects(trail: AuditTrail, provider: Any) -> dict[str, Subject]:
    """The same for Flask."""
    from opentelemetry.instrumentation.flask import FlaskInstrumentor

    audited, traced = flask_app(), flask_app()
    audited.wsgi_app = WsgiAuditMiddleware(audited.wsgi_app, trail=trail, routes=ROUTES)  # type: ignore[method-assign]
    FlaskInstrumentor().instrument_app(traced, tracer_provider=provider)
    apps = {"Flask": flask_app(), "Flask, auditbox": audited, "Flask, OpenTelemetry": traced}
    return {name: wsgi_call(app) for name, app in apps.items()}


def capture_alone(trail: AuditTrail) -> Subject:
    """The durable capture that is in every request of ours, by itself: no middleware can cost less."""
    request = {"id": "req-1", "method": "POST", "route": PATH, "status": 200, "durationMs": 0.123}
    outcome = {"status": "success", "durationMs": 0.123, "bytesOut": 27}
    return lambda: trail.record("order.approved", object=ORDER, request=request, outcome=outcome)


def in_turns(subjects: dict[str, Subject], rounds: int, count: int) -> dict[str, list[Round]]:
    """All subjects take turns, call by call, in an order that changes: none always follows the same one."""
    clock, order = time.perf_counter_ns, list(subjects)
    results: dict[str, list[Round]] = {name: [] for name in subjects}
    for turn in range(-1, rounds):
        times: dict[str, list[int]] = {name: [] for name in subjects}
        gc.collect()
        for _ in range(count if turn >= 0 else max(20, count // 10)):
            random.shuffle(order)
            for name in order:
                begin = clock()
                subjects[name]()
                times[name].append(clock() - begin)
        if turn >= 0:  # the first one warms up
            for name, taken in times.items():
                results[name].append((*quantiles(taken), 1e9 * len(taken) / sum(taken)))
    return results


def run(rounds: int, count: int, folder: Path) -> dict[str, list[Round]]:
    """Both frameworks in one interleaved run; afterwards every request of ours must be on file."""
    with ExitStack() as stack:
        trail = stack.enter_context(AuditTrail(folder / "audit.db", extension="shop", max_bytes=8 << 30))
        provider = stack.enter_context(tracing())
        loop = asyncio.new_event_loop()
        stack.callback(loop.close)
        subjects = fastapi_subjects(trail, provider, loop) | flask_subjects(trail, provider)
        subjects[ALONE] = capture_alone(trail)
        results = in_turns(subjects, rounds, count)
        assert trail.status()["captured"] == 3 * (rounds * count + max(20, count // 10))
    return results


def added(results: dict[str, list[Round]], framework: str, peer: str, column: int) -> list[float]:
    """What was added to the plain framework, round by round, in microseconds."""
    pairs = zip(results[f"{framework}, {peer}"], results[framework], strict=True)
    return [with_it[column] - plain[column] for with_it, plain in pairs]


def main() -> None:
    """Runs, prints, and says whether the goal was reached; a missed goal is exit status 1."""
    chosen = options(__doc__, rounds=7, count=1000)
    report = Report("middleware", chosen)
    with tempfile.TemporaryDirectory() as folder:
        results = run(chosen.rounds, chosen.count, Path(folder))
    report.table("one request", ["p50 µs", "p99 µs", "requests/s"], results)
    for framework in ("FastAPI", "Flask"):
        for number, which, goal in ((0, "p50", GOAL), (1, "p99", None)):
            ours, theirs = (added(results, framework, peer, number) for peer in ("auditbox", "OpenTelemetry"))
            report.compare(
                f"{framework}, added at {which}: auditbox / OpenTelemetry", ours, theirs, at_most=goal
            )
    bars = Bars("One request, µs: median, a line to the 99th percentile, and requests a second")
    for name, rounds in results.items():
        p50, p99, rate = (median(figures) for figures in zip(*rounds, strict=True))
        bars.add(name, p50, p99, ours="auditbox" in name, note=f", {rate:,.0f}/s")
    report.end(bars)


if __name__ == "__main__":
    main()
