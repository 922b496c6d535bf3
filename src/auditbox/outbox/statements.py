"""Named statements in files of SQL."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from itertools import chain
from pkgutil import get_data
from sqlite3 import Connection
from typing import Any

from auditbox.encoding import fast_encoder

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
_SIZES = (AT_ONCE, 16)


@functools.cache
def of_rows(name: str, count: int) -> str:
    """The statement with this name, which inserts one row, for so many."""
    one = SQL[name]
    return one + f", {one[one.rindex('(') :]}" * (count - 1)


def insert(db: Connection, name: str, rows: Sequence[Sequence[Any]]) -> None:
    """Inserts these rows by the statement with this name."""
    run(db, batched(name, rows))


def batched(name: str, rows: Sequence[Sequence[Any]]) -> list[tuple[str, list[Any]]]:
    """The statements that insert these rows, and what they are given: of few sizes, as each is compiled."""
    batches, first = [], 0
    while left := len(rows) - first:
        count = next((size for size in _SIZES if size <= left), left)
        given = list(chain.from_iterable(rows[first : first + count]))
        batches.append((of_rows(name, count), given))
        first += count
    return batches


def run(db: Connection, batches: Sequence[tuple[str, list[Any]]]) -> None:
    """Runs statements that were made before."""
    for sql, given in batches:
        db.execute(sql, given)


def as_json(values: list[Any]) -> str:
    """As JSON, for one statement that takes them all."""
    try:
        return fast_encoder()[0](values, None, 0).decode()
    except TypeError:  # a lane that is damaged into something else
        return json.dumps(values, default=repr)
