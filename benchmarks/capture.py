"""What one capture costs its caller, against handlers that promise less.

    python -m benchmarks.capture [--rounds 7] [--count 2000] [--json FOLDER] [--svg FILE]

All get the same record: a message and a nested ``documents`` dict of about 800 bytes as JSON. auditbox
validates, redacts, encodes and commits it before the call returns; the OpenTelemetry SDK's handler puts it
into a queue that its batch processor empties into an exporter that does nothing.
"""

from __future__ import annotations

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
from benchmarks.bars import Bars
from benchmarks.measure import interleaved
from benchmarks.report import Report, column, options

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


WHERE = {
    "NullHandler": "nowhere",
    "QueueHandler": "in memory",
    "OpenTelemetry SDK": "in memory",
    "auditbox, none": "on disk 5 ms later",
    "auditbox, power": "safe from a power cut",
    "FileHandler + fsync": "safe from a power cut",
}
"""Where a record is when the call returns; what is not named here has it on disk, safe from ``kill -9``."""


def main() -> None:
    """Runs, prints, and says whether the goals were reached; a missed goal is exit status 1."""
    chosen = options(__doc__, rounds=7, count=2000)
    report = Report("capture", chosen)
    with tempfile.TemporaryDirectory() as folder:
        results = run(chosen.rounds, chosen.count, Path(folder))
    results = dict(sorted(results.items(), key=lambda item: median(column(item[1], 0))))
    report.table("one capture", ["p50 µs", "p99 µs"], results)
    p50, p99 = ({name: column(rounds, at) for name, rounds in results.items()} for at in (0, 1))
    floor = [log + commit for log, commit in zip(p50["NullHandler"], p50["bare SQLite commit"], strict=True)]
    ours, peer = "auditbox, crash", "OpenTelemetry SDK"
    report.compare(f"{ours} / {peer}, p50", p50[ours], p50[peer], at_most=0.65)
    report.compare(f"{ours} / {peer}, p99", p99[ours], p99[peer], at_most=0.9)
    report.compare(f"{ours} / (NullHandler + bare commit), p50", p50[ours], floor, at_most=1.5)
    bars = Bars("One capture: median and 99th percentile, µs; and where the record is when it returns")
    for name in results:
        where = WHERE.get(name, "on disk")
        bars.add(
            name, median(p50[name]), median(p99[name]), ours=name.startswith("auditbox"), note=f"  {where}"
        )
    report.end(bars)


if __name__ == "__main__":
    main()
