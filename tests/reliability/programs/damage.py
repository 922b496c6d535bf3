"""Opens damaged outboxes, one after the other: captures into each, and delivers what it holds.

The sink of each is a file of JSON lines, so that the oracle sees what left and in which order.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

from auditbox import AuditTrail
from auditbox.errors import AuditboxError
from auditbox.sinks.jsonlines import JsonLinesSink
from tests.reliability.programs.common import Writer, arguments, make_policy


class Lines(JsonLinesSink):
    """Wherever its file lies: the outboxes are copied about."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.destination = "file:///proof"


class Listener(logging.Handler):
    """What is said while an outbox is open."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def examine(given: dict[str, Any], case: Path, listener: Listener) -> dict[str, Any]:
    """One outbox: whether it can still be used, and what it said."""
    listener.lines.clear()
    found: dict[str, Any] = {"case": case.name, "error": None, "pending": None}
    trail = AuditTrail(
        case / "audit.db", sink=Lines(case / "out.jsonl"), extension="proof", policy=make_policy(given)
    )
    try:
        Writer({**given, "acks": str(case)}, trail, "new").capture()
        found["pending"] = trail.flush(timeout=30.0).pending
        trail.close(timeout=5.0)
    except AuditboxError as error:
        found["error"] = f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        found["error"] = f"untyped {type(error).__name__}: {error}"
    return {**found, "said": list(listener.lines)}


def fill(given: dict[str, Any]) -> None:
    """The outbox to be damaged: some of it delivered, some captured only; ``kill`` leaves it in the WAL."""
    home = Path(given["home"])
    sink = Lines(home / "out.jsonl")
    trail = AuditTrail(home / "audit.db", sink=sink, extension="proof", policy=make_policy(given))
    writer = Writer({**given, "acks": str(home)}, trail, "old")
    for _ in range(given["delivered"]):
        writer.capture()
    trail.flush(timeout=given["patience"])
    if not given["kill"]:
        trail.close()
        writer.trail = trail = AuditTrail(home / "audit.db", extension="proof")
    for _ in range(given["captured"]):
        writer.capture()
    if given["kill"]:
        os.kill(os.getpid(), signal.SIGKILL)
    trail.close()


if __name__ == "__main__":
    given = arguments()
    if "home" in given:
        fill(given)
    elif "visit" in given:
        for case in given["visit"]:
            visited = AuditTrail(Path(case) / "audit.db", extension="proof")
            visited.ready()
            visited.close()
    else:
        listener = Listener()
        logging.getLogger("auditbox").addHandler(listener)
        results = Path(given["results"])
        with results.open("w", encoding="utf-8") as file:
            for case in given["cases"]:
                print(json.dumps(examine(given, Path(case), listener)), file=file, flush=True)
