"""What the other two durabilities cost: "power" against a file that is synced, "none" against a queue.

    python -m benchmarks.durability [--rounds 5] [--count 300] [--json FOLDER] [--svg FILE]

Both of a pair take turns call by call, as in ``benchmarks.capture``. Then 1, 8 and 32 threads capture at
once with ``"power"``: those that wait for the disk together share a sync, and those that write lines do
not.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bars import Bars
from benchmarks.capture import auditbox_handler, file_handler, queue_handler
from benchmarks.measure import interleaved
from benchmarks.report import Report, column, options
from benchmarks.threads import in_turns

POWER, SYNCED = "auditbox, power", "FileHandler + fsync"
NONE, QUEUE = "auditbox, none", "QueueHandler"
GOALS = {8: 2.4, 32: 5.0}


def main() -> None:
    """Runs, prints, and says whether the goals were reached; a missed goal is exit status 1."""
    chosen = options(__doc__, rounds=5, count=300)
    report = Report("durability", chosen)
    bars = Bars("Captures that survive a power cut: by 1, 8 and 32 threads, a second, and the best round")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        durable = {
            POWER: stack.enter_context(auditbox_handler(folder, "power")),
            SYNCED: stack.enter_context(file_handler(folder, True)),
        }
        alone = interleaved(durable, rounds=chosen.rounds, count=chosen.count)
        report.table("one thread, safe from a power cut", ["p50 µs", "p99 µs"], alone)
        report.compare(
            "power / FileHandler + fsync, p50", column(alone[POWER], 0), column(alone[SYNCED], 0),
            at_most=1.0,
        )  # fmt: skip
        crowds = {
            threads: in_turns(durable, threads, chosen.rounds, max(5, chosen.count // 5))
            for threads in (1, *GOALS)
        }
        for threads, results in crowds.items():
            report.table(f"{threads} threads", ["p50 µs", "p99 µs", "worst µs", "captures/s"], results)
            for subject, measured in results.items():
                rates = sorted(column(measured, 3))
                bars.add(f"{subject}, {threads}", rates[len(rates) // 2], rates[-1], ours=subject == POWER)
        for threads, goal in GOALS.items():
            report.compare(
                f"power, captures/s: {threads} threads / one",
                column(crowds[threads][POWER], 3), column(crowds[1][POWER], 3), at_least=goal,
            )  # fmt: skip
        behind = {
            NONE: stack.enter_context(auditbox_handler(folder, "none")),
            QUEUE: stack.enter_context(queue_handler(folder)),
        }
        quick = interleaved(behind, rounds=chosen.rounds, count=5 * chosen.count)
        report.table("one thread, safe from nothing yet", ["p50 µs", "p99 µs"], quick)
        more = [
            ours - theirs
            for ours, theirs in zip(column(quick[NONE], 0), column(quick[QUEUE], 0), strict=True)
        ]
        report.absolute("none - QueueHandler, p50, µs", more, at_most=3)
    report.end(bars)


if __name__ == "__main__":
    main()
