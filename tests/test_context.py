"""What a task knows: scopes nest, cross awaits, tasks and threads, and never reach another request."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace as otel_trace

from auditbox.context import Scope, audit_context, bind, carry, current_scope, current_trace
from auditbox.errors import ConfigurationError, OutsideScope


def actor() -> Any:
    """The actor of the current scope, None without one."""
    current = current_scope()
    return current.get("actor") if current else None


def test_an_inner_block_lets_the_outer_show_through() -> None:
    """What the inner block leaves out comes from the outer one; afterwards all is as before."""
    with audit_context(actor="USR-1", object="ORD-1"), audit_context(object="ORD-2") as inner:
        assert (inner.get("actor"), inner.get("object"), inner.get("request")) == ("USR-1", "ORD-2", None)
        assert inner.snapshot() == {"actor": "USR-1", "object": "ORD-2"}
    assert current_scope() is None


def test_a_block_ends_with_an_exception() -> None:
    """An exception leaves no scope behind."""
    with pytest.raises(ValueError, match="x"), audit_context(actor="USR-1"):
        raise ValueError("x")
    assert current_scope() is None


def test_bind_needs_a_scope() -> None:
    """Outside of any scope bind() says what to do instead of being lost."""
    with pytest.raises(OutsideScope, match="AuditMiddleware"):
        bind(actor="USR-1")


def test_bind_refuses_unknown_names() -> None:
    """A misspelt name is an error that lists the known ones."""
    with audit_context(), pytest.raises(ConfigurationError, match=r"bind\(actr=…\): known are actor, "):
        bind(actr="USR-1")


def test_bind_writes_to_the_request() -> None:
    """Inside a block within a request the whole request learns who acts."""
    with Scope({}, is_request=True):
        with audit_context(object="ORD-1"):
            bind(actor="USR-1")
        assert actor() == "USR-1"


def test_bind_without_a_request_writes_to_the_nearest_block() -> None:
    """A worker has no request: its innermost block is meant."""
    with audit_context():
        with audit_context():
            bind(actor="USR-1")
            assert actor() == "USR-1"
        assert actor() is None


async def _in_tasks() -> list[Any]:
    async def child(name: str, barrier: asyncio.Event) -> Any:
        with audit_context(actor=name):
            await barrier.wait()
            return actor()

    barrier = asyncio.Event()
    tasks = [asyncio.ensure_future(child(f"USR-{index}", barrier)) for index in range(5)]
    await asyncio.sleep(0)
    barrier.set()
    return await asyncio.gather(*tasks)


def test_tasks_keep_their_own() -> None:
    """Tasks that run at the same time do not see each other's blocks."""
    assert asyncio.run(_in_tasks()) == [f"USR-{index}" for index in range(5)]


def test_tasks_and_their_threads_share_the_request() -> None:
    """A dependency that runs in a thread pool may bind for the request that called it."""

    async def serve() -> Any:
        with Scope({}, is_request=True):
            await asyncio.to_thread(bind, actor="USR-1")
            return await asyncio.ensure_future(asyncio.to_thread(actor))

    assert asyncio.run(serve()) == "USR-1"


def test_threads_start_without_a_scope() -> None:
    """A thread knows nothing, unless it is given its caller's context with carry()."""
    seen = []
    with audit_context(actor="USR-1"):
        for target in (lambda: seen.append(actor()), carry(lambda: seen.append(actor()))):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert seen == [None, "USR-1"]


def test_carried_work_runs_at_the_same_time() -> None:
    """One carried function may run in several threads at once; none leaves anything behind in them."""
    barrier = threading.Barrier(4)

    def work(index: int) -> Any:
        barrier.wait(10)
        return actor(), index

    with ThreadPoolExecutor(4) as pool:
        with audit_context(actor="USR-1"):
            done = list(pool.map(carry(work), range(4)))
        assert pool.submit(actor).result() is None
    assert done == [("USR-1", index) for index in range(4)]


def test_a_generator_may_end_in_another_context() -> None:
    """Frameworks close a generator in another Context than they began it in: no error, nothing changed."""

    def dependency() -> Iterator[None]:
        with audit_context(actor="USR-1"):
            yield

    generator = dependency()
    contextvars.copy_context().run(next, generator)
    other = contextvars.copy_context()
    with audit_context(actor="USR-2"):
        other.run(lambda: next(generator, None))
        assert actor() == "USR-2"


def test_a_forgotten_generator_does_not_disturb_who_collects_it() -> None:
    """A generator that is collected while another request runs must not change that request's actor."""

    def dependency() -> Iterator[None]:
        with audit_context(actor="USR-1"):
            yield

    generator = dependency()
    contextvars.copy_context().run(next, generator)
    with audit_context(actor="USR-2"):
        del generator
        gc.collect()
        assert actor() == "USR-2"


def test_an_async_generator_closed_elsewhere_does_not_disturb() -> None:
    """The same for an async generator that another task finishes."""

    async def stream() -> AsyncIterator[None]:
        with audit_context(actor="USR-1"):
            yield

    async def main() -> Any:
        streaming = stream()
        await asyncio.create_task(streaming.__anext__())  # type: ignore[arg-type]
        with audit_context(actor="USR-2"):
            await streaming.aclose()  # type: ignore[attr-defined]
            return actor()

    assert asyncio.run(main()) == "USR-2"


def test_a_generator_left_open_inside_a_block_ends_with_it() -> None:
    """A suspended generator's block does not outlive the block around it, nor come back when it is closed."""

    def dependency() -> Generator[None, None, None]:
        with audit_context(actor="USR-1"):
            yield

    generator = dependency()
    with audit_context(actor="USR-2"):
        next(generator)
    assert actor() is None
    generator.close()
    assert actor() is None


def test_no_span_no_trace() -> None:
    """Without a span there are no ids."""
    assert current_trace() is None


def test_no_opentelemetry_no_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the application does not use OpenTelemetry, it is not imported for it."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    assert current_trace() is None
    assert "opentelemetry.trace" not in sys.modules


def test_the_current_spans_ids() -> None:
    """Ids are hex with leading zeros, as in W3C Trace Context."""
    span = otel_trace.NonRecordingSpan(otel_trace.SpanContext(0xABC, 0x12, is_remote=False))
    token = otel_context.attach(otel_trace.set_span_in_context(span))
    try:
        assert current_trace() == {"traceId": "abc".zfill(32), "spanId": "12".zfill(16)}
    finally:
        otel_context.detach(token)
