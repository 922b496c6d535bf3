"""Named statements in files of SQL."""

from __future__ import annotations

import re
from pkgutil import get_data

_NAMED = re.compile(r"^-- (\w+): .*\n((?:(?!-- ).*\n?)+)", re.MULTILINE)


def read(package: str, file: str) -> str:
    """The text of a file that comes with a package. (``importlib.resources`` takes 4 ms to import.)"""
    return (get_data(package, file) or b"").decode()


def load(package: str, file: str) -> dict[str, str]:
    """Every statement of a file by its name."""
    return {name: sql.strip() for name, sql in _NAMED.findall(read(package, file))}


SQL = load("auditbox.outbox", "queries.sql")
