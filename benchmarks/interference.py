"""How much the application feels of delivery: captures while hundreds of records a second go out.

    python -m benchmarks.interference [--seconds 3] [--rounds 5] [--json FOLDER] [--svg FILE]

A process captures a record every 2 ms, as an application would between its own work, and measures each
capture. Its outbox holds a backlog, which is delivered meanwhile to a server with 20 ms of latency (16 at
once, so some 780 records a second): by the process itself with either transport, or by ``auditbox relay`` in
a process of its own. "idle" is the same process and backlog without a relay; "relay of another" is ``auditbox
relay`` on another outbox, which takes the same processors and disk, and no lock of ours. Every run is a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from auditbox import AuditTrail
from benchmarks.bars import Bars
from benchmarks.capture import DOCUMENTS, OBJECT
from benchmarks.delivery import TOKEN, captured
from benchmarks.measure import quantiles
from benchmarks.report import Report, column, parser
from benchmarks.server import lean

IDLE, RELAY, ANOTHER = "idle", "auditbox relay", "relay of another"
SUBJECTS = (IDLE, RELAY, ANOTHER, "fast", "httpx")
GOALS = {"fast": 1.5, "httpx": 5.0, RELAY: 1.1}
PACE = 0.002
RATE = 800


def alone(subject: str, url: str, path: Path, seconds: float) -> None:
    """What the capturing process does; prints p50 and p99 in µs."""
    inside = subject in ("fast", "httpx")
    sink = {"sink": url, "token": TOKEN, "transport": subject} if inside else {}
    with AuditTrail(path, extension="shop", **sink) as trail:  # type: ignore[arg-type]
        time.sleep(0.5)  # the relay has begun
        taken = []
        clock, due = time.perf_counter_ns, time.monotonic()
        end = due + seconds
        while (due := due + PACE) < end:
            time.sleep(max(0.0, due - time.monotonic()))
            begin = clock()
            trail.record("order.approved", object=OBJECT, documents=DOCUMENTS)
            taken.append(clock() - begin)
        print(json.dumps(quantiles(taken)), flush=True)
        os._exit(0)  # what is left of the backlog is nobody's business


def measured(subject: str, url: str, seconds: float) -> tuple[float, float]:
    """One run: p50 and p99 in µs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.db"
        captured(path, int(RATE * (seconds + 2)))
        relay, relayed = None, path
        if subject == ANOTHER:
            relayed = path.with_name("another.db")
            captured(relayed, int(RATE * (seconds + 2)))
        if subject in (RELAY, ANOTHER):
            command = [sys.executable, "-m", "auditbox", "relay", "--outbox", str(relayed), "--url", url]
            relay = subprocess.Popen(
                command, env={**os.environ, "MPT_API_TOKEN": TOKEN},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            time.sleep(1.0)
        try:
            command = [sys.executable, "-m", __spec__.name, "--subject", subject, "--url", url]
            command += ["--path", str(path), "--seconds", str(seconds)]
            ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        finally:
            if relay is not None:
                relay.kill()
                relay.wait()
    p50, p99 = json.loads(ran.stdout)
    return p50, p99


def main() -> None:
    """Runs, prints, and says whether the goals were reached; a missed goal is exit status 1."""
    arguments = parser(__doc__, rounds=5, seconds=3.0)
    arguments.add_argument("--subject", help=argparse.SUPPRESS)
    arguments.add_argument("--url", help=argparse.SUPPRESS)
    arguments.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.subject:
        alone(chosen.subject, chosen.url, chosen.path, chosen.seconds)
    report = Report("interference", chosen)
    results: dict[str, list[tuple[float, ...]]] = {name: [] for name in SUBJECTS}
    with lean(0.02) as server:
        for _ in range(chosen.rounds):
            for name in SUBJECTS:
                server.stored()
                times = measured(name, server.url, chosen.seconds)
                came = server.stored().arrivals
                rate = len(came) / (came[-1] - came[0]) if len(came) > 1 else 0.0
                results[name].append((*times, rate))
    report.table("one capture meanwhile", ["p50 µs", "p99 µs", "sent/s"], results)
    for name, goal in GOALS.items():
        report.compare(
            f"{name} / idle, p99", column(results[name], 1), column(results[IDLE], 1), at_most=goal
        )
    bars = Bars("one capture while records are delivered: median and 99th percentile, µs")
    for name, rounds in results.items():
        bars.add(name, median(column(rounds, 0)), median(column(rounds, 1)), ours=name != IDLE)
    report.end(bars)


if __name__ == "__main__":
    main()
