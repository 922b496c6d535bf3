"""What a capture costs when 8 or 32 threads capture at once, against handlers that promise less.

    python -m benchmarks.threads [--rounds 5] [--count 250] [--json FOLDER] [--svg FILE]

Each thread logs the same record ``--count`` times, as fast as it can. The peers return from memory
(FileHandler from the page cache) and do their work later: what they had not done when the last thread
returned is not counted against them. The OpenTelemetry SDK drops what its queue of 2,048 cannot hold, and
so is never slowed down by it.
"""

from __future__ import annotations

import gc
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bars import Bars
from benchmarks.capture import (
    AUDIT,
    Subject,
    auditbox_handler,
    file_handler,
    logging_into,
    opentelemetry_handler,
    queue_handler,
)
from benchmarks.report import Report, column, options

CROWDS = (8, 32)
COLUMNS = ["p50 µs", "p99 µs", "worst µs", "captures/s"]
OURS, PEER = "auditbox, crash", "OpenTelemetry SDK"


@contextmanager
def logstash_handler(folder: Path) -> Iterator[Subject]:
    """python-logstash-async with its SQLite buffer and a transport that does nothing."""
    from logstash_async.handler import AsynchronousLogstashHandler
    from logstash_async.transport import Transport

    class Nowhere(Transport):  # type: ignore[misc, unused-ignore]
        def send(self, events: Any, **_: Any) -> None:
            pass

        def close(self) -> None:
            pass

    transport = Nowhere("127.0.0.1", 1, 1, False, False, None, False)
    handler = AsynchronousLogstashHandler(
        "127.0.0.1", 1, database_path=str(folder / "logstash.db"), transport=transport
    )
    yield logging_into("logstash", handler, AUDIT)
    handler.close()


SUBJECTS: dict[str, Callable[[Path], AbstractContextManager[Subject]]] = {
    OURS: partial(auditbox_handler, durability="crash"),
    PEER: opentelemetry_handler,
    "QueueHandler": queue_handler,
    "FileHandler": partial(file_handler, synced=False),
}
LOGSTASH = "python-logstash-async"


def crowd(subject: Subject, threads: int, count: int) -> tuple[float, float, float, float]:
    """p50, p99 and the worst in microseconds, and captures a second, of so many threads at once."""
    taken: list[int] = []
    gate = threading.Barrier(threads + 1)

    def work() -> None:
        mine, clock = [], time.perf_counter_ns
        gate.wait()
        for _ in range(count):
            begin = clock()
            subject()
            mine.append(clock() - begin)
        taken.extend(mine)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    gc.collect()
    gate.wait()
    begin = time.perf_counter()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - begin
    taken.sort()
    p99 = taken[len(taken) * 99 // 100]
    return taken[len(taken) // 2] / 1000, p99 / 1000, taken[-1] / 1000, len(taken) / seconds


Rounds = dict[str, list[tuple[float, ...]]]


def in_turns(subjects: Mapping[str, Subject], threads: int, rounds: int, count: int) -> Rounds:
    """Subject after subject in each round, in an order that changes; the first round warms up."""
    results: Rounds = {name: [] for name in subjects}
    order = list(subjects)
    for turn in range(-1, rounds):
        random.shuffle(order)
        for name in order:
            measured = crowd(subjects[name], threads, count if turn >= 0 else max(5, count // 10))
            time.sleep(0.05)  # what works behind a queue ends before the next one begins
            if turn >= 0:
                results[name].append(measured)
    return results


def main() -> None:
    """Runs, prints, and says whether the goals were reached; a missed goal is exit status 1."""
    chosen = options(__doc__, rounds=5, count=250)
    report = Report("threads", chosen)
    bars = Bars("One capture with 8 threads at once, µs: median, and a line to the 99th percentile")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        subjects = {name: stack.enter_context(make(Path(folder))) for name, make in SUBJECTS.items()}
        for threads in CROWDS:
            results = in_turns(subjects, threads, chosen.rounds, chosen.count)
            report.table(f"{threads} threads", COLUMNS, results)
            ours, theirs = results[OURS], results[PEER]
            goal = threads == CROWDS[0]
            report.compare(
                f"{threads} threads: captures/s, auditbox / OpenTelemetry",
                column(ours, 3), column(theirs, 3), at_least=1.2 if goal else None,
            )  # fmt: skip
            report.compare(
                f"{threads} threads: p99, auditbox / OpenTelemetry",
                column(ours, 1), column(theirs, 1), at_most=0.1 if goal else None,
            )  # fmt: skip
            if goal:
                draw(bars, results)
    # At last and by itself: its worker would be at work long after, in the turns of all others.
    with tempfile.TemporaryDirectory() as folder, logstash_handler(Path(folder)) as subject:
        few = in_turns({LOGSTASH: subject}, CROWDS[0], chosen.rounds, max(5, chosen.count // 10))
        report.table(f"{CROWDS[0]} threads, by itself", COLUMNS, few)
    draw(bars, few)
    report.end(bars)


def draw(bars: Bars, results: Rounds) -> None:
    """The round with the middle 99th percentile of each subject."""
    for name, measured in results.items():
        middle = sorted(measured, key=lambda one: one[1])[len(measured) // 2]
        bars.add(name, middle[0], middle[1], ours=name == OURS)


if __name__ == "__main__":
    main()
