"""How an entry of the outbox is told in a line: what it is about, and its lane where it has another one."""

from __future__ import annotations

from auditbox.outbox.inspection import Letter, Story


def about(entry: Letter | Story) -> str:
    """The object's id; ``none`` where the record names none, ``?`` where it cannot be read any more."""
    readable = entry.event if isinstance(entry, Letter) else entry.record
    return entry.object or ("?" if readable is None else "none")


def lane(entry: Letter | Story) -> str:
    """The lane that the capture named; nothing where it is the object, or for want of one the entry."""
    return "" if entry.lane in {entry.object, entry.id} else entry.lane
