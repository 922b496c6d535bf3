"""Named statements in files of SQL."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from itertools import chain
from pkgutil import get_data
from sqlite3 import Connection
from typing import Any

_NAMED = re.compile(r"^-- (\w+): .*\n((?:(?!-- ).*\n?)+)", re.MULTILINE)


def read(package: str, file: str) -> str:
    """The text of a file that comes with a package. (``importlib.resources`` takes 4 ms to import.)"""
    return (get_data(package, file) or b"").decode()


def load(package: str, file: str) -> dict[str, str]:
    """Every statement of a file by its name."""
    return {name: sql.strip() for name, sql in _NAMED.findall(read(package, file))}


SQL = load("auditbox.outbox", "queries.sql")
AT_ONCE = 64
"""The most rows that one statement writes. (``executemany`` runs it once a row: half as fast, and each run
gives Python's lock away. But SQLite keeps what a statement was last given.)"""


@functools.cache
def of_rows(name: str, count: int) -> str:
    """The statement with this name, which inserts one row, for so many."""
    one = SQL[name]
    return one + f", {one[one.rindex('(') :]}" * (count - 1)


def insert(db: Connection, name: str, rows: Sequence[Sequence[Any]]) -> None:
    """Inserts these rows by the statement with this name."""
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]
        db.execute(of_rows(name, len(some)), list(chain.from_iterable(some)))
