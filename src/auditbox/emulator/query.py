"""The query string of a list or a get (contract, section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from auditbox.emulator.fields import Table

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
"""The documented cap of a page."""
_INT32 = 2**31 - 1


@dataclass(slots=True)
class Query:
    """What was asked for. A limit of None means that none was given."""

    limit: int | None = None
    offset: int = 0
    order: str | None = None
    select: str = ""
    filters: list[str] = field(default_factory=list)
    render: bool = False

    def page_limit(self, most: int) -> int:
        """The limit that holds for a page, where the server gives at most so many rows."""
        return min(DEFAULT_LIMIT if self.limit is None else self.limit, most)


def parse_query(raw: str) -> Query:
    """Reads a raw query string: split on ``&`` first, decode each part, then see what it is."""
    query = Query()
    for piece in raw.split("&"):
        part = unquote_plus(piece)
        name, _, value = part.partition("=")
        match name.strip().lower():
            case "limit":
                query.limit = _number(value)
            case "offset":
                query.offset = _number(value) or 0
            case "order":
                query.order = value
            case "select":
                query.select = f"{query.select},{value}"
            case "render()":
                query.render = True
            case _ if part.strip():
                query.filters.append(part)
    return query


def _number(text: str) -> int | None:
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return None
    return min(int(text[:20]), _INT32)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which parts of an object an answer holds; ``select`` is added to the defaults."""

    whole: frozenset[str]
    without: frozenset[str]
    picked: tuple[str, ...]
    omitted: frozenset[str]

    @classmethod
    def of(cls, select: str, omitted: Iterable[str] = ()) -> Selection:
        """The selection of a ``select=`` parameter; unknown names do no harm."""
        plus, minus = set[str](), set[str]()
        for part in filter(None, (part.strip() for part in select.split(","))):
            (minus if part.startswith("-") else plus).add(part.lstrip("+- "))
        whole = {path.lower() for path in plus if "." not in path}
        return cls(
            frozenset(whole),
            frozenset(path.lower() for path in minus),
            tuple(sorted(path for path in plus if "." in path)),
            frozenset(omitted),
        )

    def wants(self, name: str) -> bool:
        """Whether a top-level part is needed at all."""
        folded = name.lower()
        return self._shows(folded) or any(path.lower().startswith(f"{folded}.") for path in self.picked)

    def _shows(self, folded: str) -> bool:
        if folded in self.whole:
            return True
        return folded not in self.without and ("*" in self.whole or folded not in self.omitted)

    def left_out(self, table: Table) -> list[str]:
        """The names for ``$meta.omitted``."""
        known = dict.fromkeys(_prefixes(table))
        return [
            name for name in known if (name.lower() in self.without if "." in name else not self.wants(name))
        ]

    def apply(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """The object with the parts that were asked for."""
        result = {}
        for name, part in value.items():
            if self._shows(name.lower()):
                result[name] = part
            elif self.wants(name):
                chosen = [path.split(".")[1:] for path in self.picked if _under(path, name)]
                result[name] = _pick(part, chosen)
        for path in self.without:
            if "." in path and path not in {picked.lower() for picked in self.picked}:
                result = _drop(result, path.split("."))
        return result


def _under(path: str, name: str) -> bool:
    return path.lower().startswith(f"{name.lower()}.")


def _prefixes(table: Table) -> Iterable[str]:
    for field_ in table.fields:
        names = field_.path.split(".")
        yield from (".".join(names[: end + 1]) for end in range(len(names)))
    yield from table.omitted


def _pick(value: Any, paths: list[list[str]]) -> Any:
    if [] in paths:
        return value
    if isinstance(value, list):
        return [_pick(element, paths) for element in value]
    if not isinstance(value, dict):
        return value
    picked = {}
    for name, part in value.items():
        below = [path[1:] for path in paths if path[0].lower() == name.lower()]
        if below:
            picked[name] = _pick(part, below)
    return picked


def _drop(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_drop(element, names) for element in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, part in value.items():
        if name.lower() != names[0]:
            kept[name] = part
        elif len(names) > 1:
            kept[name] = _drop(part, names[1:])
    return kept
