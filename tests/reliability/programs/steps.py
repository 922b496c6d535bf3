"""Kills this process at a named step: ``settle.commit.after:3`` is after the third commit that settled.

Steps of the outbox are known by the SQL that SQLite is given, steps of the delivery by the sink's methods and
those of its flight, on which all is sent once there is a connection: nothing here depends on how the library
is built inside.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from collections.abc import Callable
from typing import Any

from auditbox.sinks.audit_api import AuditApiSink
from auditbox.sinks.flight import Flight

STATEMENTS = {
    "create": r"CREATE TABLE",
    "capture": r"INSERT INTO entry\b",
    "claim": r"INSERT INTO open\b|UPDATE open SET state = 'sending'",
    "settle": r"INSERT (?:OR REPLACE )?INTO receipt\b|DELETE FROM open\b",
    "delete": r"DELETE FROM entry\b",
    "takeover": r"UPDATE relay SET epoch\b",
    "checkpoint": r"PRAGMA wal_checkpoint",
}
NOTE = 4160
"""Where in the file of the relay's lock it stands how far has been sent."""
_KINDS = [(name, re.compile(pattern, re.IGNORECASE)) for name, pattern in STATEMENTS.items()]

_wanted = ""
_left = 0


def arm(die_at: str | None) -> None:
    """From now on the process dies at this step, if it ever comes to it."""
    global _wanted, _left
    if die_at is None:
        return
    _wanted, _, count = die_at.partition(":")
    _left = int(count or 1)
    connect = sqlite3.connect

    def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        watching: sqlite3.Connection = connect(*arguments, **{"factory": Watched, **options})
        return watching

    sqlite3.connect = watched  # type: ignore[assignment]
    AuditApiSink.send = _around("send", AuditApiSink.send)  # type: ignore[method-assign]
    AuditApiSink.verify = _around("verify", AuditApiSink.verify)  # type: ignore[method-assign]
    launch, land = Flight.launch, Flight.land

    def watched_launch(flight: Flight, delivery: Any) -> bool:
        reach("send.before")
        return launch(flight, delivery)

    def watched_land(flight: Flight, timeout: float) -> Any:
        landed = land(flight, timeout)
        for _ in landed:
            reach("send.after")
        return landed

    Flight.launch, Flight.land = watched_launch, watched_land  # type: ignore[method-assign]
    os.fdatasync = _around("sync", os.fdatasync)
    pwrite = os.pwrite

    def watched_pwrite(descriptor: int, data: bytes, offset: int) -> int:
        """A claim is a note beside the outbox, where nothing else is to be done."""
        if offset != NOTE:
            return pwrite(descriptor, data, offset)
        reach("claim.before")
        written = pwrite(descriptor, data, offset)
        reach("claim.after")
        return written

    os.pwrite = watched_pwrite


def reach(step: str) -> None:
    """A step; perhaps the last one."""
    global _left
    if step == _wanted:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _around(name: str, action: Callable[..., Any]) -> Callable[..., Any]:
    def around(*arguments: Any, **options: Any) -> Any:
        reach(f"{name}.before")
        result = action(*arguments, **options)
        reach(f"{name}.after")
        return result

    return around


class Watched(sqlite3.Connection):
    """Names the steps of each statement, and of each commit by what was written since it began."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.written: set[str] = set()

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or WatchedCursor)

    def execute(self, *arguments: Any) -> Any:
        return self.cursor().execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        return self.cursor().executemany(*arguments)

    def executescript(self, *arguments: Any) -> Any:
        return self.cursor().executescript(*arguments)


class WatchedCursor(sqlite3.Cursor):
    """Every statement goes through here."""

    def execute(self, sql: str, *arguments: Any) -> Any:
        return self._watched(sql, super().execute, arguments)

    def executemany(self, sql: str, *arguments: Any) -> Any:
        return self._watched(sql, super().executemany, arguments)

    def executescript(self, sql: str, *arguments: Any) -> Any:
        return self._watched(sql, super().executescript, arguments)

    def _watched(self, sql: str, action: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        written: set[str] = self.connection.written  # type: ignore[attr-defined]
        if sql.startswith("BEGIN"):
            written.clear()
        kinds = [f"{kind}.commit" for kind in sorted(written)] if sql.startswith("COMMIT") else _kinds(sql)
        for kind in kinds:
            reach(f"{kind}.before")
        result = action(sql, *arguments)
        for kind in kinds:
            reach(f"{kind}.after")
        if not sql.startswith("COMMIT"):
            written.update(kinds)
        return result


def _kinds(sql: str) -> list[str]:
    return [name for name, pattern in _KINDS if pattern.search(sql)]
