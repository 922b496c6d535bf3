"""How soon a record arrives that is captured while nothing else happens.

    python -m benchmarks.idle [--count 60] [--rounds 5] [--latency 0.02] [--json FOLDER] [--svg FILE]

From the return of the capture until the server has read the request; the server answers 20 ms later, so its
latency is not in the figures, and the goal of 10 ms over the server's latency is 10 ms here. One capture
every 50 ms.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from auditbox import AuditTrail
from benchmarks.bars import Bars
from benchmarks.capture import DOCUMENTS
from benchmarks.delivery import TOKEN, TRANSPORTS
from benchmarks.measure import machine, save
from benchmarks.server import lean

GOAL = 10.0
"""Milliseconds."""


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--json", metavar="FOLDER")
    parser.add_argument("--svg", metavar="FILE", type=Path)
    parser.add_argument(
        "--no-goal", action="store_true", help="do not judge: the run only shows that it works"
    )
    options = parser.parse_args()
    results: dict[str, list[list[float]]] = {name: [] for name in TRANSPORTS}
    with tempfile.TemporaryDirectory() as folder, lean(options.latency) as server:
        for turn in range(options.rounds):
            for name in TRANSPORTS:
                server.stored()
                path = Path(folder) / f"{name}-{turn}.db"
                taken = arrivals(server.url, options.latency, options.count, name, path)
                came = server.stored().arrivals[1:]
                results[name].append([(there - here) * 1000 for here, there in zip(taken, came, strict=True)])
    print(f"{machine()}\n\ncapture to arrival, ms (medians of {options.rounds} rounds)")
    missed, chart = False, Bars("capture to arrival of a lone record: median and 99th percentile, µs")
    for name, rounds in results.items():
        medians = [median(waits) for waits in rounds]
        worst = max(max(waits) for waits in rounds)
        missed |= median(medians) > GOAL
        verdict = "MISSED" if median(medians) > GOAL else "reached"
        shown = f"{median(medians):.1f} ({min(medians):.1f} to {max(medians):.1f}), worst {worst:.0f}"
        print(f"{name:<8} p50 {shown}   goal at most {GOAL:g}: {verdict}")
        every = sorted(wait * 1000 for waits in rounds for wait in waits)
        chart.add(name, median(every), every[len(every) * 99 // 100], ours=True)
    save("idle", {"milliseconds": results}, options.json)
    if options.svg:
        options.svg.write_text(chart.svg(), encoding="utf-8")
    raise SystemExit(1 if missed and not options.no_goal else 0)


if __name__ == "__main__":
    main()
