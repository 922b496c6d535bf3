"""How many captures the tasks of one event loop make, and how long they keep the loop from everything else.

    python -m benchmarks.asyncio_tasks [--rounds 5] [--count 60] [--tasks 1000] [--json FOLDER] [--svg FILE]

Each of ``--tasks`` tasks captures ``--count`` records with ``await trail.arecord(…)``, all at once. The lag
is what a timer of 2 ms comes late meanwhile. The peer is what an application without ``arecord`` has: the
OpenTelemetry SDK's handler, which returns from memory and never lets the loop go on; each of its tasks
yields after every line.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from auditbox import AuditTrail
from benchmarks.bars import Bars
from benchmarks.capture import DOCUMENTS, OBJECT, opentelemetry_handler
from benchmarks.report import Report, column, options

_TIMER = 0.002
Capture = Callable[[], Awaitable[object]]
OURS, PEER = "auditbox, arecord", "OpenTelemetry SDK and sleep(0)"
LONE, SYNC = "one task, arecord", "record"


async def crowd(capture: Capture, tasks: int, count: int) -> tuple[float, float, float]:
    """Captures a second, and the 99th percentile and the worst of the loop's lag in milliseconds."""
    lags: list[float] = []

    async def timer() -> None:
        while True:
            begin = time.perf_counter()
            await asyncio.sleep(_TIMER)
            lags.append((time.perf_counter() - begin - _TIMER) * 1000)

    async def work() -> None:
        for _ in range(count):
            await capture()

    watch = asyncio.create_task(timer())
    await asyncio.sleep(0)
    begin = time.perf_counter()
    await asyncio.gather(*[work() for _ in range(tasks)])
    seconds = time.perf_counter() - begin
    await asyncio.sleep(2 * _TIMER)
    watch.cancel()
    lags.sort()
    return tasks * count / seconds, lags[len(lags) * 99 // 100], lags[-1]


async def lone(trail: AuditTrail, count: int) -> dict[str, tuple[float, float]]:
    """p50 and p99 in microseconds of one task's captures, with and without the loop, call by call."""
    clock = time.perf_counter_ns
    taken: dict[str, list[int]] = {LONE: [], SYNC: []}
    for _ in range(count):
        await asyncio.sleep(0)
        begin = clock()
        await trail.arecord("order.approved", object=OBJECT, documents=DOCUMENTS)
        middle = clock()
        trail.record("order.approved", object=OBJECT, documents=DOCUMENTS)
        taken[LONE].append(middle - begin)
        taken[SYNC].append(clock() - middle)
    return {
        name: (sorted(times)[count // 2] / 1000, sorted(times)[count * 99 // 100] / 1000)
        for name, times in taken.items()
    }


def main() -> None:
    """Runs, prints, and says whether the goals were reached; a missed goal is exit status 1."""
    chosen = options(__doc__, rounds=5, count=60, tasks=1000)
    report = Report("asyncio_tasks", chosen)
    results: dict[str, list[tuple[float, ...]]] = {OURS: [], PEER: []}
    alone: dict[str, list[tuple[float, ...]]] = {LONE: [], SYNC: []}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        trail = stack.enter_context(AuditTrail(Path(name) / "audit.db", extension="shop", max_bytes=8 << 30))
        log = stack.enter_context(opentelemetry_handler(Path(name)))

        async def logged() -> None:
            log()
            await asyncio.sleep(0)

        subjects: dict[str, Capture] = {
            OURS: lambda: trail.arecord("order.approved", object=OBJECT, documents=DOCUMENTS),
            PEER: logged,
        }
        order = list(subjects)
        for turn in range(-1, chosen.rounds):
            random.shuffle(order)
            for subject in order:
                measured = asyncio.run(crowd(subjects[subject], chosen.tasks, chosen.count))
                if turn >= 0:  # the first one warms up
                    results[subject].append(measured)
            if turn >= 0:
                for subject, times in asyncio.run(lone(trail, 50 * chosen.count)).items():
                    alone[subject].append(times)
    report.table(f"{chosen.tasks} tasks", ["captures/s", "lag p99 ms", "lag worst ms"], results)
    report.table("one capture", ["p50 µs", "p99 µs"], alone)
    rates = column(results[OURS], 0)
    report.compare("captures/s / 50,000", rates, [50_000.0] * len(rates), at_least=1.0)
    report.compare("captures/s, auditbox / OpenTelemetry", rates, column(results[PEER], 0))
    report.absolute("lag, p99, ms", column(results[OURS], 1), at_most=1.0)
    report.compare("a lone arecord / record, p50", column(alone[LONE], 0), column(alone[SYNC], 0))
    bars = Bars(f"Captures a second by {chosen.tasks} tasks of one event loop: median, and the best round")
    for subject, measured_rounds in results.items():
        every = sorted(column(measured_rounds, 0))
        bars.add(subject, every[len(every) // 2], every[-1], ours=subject == OURS)
    report.end(bars)


if __name__ == "__main__":
    main()
