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
from benchmarks.goals import Goal, judge
from benchmarks.measure import machine, save
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FOLDER")
    parser.add_argument("--svg", metavar="FILE", type=Path)
    parser.add_argument(
        "--no-goal", action="store_true", help="do not judge: the run only shows that it works"
    )
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subject:
        alone(options.subject, options.url, options.count)
        return
    results: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    with lean() as server:
        for _ in range(options.rounds):
            for name in SUBJECTS:
                command = [sys.executable, "-m", __spec__.name, "--subject", name, "--url", server.url]
                ran = subprocess.run(
                    [*command, "--count", str(options.count)], stdout=subprocess.PIPE, text=True, check=True
                )
                results[name].append(json.loads(ran.stdout))
    print(f"{machine()}\n\nµs of CPU a record, capture to receipt (medians of {options.rounds} rounds)")
    chart = Bars("processor time a record, from capture to receipt, µs")
    for name, seconds in results.items():
        print(f"{name:<24}{median(seconds) * 1e6:>8.0f}")
        chart.add(name, median(seconds) * 1e6, max(seconds) * 1e6, ours=name != PEER)
    compared, missed = judge(
        [
            Goal("httpx / python-logstash-async", results["httpx"], results[PEER], at_most=0.5),
            Goal("fast / python-logstash-async", results["fast"], results[PEER], at_most=0.2),
        ]
    )
    save("cpu", {"seconds": results, "ratios": compared}, options.json)
    if options.svg:
        options.svg.write_text(chart.svg(), encoding="utf-8")
    raise SystemExit(1 if missed and not options.no_goal else 0)


if __name__ == "__main__":
    main()
