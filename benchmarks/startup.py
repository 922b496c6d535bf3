"""What ``import auditbox`` costs a program, and what its first capture does.

    python -m benchmarks.startup [--rounds 15] [--json FOLDER] [--svg FILE]

Each is an interpreter of its own, in turns: one that imports nothing, ``import auditbox``, what an
application really uses, a first capture on disk, and the peers' imports. Memory is the peak that the system
has counted.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys

from benchmarks.bars import Bars
from benchmarks.report import Report, column, options

BARE, OURS = "a bare interpreter", "import auditbox"
PROGRAMS = {
    BARE: "",
    OURS: "import auditbox",
    "… and what a program uses": "from auditbox import AuditHandler, AuditTrail, audited",
    "… and a first capture": (
        "import tempfile\n"
        "from auditbox import AuditTrail\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    with AuditTrail(folder + '/audit.db', extension='shop') as trail:\n"
        "        trail.record('order.approved', object='ORD-1208-2301-8479', documents={'order': {}})"
    ),
    "logging": "import logging.handlers",
    "httpx": "import httpx",
    "OpenTelemetry SDK": (
        "from opentelemetry.sdk._logs import LoggerProvider\n"
        "from opentelemetry.sdk._logs.export import BatchLogRecordProcessor"
    ),
    "python-logstash-async": "import logstash_async.handler",
}
_AROUND = """
import time
begin = time.perf_counter()
{program}
took = time.perf_counter() - begin
import json, resource, sys
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([took * 1000, peak / (2**20 if sys.platform == "darwin" else 2**10), len(sys.modules)]))
"""


def measured(program: str) -> tuple[float, ...]:
    """Milliseconds, the peak in MiB, and the modules that are loaded."""
    code = _AROUND.format(program=program)
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return tuple(json.loads(answer.stdout))


def main() -> None:
    """Runs, prints, and says whether the goals were reached; a missed goal is exit status 1."""
    chosen = options(__doc__, rounds=15)
    report = Report("startup", chosen)
    results: dict[str, list[tuple[float, ...]]] = {name: [] for name in PROGRAMS}
    order = list(PROGRAMS)
    for turn in range(-1, chosen.rounds):
        random.shuffle(order)
        for name in order:
            found = measured(PROGRAMS[name])
            if turn >= 0:  # the first one compiles, and fills the system's cache
                results[name].append(found)
    report.table("a start", ["ms", "peak MiB", "modules"], results)

    def over(name: str, number: int) -> list[float]:
        pairs = zip(column(results[name], number), column(results[BARE], number), strict=True)
        return [ours - bare for ours, bare in pairs]

    for name in (OURS, "… and what a program uses"):
        report.absolute(f"{name}: ms over a bare interpreter", over(name, 0), at_most=80)
        report.absolute(f"{name}: MiB over a bare interpreter", over(name, 1), at_most=20)
    bars = Bars("To import, ms: median, and a line to the slowest")
    for name, rounds in results.items():
        times = sorted(column(rounds, 0))
        bars.add(name, times[len(times) // 2], times[-1], ours=name == OURS or name.startswith("…"))
    report.end(bars)


if __name__ == "__main__":
    main()
