"""What ``@audited`` adds to a function, against a log line that ``AuditHandler`` captures.

    python -m benchmarks.decorator [--rounds 7] [--count 1000] [--json FOLDER] [--svg FILE]

A function that does nothing: called as it is, followed by a log line, and decorated; sync and async. What
is recorded is the same event of the same object, without documents. The decorator adds the outcome and how
long it took.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from auditbox import AuditHandler, AuditTrail, audited
from benchmarks.bars import Bars
from benchmarks.capture import OBJECT, Subject, logging_into
from benchmarks.measure import interleaved
from benchmarks.report import Report, column, options

AUDIT = {"event": "order.approved", "object": OBJECT}
PLAIN, LOGGED, DECORATED, AWAITED = "the function", "and a line", "@audited", "@audited, async"


def approve(order: str) -> None:
    """Nothing."""


async def aapprove(order: str) -> None:
    """Nothing, on a loop."""


def run_now(function: Callable[[str], Awaitable[None]], loop: asyncio.AbstractEventLoop) -> Subject:
    """One call in a task of its own, less what the loop costs: that of the plain function is subtracted."""
    return lambda: loop.run_until_complete(function(OBJECT))


def main() -> None:
    """Runs, prints, and says whether the goal was reached; a missed goal is exit status 1."""
    chosen = options(__doc__, rounds=7, count=1000)
    report = Report("decorator", chosen)
    loop = asyncio.new_event_loop()
    with (
        tempfile.TemporaryDirectory() as name,
        AuditTrail(Path(name) / "audit.db", extension="shop", max_bytes=8 << 30) as trail,
    ):
        decorate = audited("order.approved", object="{order}", trail=trail)
        line = logging_into("decorator", AuditHandler(trail=trail), {"audit": AUDIT})
        decorated, awaited = decorate(approve), decorate(aapprove)

        def logged() -> None:
            approve(OBJECT)
            line()

        subjects: dict[str, Subject] = {
            PLAIN: lambda: approve(OBJECT),
            LOGGED: logged,
            DECORATED: lambda: decorated(OBJECT),
            "the async function": run_now(aapprove, loop),
            AWAITED: run_now(awaited, loop),
        }
        logging.getLogger("asyncio").setLevel(logging.ERROR)
        results = interleaved(subjects, rounds=chosen.rounds, count=chosen.count)
    loop.close()
    report.table("one call", ["p50 µs", "p99 µs"], results)
    medians = {subject: column(rounds, 0) for subject, rounds in results.items()}

    def added(subject: str, plain: str) -> list[float]:
        return [both - alone for both, alone in zip(medians[subject], medians[plain], strict=True)]

    handler = added(LOGGED, PLAIN)
    report.compare("@audited / handler, added at p50", added(DECORATED, PLAIN), handler, at_most=1.2)
    report.compare("async @audited / handler, added at p50", added(AWAITED, "the async function"), handler)
    bars = Bars("One call, µs: median, and a line to the 99th percentile")
    for subject, rounds in results.items():
        middle = sorted(rounds)[len(rounds) // 2]
        bars.add(subject, middle[0], middle[1], ours=subject in (DECORATED, AWAITED, LOGGED))
    report.end(bars)


if __name__ == "__main__":
    main()
