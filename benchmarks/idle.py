"""How soon a record arrives that is captured while nothing else happens.

    python -m benchmarks.idle [--count 60] [--rounds 5] [--latency 0.02] [--json FOLDER] [--svg FILE]

From the return of the capture until the server has read the request; the server answers 20 ms later, so its
latency is not in the figures, and the goal of 10 ms over the server's latency is 10 ms here. One capture
every 50 ms.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from auditbox import AuditTrail
from benchmarks.bars import Bars
from benchmarks.capture import DOCUMENTS
from benchmarks.delivery import TOKEN, TRANSPORTS
from benchmarks.report import Report, options
from benchmarks.server import lean


def arrivals(url: str, latency: float, count: int, transport: str, path: Path) -> list[float]:
    """When each was captured, in Unix seconds."""
    taken = []
    with AuditTrail(path, sink=url, token=TOKEN, extension="shop", transport=transport) as trail:
        trail.record("order.approved", object="ORD-0000-0000-0000", documents=DOCUMENTS)
        trail.flush(30)
        for number in range(count):
            time.sleep(0.03 + latency)
            trail.record("order.approved", object=f"ORD-0000-0000-{number:04}", documents=DOCUMENTS)
            taken.append(time.time())
        trail.flush(30)
    return taken


def main() -> None:
    """Runs, prints, and says whether the goal was reached; a missed goal is exit status 1."""
    chosen = options(__doc__, rounds=5, count=60, latency=0.02)
    report = Report("idle", chosen)
    results: dict[str, list[list[float]]] = {name: [] for name in TRANSPORTS}
    with tempfile.TemporaryDirectory() as folder, lean(chosen.latency) as server:
        for turn in range(chosen.rounds):
            for name in TRANSPORTS:
                server.stored()
                path = Path(folder) / f"{name}-{turn}.db"
                taken = arrivals(server.url, chosen.latency, chosen.count, name, path)
                came = server.stored().arrivals[1:]
                results[name].append([(there - here) * 1000 for here, there in zip(taken, came, strict=True)])
    report.keep("ms", results)
    bars = Bars("capture to arrival of a lone record: median and 99th percentile, µs")
    for name, rounds in results.items():
        report.absolute(
            f"{name}: capture to arrival, p50, ms", [median(waits) for waits in rounds], at_most=10
        )
        every = sorted(wait * 1000 for waits in rounds for wait in waits)
        bars.add(name, median(every), every[len(every) * 99 // 100], ours=True)
    report.end(bars)


if __name__ == "__main__":
    main()
