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
from benchmarks.goals import Goal, judge
from benchmarks.measure import machine, save
from benchmarks.server import lean

TOKEN = "idt:TKN-1234-5678:benchmark"
LATENCIES = (0.0, 0.02)
TRANSPORTS = ("httpx", "fast")


class Run(NamedTuple):
    """One measurement."""

    rate: float
    """Records a second."""
    seconds: float
    """Processor seconds a record, the server's not included."""


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
        run = Run(count / (time.perf_counter() - begin), (time.process_time() - used) / count)
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
    results: dict[str, list[Run]] = {"one by one": [], **{name: [] for name in TRANSPORTS}}
    alone = min(options.count, 100 if latency else 1000)
    with peer(latency, options.emulator) as server:
        for _ in range(options.rounds):
            loop = official.loop(python, server.url, alone)
            options.client = loop.client
            results["one by one"].append(Run(loop.rate, loop.seconds))
            server.stored()
            for name in TRANSPORTS:
                results[name].append(relayed(server.url, options.count, folder, name))
                if (found := server.stored()) != options.count:
                    raise SystemExit(f"{name}: {found} of {options.count} records have come")
    return results


def goals(at: dict[float, dict[str, list[Run]]]) -> list[Goal]:
    """What was set out to be reached (issue 6, goals 6 and 7)."""

    def rates(latency: float, name: str) -> list[float]:
        return [run.rate for run in at[latency][name]]

    def costs(latency: float, name: str) -> list[float]:
        return [run.seconds for run in at[latency][name]]

    loop = "one by one"
    return [
        Goal("httpx, records/s at 20 ms / the loop's", rates(0.02, "httpx"), rates(0.02, loop), at_least=15),
        Goal("httpx, records/s at 0 ms / the loop's", rates(0.0, "httpx"), rates(0.0, loop), at_least=1.5),
        Goal("httpx, CPU a record at 0 ms / the loop's", costs(0.0, "httpx"), costs(0.0, loop), at_most=0.6),
        Goal(
            "httpx, CPU a record at 20 ms / the loop's", costs(0.02, "httpx"), costs(0.02, loop), at_most=0.6
        ),
        Goal("fast, records/s at 20 ms / the loop's", rates(0.02, "fast"), rates(0.02, loop), at_least=15),
        Goal("fast, records/s at 0 ms / the loop's", rates(0.0, "fast"), rates(0.0, loop), at_least=10),
        Goal("fast, CPU a record at 0 ms / the loop's", costs(0.0, "fast"), costs(0.0, loop), at_most=1 / 8),
        Goal(
            "fast, CPU a record at 20 ms / the loop's", costs(0.02, "fast"), costs(0.02, loop), at_most=1 / 8
        ),
        Goal(
            "httpx, records/s at 20 ms / 500", rates(0.02, "httpx"), [500.0] * len(at[0.02][loop]), at_least=1
        ),
    ]


def main() -> None:
    """Runs, prints, and says whether the goals were reached; a missed goal is exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--emulator", action="store_true", help="deliver to the emulator; judges nothing")
    parser.add_argument("--json", metavar="FOLDER")
    parser.add_argument("--svg", metavar="FILE", type=Path)
    parser.add_argument(
        "--no-goal", action="store_true", help="do not judge: the run only shows that it works"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        at = {latency: measured(latency, options, Path(folder)) for latency in LATENCIES}
    to = "the emulator" if options.emulator else "a lean server"
    print(
        f"{machine()}\n\nto {to}, medians of {options.rounds} rounds; one by one is {options.client}'s loop"
    )
    chart = Bars("processor time a record at 0 ms and at 20 ms, µs")
    for latency, results in at.items():
        for name, runs in results.items():
            rate, cost = median(run.rate for run in runs), median(run.seconds for run in runs) * 1e6
            print(
                f"{latency * 1000:3.0f} ms  {name:<12}{rate:>9.0f} records/s{cost:>9.0f} µs of CPU a record"
            )
    for name in ("one by one", *TRANSPORTS):
        low, high = sorted(median(run.seconds for run in at[latency][name]) * 1e6 for latency in LATENCIES)
        chart.add(name, low, high, ours=name in TRANSPORTS)
    compared, missed = judge(goals(at))
    raw = {f"{latency * 1000:g} ms": results for latency, results in at.items()}
    save(
        "delivery-emulator" if options.emulator else "delivery",
        {"runs": raw, "ratios": compared},
        options.json,
    )
    if options.svg:
        options.svg.write_text(chart.svg(), encoding="utf-8")
    raise SystemExit(1 if missed and not (options.no_goal or options.emulator) else 0)


if __name__ == "__main__":
    main()
