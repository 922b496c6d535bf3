"""How fast captured records reach the Audit API, and what that costs, against the official client's loop.

    python -m benchmarks.delivery [--count 3000] [--rounds 5] [--emulator] [--json FOLDER] [--svg FILE]

The server is a process of its own: a lean one (see benchmarks/server.py), once without and once with 20 ms of
latency; with ``--emulator`` the emulator. The loop is ``mpt-api-client``'s ``audit.records.create`` in a
process of its own (see benchmarks/official.py). auditbox is measured from the start of its relay until the
last receipt, with claims, settlements, receipts and the start of its threads; records of 100 objects, each in
order.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from auditbox import AuditTrail
from auditbox.emulator import running
from auditbox.sinks.audit_api import AuditApiSink
from benchmarks import official
from benchmarks.bars import Bars
from benchmarks.capture import DOCUMENTS
from benchmarks.report import Report, column, parser
from benchmarks.server import lean

TOKEN = "idt:TKN-1234-5678:benchmark"
LATENCIES = (0.0, 0.02)
TRANSPORTS = ("httpx", "fast")
LOOP = "one by one"


class Run(NamedTuple):
    """One measurement."""

    rate: float
    """Records a second."""
    cost: float
    """Microseconds of processor time a record, the server's not included."""


class Peer(NamedTuple):
    """A server to deliver to."""

    url: str
    stored: Callable[[], int]
    """How many different records it has taken since the last question."""


def objects(count: int) -> list[str]:
    """The objects in turn: 100 lanes."""
    return [f"ORD-0000-0000-{number % 100:04}" for number in range(count)]


def captured(path: Path, count: int) -> None:
    """Fills an outbox."""
    with AuditTrail(path, extension="shop", max_bytes=64 << 30) as trail:
        for first in range(0, count, 1000):
            trail.record_many(
                [
                    {"event": "order.approved", "object": object, "documents": DOCUMENTS}
                    for object in objects(min(1000, count - first))
                ]
            )


def relayed(url: str, count: int, folder: Path, transport: str) -> Run:
    """The relay, from its start to the last receipt."""
    path = folder / f"{time.monotonic_ns()}.db"
    captured(path, count)
    begin, used = time.perf_counter(), time.process_time()
    with AuditTrail(path, sink=AuditApiSink(url, TOKEN, transport=transport), extension="shop") as trail:
        if not trail.flush(300):
            raise SystemExit("not everything was delivered")
        run = Run(count / (time.perf_counter() - begin), (time.process_time() - used) / count * 1e6)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    return run


@contextmanager
def peer(latency: float, emulator: bool) -> Iterator[Peer]:
    """The server."""
    if not emulator:
        with lean(latency) as server:
            yield Peer(server.url, lambda: server.stored().distinct)
        return
    with running(process=True, latency=latency) as emulated:
        before = [0]

        def stored() -> int:
            total = int(emulated.health()["records"])
            new, before[0] = total - before[0], total
            return new

        yield Peer(emulated.url, stored)


def measured(latency: float, options: argparse.Namespace, folder: Path) -> dict[str, list[Run]]:
    """All subjects against one server, in turn."""
    python = official.interpreter()
    results: dict[str, list[Run]] = {LOOP: [], **{name: [] for name in TRANSPORTS}}
    alone = min(options.count, 100 if latency else 1000)
    with peer(latency, options.emulator) as server:
        for _ in range(options.rounds):
            loop = official.loop(python, server.url, alone)
            options.client = loop.client
            results[LOOP].append(Run(loop.rate, loop.seconds * 1e6))
            server.stored()
            for name in TRANSPORTS:
                results[name].append(relayed(server.url, options.count, folder, name))
                if (found := server.stored()) != options.count:
                    raise SystemExit(f"{name}: {found} of {options.count} records have come")
    return results


def judge(report: Report, at: dict[float, dict[str, list[Run]]]) -> None:
    """What was set out to be reached."""
    at_least = {("httpx", 0.0): 1.5, ("fast", 0.0): 10, ("httpx", 0.02): 15, ("fast", 0.02): 15}
    for (name, latency), goal in at_least.items():
        ours, loop = (_columns(at[latency][subject]) for subject in (name, LOOP))
        where = f"at {latency * 1000:g} ms / the loop's"
        report.compare(f"{name}, records/s {where}", ours[0], loop[0], at_least=goal)
        report.compare(
            f"{name}, CPU a record {where}", ours[1], loop[1], at_most=0.6 if name == "httpx" else 1 / 8
        )
    report.absolute("httpx, records/s at 20 ms", column(at[0.02]["httpx"], 0), at_least=500)


def _columns(runs: list[Run]) -> tuple[list[float], list[float]]:
    return column(runs, 0), column(runs, 1)


def main() -> None:
    """Runs, prints, and says whether the goals were reached; a missed goal is exit status 1."""
    arguments = parser(__doc__, rounds=5, count=3000)
    arguments.add_argument("--emulator", action="store_true", help="deliver to the emulator; judges nothing")
    chosen = arguments.parse_args()
    chosen.no_goal |= chosen.emulator
    report = Report("delivery-emulator" if chosen.emulator else "delivery", chosen)
    with tempfile.TemporaryDirectory() as folder:
        at = {latency: measured(latency, chosen, Path(folder)) for latency in LATENCIES}
    print(f"to {'the emulator' if chosen.emulator else 'a lean server'}; the loop is {chosen.client}'s")
    for latency, results in at.items():
        report.table(f"latency {latency * 1000:g} ms", ["records/s", "µs of CPU"], results)
    judge(report, at)
    bars = Bars("processor time a record at 0 ms and at 20 ms, µs")
    for name in (LOOP, *TRANSPORTS):
        low, high = sorted(median(run.cost for run in at[latency][name]) for latency in LATENCIES)
        bars.add(name, low, high, ours=name in TRANSPORTS)
    report.end(bars)


if __name__ == "__main__":
    main()
