"""Why what is pending is not delivered yet, in words: the same for the trail and for the commands."""

from __future__ import annotations

import json
import time
from sqlite3 import Connection
from typing import Any

from auditbox.outbox import clock
from auditbox.outbox.statements import SQL


def held(db: Connection) -> str | None:
    """What holds up entries under way, as the outbox has it; what concerns the oldest of them comes first.

    An entry that is refused (403, 404) is told apart from one that is in doubt, and this from one that is in
    doubt because a relay ended before its answer came.
    """
    clocks = [row[0] for row in db.execute(SQL["clock"])]
    known = None not in clocks and clocks == [clock.identity()]
    return "; ".join(_told(*row, known=known) for row in db.execute(SQL["held"]).fetchall()) or None


def _told(kind: str, count: int, due: float, error: str | None, *, known: bool) -> str:
    match kind:
        case "refused":
            return _reason(error) if count == 1 else f"{count:,} objects are refused, first: {_reason(error)}"
        case "unanswered":
            return f"{_doubtful(count)} in doubt after a kill: looked up {_when(due, known)}"
        case "doubt":
            looked_up = f"looked up {_when(due, known)} before anything is sent twice"
            return f"{_doubtful(count)} in doubt, {looked_up}: {_reason(error)}"
        case _:
            return _reason(error)


def _doubtful(count: int) -> str:
    return "1 record is" if count == 1 else f"{count:,} records are"


def _when(due: float, known: bool) -> str:
    """Due times are seconds of the relay's clock, which another machine or container does not share."""
    if not known:
        return "after verify_after"
    seconds = due - time.monotonic()
    return f"in {seconds:.0f} s (verify_after)" if seconds >= 0.5 else "now"


def _reason(error: str | None) -> str:
    try:
        problem: Any = json.loads(error or "null")
    except ValueError:
        problem = None
    return str(problem.get("reason", problem)) if isinstance(problem, dict) else "for an unknown reason"


def why(pending: int, relay_alive: bool, held: str | None, paused: str | None = None) -> str | None:
    """Why delivery waits; None where nothing is pending, or it goes on.

    Args:
        pending: how many entries wait.
        relay_alive: whether some process relays.
        held: what the outbox knows of them, see :func:`held`.
        paused: why the relay leaves the sink alone for now, where it runs in this process.
    """
    if not pending:
        return None
    if not relay_alive:
        return f"no relay is running; {held}" if held else "no relay is running"
    return paused or held
