"""Named statements in files of SQL."""

from __future__ import annotations

import re
from importlib import resources

_NAMED = re.compile(r"^-- (\w+): .*\n((?:(?!-- ).*\n?)+)", re.MULTILINE)


def load(package: str, file: str) -> dict[str, str]:
    """Every statement of a file by its name."""
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    return {name: sql.strip() for name, sql in _NAMED.findall(text)}


SQL = load("auditbox.outbox", "queries.sql")
