"""All processor time that a record costs, from its capture to its receipt, beside python-logstash-async's.

    python -m benchmarks.cpu [--count 3000] [--rounds 5] [--json FOLDER] [--svg FILE]

Both keep captured records in a SQLite file and deliver them from a thread of the same process: auditbox one
POST a record, with a receipt for each; python-logstash-async batches over a plain TCP connection whose server
answers nothing. Each run is a process of its own; its clock runs from the first capture until everything is
delivered, and counts all of its threads.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.bars import Bars
from benchmarks.capture import DOCUMENTS
from benchmarks.report import Report, column, parser
from benchmarks.server import lean

PEER = "python-logstash-async"
SUBJECTS = (PEER, "httpx", "fast")


def auditbox(url: str, count: int, folder: str, transport: str) -> float:
    """Processor seconds of capturing and delivering."""
    from auditbox import AuditHandler, AuditTrail

    with AuditTrail(
        Path(folder) / "audit.db", sink=url, token="idt:TKN-1:x", extension="shop", transport=transport
    ) as trail:
        logger = _logger(AuditHandler(trail=trail))
        used = time.process_time()
        for number in range(count):
            audit = {
                "event": "order.approved",
                "object": f"ORD-0000-0000-{number % 100:04}",
                "documents": DOCUMENTS,
            }
            logger.info("Order approved", extra={"audit": audit})
        if not trail.flush(120):
            raise SystemExit("not everything was delivered")
        return time.process_time() - used


def logstash(count: int, folder: str) -> float:
    """As above; the server only reads."""
    from logstash_async.handler import AsynchronousLogstashHandler

    handler = AsynchronousLogstashHandler("127.0.0.1", _drain(), database_path=f"{folder}/logstash.db")
    logger = _logger(handler)
    used = time.process_time()
    for number in range(count):
        audit = {
            "event": "order.approved",
            "object": f"ORD-0000-0000-{number % 100:04}",
            "documents": DOCUMENTS,
        }
        logger.info("Order approved", extra=audit)
    handler.flush()
    handler.close()
    return time.process_time() - used


def _drain() -> int:
    """A server in a process of its own that reads and forgets; its port."""
    script = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    while connection.recv(1 << 20):
        pass
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    _drains.append(process)
    return int(process.stdout.readline())


_drains: list[subprocess.Popen[str]] = []


def _logger(handler: logging.Handler) -> logging.Logger:
    logger = logging.getLogger("benchmark")
    logger.propagate, logger.handlers = False, [handler]
    logger.setLevel(logging.INFO)
    return logger


def alone(subject: str, url: str, count: int) -> None:
    """What a process of its own does."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            seconds = logstash(count, folder) if subject == PEER else auditbox(url, count, folder, subject)
        finally:
            for process in _drains:
                process.kill()
                process.wait()
        print(json.dumps(seconds / count))


def main() -> None:
    """Runs, prints, and says whether the goals were reached; a missed goal is exit status 1."""
    arguments = parser(__doc__, rounds=5, count=3000)
    arguments.add_argument("--subject", help=argparse.SUPPRESS)
    arguments.add_argument("--url", help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.subject:
        alone(chosen.subject, chosen.url, chosen.count)
        return
    report = Report("cpu", chosen)
    results: dict[str, list[tuple[float, ...]]] = {name: [] for name in SUBJECTS}
    with lean() as server:
        for _ in range(chosen.rounds):
            for name in SUBJECTS:
                command = [sys.executable, "-m", __spec__.name, "--subject", name, "--url", server.url]
                ran = subprocess.run(
                    [*command, "--count", str(chosen.count)], stdout=subprocess.PIPE, text=True, check=True
                )
                results[name].append((json.loads(ran.stdout) * 1e6,))
    report.table("a record, capture to receipt", ["µs of CPU"], results)
    for name, goal in (("httpx", 0.5), ("fast", 0.2)):
        report.compare(f"{name} / {PEER}", column(results[name], 0), column(results[PEER], 0), at_most=goal)
    bars = Bars("processor time a record, from capture to receipt, µs")
    for name, rounds in results.items():
        costs = column(rounds, 0)
        bars.add(name, median(costs), max(costs), ours=name != PEER)
    report.end(bars)


if __name__ == "__main__":
    main()
