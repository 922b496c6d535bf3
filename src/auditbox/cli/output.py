"""What commands print: text that cannot steer a terminal, JSON for programs, tables for people.

rich draws tables where it is installed (the extra ``cli``) and a terminal shows them; otherwise, and in pipes
and files, they are plain columns. Nothing else depends on it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Any, Literal

_SHORT, _LEAST, _BETWEEN = 26, 14, 3
"""Columns up to the first width stay whole where longer ones still have the second; then the room between."""
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def printable(text: object) -> str:
    """The text with whatever is no visible character escaped: control codes, line breaks, bidi marks."""
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in str(text))


def _escaped(sign: str) -> str:
    code = ord(sign)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def to_json(value: Any) -> str:
    """One line of ASCII JSON; times in ISO 8601, UTC."""
    return json.dumps(value, default=iso, separators=(",", ":"))


def pretty_json(value: Any) -> str:
    """Indented JSON for people, safe to show on a terminal and to feed to another program."""
    lines = json.dumps(value, default=iso, indent=2, ensure_ascii=False).split("\n")
    return "\n".join(_json_printable(line) for line in lines)


def _json_printable(line: str) -> str:
    return "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in line)


def iso(at: Any) -> str:
    """``2026-01-31T23:00:00.000Z``."""
    if not isinstance(at, datetime):
        raise TypeError(f"{type(at).__name__} is not JSON")
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age(seconds: float) -> str:
    """``3 min 20 s``: the two largest units, fractions only below ten seconds."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    left, parts = round(seconds), []
    for size, unit in _UNITS:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts[:2])


def size(count: float) -> str:
    """``12.3 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def counted(count: int, what: str) -> str:
    """``1 dead letter``, ``2 dead letters``."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def settled(upto: int, pending: int, dead: int) -> str:
    """What became of the entries up to a number, as every flush says it."""
    done = f"{upto - pending - dead:,} of {upto:,} delivered or discarded"
    return f"{done}, {pending:,} pending, {counted(dead, 'dead letter')}"


def warn(text: str) -> None:
    """One line on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def has_rich() -> bool:
    """Whether rich is installed."""
    return find_spec("rich") is not None


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints rows in columns; numbers to the right."""
    cells = [[printable(value) for value in row] for row in rows]
    numeric = [all(isinstance(row[column], int) for row in rows) for column in range(len(headers))]
    if sys.stdout.isatty() and has_rich():
        _rich_table(headers, cells, numeric)
    else:
        _plain_table(headers, cells, numeric)


def _plain_table(headers: Sequence[str], cells: list[list[str]], numeric: list[bool]) -> None:
    lines = [list(headers), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        padded = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        )
        print("  ".join(padded).rstrip())


def _rich_table(headers: Sequence[str], cells: list[list[str]], numeric: list[bool]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, drawn = Console(), Table(box=SIMPLE_HEAD, pad_edge=False)
    whole = _kept_whole([list(headers), *cells], console.width)
    for header, right, on_one_line in zip(headers, numeric, whole, strict=True):
        side: Literal["left", "right"] = "right" if right else "left"
        drawn.add_column(header, justify=side, overflow="fold", no_wrap=on_one_line)
    for row in cells:
        drawn.add_row(*map(Text, row))
    console.print(drawn)


def _kept_whole(lines: list[list[str]], width: int) -> list[bool]:
    """Which columns stay on one line: short ones, as of times and ids, where that leaves room for others."""
    longest = [max(map(len, column)) for column in zip(*lines, strict=True)]
    needed = sum((length if length <= _SHORT else _LEAST) + _BETWEEN for length in longest)
    return [length <= _SHORT and needed <= width for length in longest]


def pairs(rows: Sequence[tuple[str, object]]) -> None:
    """Prints names and values, one a line."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{name.ljust(width)}  {printable(value)}")
