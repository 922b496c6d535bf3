"""What several processes reach that capture into one file, against bare SQLite under the same lock.

    python -m benchmarks.processes [--rounds 5] [--count 1000] [--processes 4] [--json FOLDER] [--svg FILE]

Bare SQLite inserts one prepared row of the same size, in the same settings, behind the same ``flock`` with
the same waiting; it composes, redacts, encodes and numbers nothing, and nobody checkpoints. Every process
goes on as fast as it can: the worst case for a lock.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from auditbox import AuditTrail
from auditbox.outbox.files import FileLock
from benchmarks.bars import Bars
from benchmarks.capture import DOCUMENTS, OBJECT, Subject
from benchmarks.report import Report, column, options

_ROW = ("0" * 36, OBJECT, b"x" * (len(json.dumps(DOCUMENTS)) + 200), 1)
OURS, BARE = "auditbox", "bare SQLite behind flock"


@contextmanager
def auditbox_capture(path: Path) -> Iterator[Subject]:
    """Ours, without ``logging`` around it. Nobody relays."""
    with AuditTrail(path, extension="shop", max_bytes=8 << 30) as trail:
        yield lambda: trail.record("order.approved", object=OBJECT, documents=DOCUMENTS)


@contextmanager
def bare_insert(path: Path) -> Iterator[Subject]:
    """One statement a row, WAL, synchronous=NORMAL, and the lock that auditbox uses."""
    lock = FileLock(path.with_name(path.name + ".lock"))
    lock.acquire(30)
    db = sqlite3.connect(path, isolation_level=None, timeout=30)
    for setting in ("journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 0"):
        db.execute(f"PRAGMA {setting}")
    db.execute(
        "CREATE TABLE IF NOT EXISTS entry "
        "(seq INTEGER PRIMARY KEY, id TEXT, lane TEXT, body BLOB, checksum INTEGER)"
    )
    lock.release()

    def insert() -> None:
        lock.acquire(30)
        try:
            db.execute("INSERT INTO entry (id, lane, body, checksum) VALUES (?, ?, ?, ?)", _ROW)
        finally:
            lock.release()

    yield insert
    db.close()


SUBJECTS = {OURS: auditbox_capture, BARE: bare_insert}


def work(name: str, path: Path, count: int, pipe: Connection) -> None:
    """One process: says that it is ready, waits for the start, and tells what its calls took."""
    with SUBJECTS[name](path) as subject:
        for _ in range(10):
            subject()
        pipe.send(None)
        pipe.recv()
        clock, taken = time.perf_counter_ns, []
        began = time.monotonic()
        for _ in range(count):
            begin = clock()
            subject()
            taken.append(clock() - begin)
        pipe.send((began, time.monotonic(), taken))
        pipe.recv()  # nobody closes, and checkpoints, while others still capture


def crowd(name: str, path: Path, processes: int, count: int) -> tuple[float, float, float, float]:
    """p50, p99 and the worst in microseconds, and captures a second, of all processes together."""
    spawn: Any = multiprocessing.get_context("spawn")
    members = []
    for _ in range(processes):
        here, there = spawn.Pipe()
        process = spawn.Process(target=work, args=(name, path, count, there))
        process.start()
        members.append((process, here))
    for _, pipe in members:
        pipe.recv()
    for _, pipe in members:
        pipe.send(None)
    told = [pipe.recv() for _, pipe in members]
    for process, pipe in members:
        pipe.send(None)
        process.join()
    seconds = max(end for _, end, _ in told) - min(begin for begin, _, _ in told)
    taken = sorted(one for _, _, each in told for one in each)
    return (
        taken[len(taken) // 2] / 1000,
        taken[len(taken) * 99 // 100] / 1000,
        taken[-1] / 1000,
        len(taken) / seconds,
    )


def main() -> None:
    """Runs, prints, and says whether the goals were reached; a missed goal is exit status 1."""
    chosen = options(__doc__, rounds=5, count=1000, processes=4)
    report = Report("processes", chosen)
    results: dict[str, list[tuple[float, ...]]] = {name: [] for name in SUBJECTS}
    order: list[str] = list(SUBJECTS)
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(chosen.rounds):
            random.shuffle(order)
            for name in order:
                path = Path(folder) / f"{turn}-{order.index(name)}.db"
                results[name].append(crowd(name, path, chosen.processes, chosen.count))
    report.table(
        f"{chosen.processes} processes, one file", ["p50 µs", "p99 µs", "worst µs", "captures/s"], results
    )
    ours, bare = results[OURS], results[BARE]
    report.compare("captures/s, auditbox / bare SQLite", column(ours, 3), column(bare, 3), at_least=0.8)
    report.absolute("worst of a round, ms", [one / 1000 for one in column(ours, 2)], at_most=50)
    bars = Bars(f"One capture by {chosen.processes} processes on one file, µs: median, and a line to p99")
    for name, measured in results.items():
        middle = sorted(measured, key=lambda one: one[0])[len(measured) // 2]
        bars.add(name, middle[0], middle[1], ours=name == OURS)
    report.end(bars)


if __name__ == "__main__":
    main()
