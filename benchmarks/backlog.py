"""Whether a backlog slows delivery down: claims, memory, rate and file, from the first record to the last.

    python -m benchmarks.backlog [--count 100000] [--transport fast] [--json FOLDER] [--svg FILE]

An outbox with so many captured records (the goals are set for 1,000,000) of 1,000 objects is drained by a
process of its own to a lean server. That process measures what claims take (with the receipts that are put on
record on the way), its memory beyond an idle relay's, and the rate in every tenth of the way.
Delivered entries are not kept (``keep_delivered=0``), so that the file
can shrink. An idle relay's memory is that of the same process before its first record.

    python -m benchmarks.backlog --count 1000000 --outbox FILE

drains the backlog that an earlier run with ``--fill`` has left there: to capture a million takes a while.
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
from typing import Any

from auditbox import AuditTrail
from auditbox.relay.window import Window
from benchmarks.bars import Bars
from benchmarks.capture import DOCUMENTS
from benchmarks.delivery import TOKEN
from benchmarks.report import Report, parser
from benchmarks.server import lean

PARTS = 10


def rss() -> float:
    """MB of this process that are in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def fill(path: Path, count: int) -> None:
    """Captures a backlog."""
    with AuditTrail(path, extension="shop", max_bytes=64 << 30) as trail:
        for first in range(0, count, 1000):
            trail.record_many(
                [
                    {
                        "event": "order.approved",
                        "object": f"ORD-0000-{number // 100:04}-{number % 100:04}",
                        "documents": DOCUMENTS,
                    }
                    for number in range(min(1000, count - first))
                ]
            )


def drain(path: Path, url: str, count: int, transport: str) -> None:
    """What the relaying process does; prints what it has measured."""
    spent: list[tuple[float, float]] = []
    exchange = Window.exchange

    def timed(window: Window, *arguments: Any, **options: Any) -> Any:
        begin, used = time.perf_counter(), time.thread_time()
        exchanged = exchange(window, *arguments, **options)
        spent.append((begin, time.thread_time() - used))
        return exchanged

    Window.exchange = timed  # type: ignore[method-assign]
    with AuditTrail(
        Path(path).with_name("idle.db"), sink=url, token=TOKEN, extension="shop", transport=transport
    ) as idle:
        idle.record("order.approved", object="ORD-0000-0000-0000")
        idle.flush(10)
        time.sleep(1.0)
        resting = rss()
    spent.clear()
    marks, sizes, begin = [], [], time.perf_counter()
    with AuditTrail(
        path,
        sink=url,
        token=TOKEN,
        extension="shop",
        transport=transport,
        keep_delivered=0,
        max_bytes=64 << 30,
    ) as trail:
        for part in range(1, PARTS + 1):
            while count - trail.outbox.unsettled(count)[0] < count * part // PARTS:
                time.sleep(0.01)
            marks.append(time.perf_counter() - begin)
            sizes.append(rss())
        full = path.stat().st_size / 1e6
        until = time.monotonic() + 300
        while path.stat().st_size / 1e6 > full / 4 and time.monotonic() < until:
            time.sleep(0.1)
    starts = [0.0, *marks]
    costs = [
        sum(cost for at, cost in spent if first <= at - begin <= last) / (count / PARTS) * 1e6
        for first, last in zip(starts, marks, strict=False)
    ]
    rates = [count / PARTS / (last - first) for first, last in zip(starts, marks, strict=False)]
    result = {
        "claim": costs,
        "rate": rates,
        "rss": sizes,
        "idle": resting,
        "full": full,
        "end": path.stat().st_size / 1e6,
    }
    print(json.dumps(result))


def _ends(tenths: list[float]) -> tuple[float, float]:
    """The medians of the first three and of the last three: a single one may meet a mood of the machine."""
    return median(tenths[:3]), median(tenths[-3:])


def main() -> None:
    """Runs, prints, and says whether the goals were reached; a missed goal is exit status 1."""
    arguments = parser(__doc__, count=100_000)
    arguments.add_argument("--transport", default="fast")
    arguments.add_argument("--outbox", metavar="FILE", type=Path, help="the backlog's file")
    arguments.add_argument("--fill", action="store_true", help="only capture the backlog, into --outbox")
    arguments.add_argument("--drain", nargs=2, help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.drain:
        drain(Path(chosen.drain[0]), chosen.drain[1], chosen.count, chosen.transport)
        return
    if chosen.fill:
        fill(chosen.outbox, chosen.count)
        return
    report = Report("backlog", chosen)
    with tempfile.TemporaryDirectory() as folder, lean() as server:
        path = chosen.outbox or Path(folder) / "audit.db"
        if not path.exists():
            fill(path, chosen.count)
        command = [sys.executable, "-m", __spec__.name, "--drain", str(path), server.url]
        command += ["--count", str(chosen.count), "--transport", chosen.transport]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        stored = server.stored()
    if stored.distinct < chosen.count:
        raise SystemExit(f"{stored.distinct} of {chosen.count} records have come")
    report.keep("count", chosen.count)
    report.keep(
        "MB: idle, file at the end of delivery, file afterwards", [found["idle"], found["full"], found["end"]]
    )
    tenths = list(zip(found["claim"], found["rate"], found["rss"], strict=True))
    names = [f"{part * 10} to {part * 10 + 10} %" for part in range(PARTS)]
    rows = {name: [row] for name, row in zip(names, tenths, strict=True)}
    report.table(f"{chosen.count:,} records, by tenths", ["µs a claim", "records/s", "MB"], rows)
    claims, rates = (_ends(found[name]) for name in ("claim", "rate"))
    report.compare("a claim, last three tenths / first", [claims[1]], [claims[0]], at_most=1.25)
    report.compare("rate, first three tenths / last", [rates[0]], [rates[1]], at_most=1.1)
    report.absolute("MB over an idle relay", [max(found["rss"]) - found["idle"]], at_most=30)
    report.compare("the file afterwards / before", [found["end"]], [found["full"]], at_most=0.25)
    bars = Bars("processor time of a claim and its settlement, a record, by tenths of a backlog, µs")
    for name, (cost, _, _) in zip(names, tenths, strict=True):
        bars.add(name, cost, cost, ours=True)
    report.end(bars)


if __name__ == "__main__":
    main()
