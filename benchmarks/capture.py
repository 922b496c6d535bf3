"""What one capture costs its caller, against handlers that promise less.

    python -m benchmarks.capture [--rounds 7] [--count 2000] [--json FOLDER]

All get the same record: a message and a nested ``documents`` dict of about 800 bytes as JSON. auditbox
validates, redacts, encodes and commits it before the call returns; the OpenTelemetry SDK's handler puts it
into a queue that its batch processor empties into an exporter that does nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import logging.handlers
import os
import queue
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from auditbox import AuditHandler, AuditTrail
from benchmarks.measure import interleaved, machine, ratios, save, shown

OBJECT = "ORD-1208-2301-8479"
DOCUMENTS: dict[str, Any] = {
    "order": {
        "id": OBJECT,
        "status": "Processing",
        "notes": "Deliver before noon; ring twice",
        "buyer": {
            "id": "BUY-1234-5678",
            "name": "Acme Corp",
            "address": {"city": "Berlin", "postCode": "10115"},
        },
        "lines": [
            {
                "id": f"ALI-1208-2301-{number:04}",
                "item": {"id": f"ITM-1234-{number:04}", "name": f"Widget of kind {number}"},
                "quantity": {"old": 1, "new": number},
                "price": {"unit": 1.5, "total": 1.5 * number},
            }
            for number in range(1, 4)
        ],
    },
    "change": {"status": {"before": "Querying", "after": "Processing"}},
}
AUDIT = {"event": "order.approved", "object": OBJECT, "documents": DOCUMENTS}
Subject = Callable[[], object]


def logging_into(name: str, handler: logging.Handler, extra: dict[str, Any]) -> Subject:
    """A call of ``logger.info`` with this one handler."""
    logger = logging.getLogger(f"benchmark.{name}")
    logger.propagate, logger.handlers = False, [handler]
    logger.setLevel(logging.INFO)
    return lambda: logger.info("Order approved", extra=extra)


@contextmanager
def null_handler(_: Path) -> Iterator[Subject]:
    """What ``logging`` itself costs."""
    yield logging_into("null", logging.NullHandler(), AUDIT)


@contextmanager
def auditbox_handler(folder: Path, durability: str) -> Iterator[Subject]:
    """Ours: on disk (but for ``none``) when it returns. Another process would relay."""
    with AuditTrail(
        folder / f"{durability}.db", extension="shop", durability=durability, max_bytes=8 << 30
    ) as trail:
        yield logging_into(f"auditbox-{durability}", AuditHandler(trail=trail), {"audit": AUDIT})


@contextmanager
def opentelemetry_handler(_: Path) -> Iterator[Subject]:
    """The OpenTelemetry SDK: in memory when it returns."""
    import warnings

    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogExporter, LogExportResult

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opentelemetry.sdk._logs import LoggingHandler

        class Nowhere(LogExporter):  # type: ignore[misc, valid-type]
            def export(self, batch: Any) -> Any:
                return LogExportResult.SUCCESS

            def shutdown(self) -> None:
                pass

            def force_flush(self, timeout_millis: int = 0) -> bool:
                return True

        provider = LoggerProvider()
        provider.add_log_record_processor(BatchLogRecordProcessor(Nowhere()))
        handler = LoggingHandler(logger_provider=provider)
    yield logging_into("opentelemetry", handler, AUDIT)
    provider.shutdown()


@contextmanager
def queue_handler(_: Path) -> Iterator[Subject]:
    """The standard library's QueueHandler with a listener: in memory when it returns."""
    records: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(records, logging.NullHandler())
    listener.start()
    yield logging_into("queue", logging.handlers.QueueHandler(records), AUDIT)
    listener.stop()


class JsonFile(logging.FileHandler):
    """One JSON line a record; with ``synced`` forced to the disk."""

    synced = False

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"message": record.getMessage(), "documents": getattr(record, "documents", None)})

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if self.synced:
            os.fsync(self.stream.fileno())


@contextmanager
def file_handler(folder: Path, synced: bool) -> Iterator[Subject]:
    """A FileHandler that writes JSON."""
    handler = JsonFile(folder / f"lines-{synced}.jsonl")
    handler.synced = synced
    yield logging_into(f"file-{synced}", handler, AUDIT)
    handler.close()


@contextmanager
def bare_commit(folder: Path) -> Iterator[Subject]:
    """The floor: one prepared row of the same size, committed (WAL, synchronous=NORMAL), nothing else."""
    db = sqlite3.connect(folder / "bare.db", isolation_level=None)
    for setting in ("journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 0"):
        db.execute(f"PRAGMA {setting}")
    db.execute(
        "CREATE TABLE entry (seq INTEGER PRIMARY KEY, id TEXT, lane TEXT, body BLOB, checksum INTEGER)"
    )
    row = ("0" * 36, OBJECT, json.dumps(DOCUMENTS).encode(), 1)
    yield lambda: db.execute("INSERT INTO entry (id, lane, body, checksum) VALUES (?, ?, ?, ?)", row)
    db.close()


def run(rounds: int, count: int, folder: Path) -> dict[str, list[tuple[float, float]]]:
    """All subjects, each interleaved with those that promise the same.

    In groups, because the queues and writers behind ``none`` and QueueHandler work in threads of their own:
    these would take the interpreter from whoever comes next.
    """
    groups: list[dict[str, Callable[[Path], AbstractContextManager[Subject]]]] = [
        {
            "NullHandler": null_handler,
            "auditbox, crash": partial(auditbox_handler, durability="crash"),
            "OpenTelemetry SDK": opentelemetry_handler,
            "FileHandler": partial(file_handler, synced=False),
            "bare SQLite commit": bare_commit,
        },
        {
            "auditbox, power": partial(auditbox_handler, durability="power"),
            "FileHandler + fsync": partial(file_handler, synced=True),
        },
        {"auditbox, none": partial(auditbox_handler, durability="none"), "QueueHandler": queue_handler},
    ]
    results = {}
    for group in groups:
        with ExitStack() as stack:
            subjects = {name: stack.enter_context(make(folder)) for name, make in group.items()}
            results.update(interleaved(subjects, rounds=rounds, count=count))
    return results


PAIRS = [
    ("auditbox, crash", "OpenTelemetry SDK", "p50", 0.9),
    ("auditbox, crash", "OpenTelemetry SDK", "p99", None),
    ("auditbox, power", "FileHandler + fsync", "p50", None),
    ("auditbox, none", "QueueHandler", "p50", None),
]


def main() -> None:
    """Runs, prints, and says whether the goal was reached; a missed goal is exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--json", metavar="FOLDER")
    parser.add_argument(
        "--no-goal", action="store_true", help="do not judge: the run only shows that it works"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = run(options.rounds, options.count, Path(folder))
    print(
        f"{machine()}\n\n{'one capture, µs':<22}{'p50':>8}{'p99':>9}   (medians of {options.rounds} rounds)"
    )
    medians = {
        name: [median(column) for column in zip(*rounds, strict=True)] for name, rounds in results.items()
    }
    for name, (p50, p99) in sorted(medians.items(), key=lambda item: item[1]):
        print(f"{name:<22}{p50:>8.1f}{p99:>9.1f}")
    compared, missed = {}, False
    print()
    for ours, theirs, which, goal in PAIRS:
        column = 0 if which == "p50" else 1
        ratio = ratios([r[column] for r in results[ours]], [r[column] for r in results[theirs]])
        compared[f"{ours} / {theirs}, {which}"] = ratio
        verdict = "" if goal is None else f"   goal at most {goal}"
        missed |= goal is not None and ratio["median"] > goal
        print(f"{ours} / {theirs}, {which}: {shown(ratio)}{verdict}")
    save("capture", {"results": results, "ratios": compared}, options.json)
    raise SystemExit(1 if missed and not options.no_goal else 0)


if __name__ == "__main__":
    main()
