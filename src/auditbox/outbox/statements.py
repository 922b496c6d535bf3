"""The named statements of queries.sql."""

from __future__ import annotations

import re
from importlib import resources

_NAMED = re.compile(r"^-- (\w+): .*\n((?:(?!-- ).*\n?)+)", re.MULTILINE)


def load() -> dict[str, str]:
    """Every statement by its name."""
    text = resources.files(__package__).joinpath("queries.sql").read_text(encoding="utf-8")
    return {name: sql.strip() for name, sql in _NAMED.findall(text)}


SQL = load()
