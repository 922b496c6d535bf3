"""Documents shortened to a number of bytes: the largest values first, every cut marked."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import NamedTuple

from auditbox.encoding.convert import plain, unused
from auditbox.encoding.types import Json
from auditbox.encoding.wire import to_json

_MARK = "[cut]"
_MARK_SIZE = 7
"""``"[cut]"`` with its quotes: no part is given less room than this."""
_REST_SIZE = 40
"""Room for saying how many parts were left out."""


class _Part(NamedTuple):
    """A value with the size of its JSON; ``around`` counts its key, colon and comma in what holds it."""

    value: Json
    size: int
    key: str | None = None
    around: int = 1
    parts: tuple[_Part, ...] | None = None

    @property
    def least(self) -> int:
        """The smallest number of bytes that it can take in what holds it."""
        return self.around + min(self.size, _MARK_SIZE)


def cut(documents: dict[str, Json], room: int) -> dict[str, Json]:
    """The same documents, shortened so that ``to_json`` of them takes at most ``room`` bytes.

    Small values and the structure stay; large values share what is left. A shortened text ends in
    ``…[cut 123456 bytes, sha256 …]`` (how much was cut, and the hash of the whole text); a shortened list or
    object ends in ``[cut] 123 more``; one that has no room becomes ``{"[cut]": "123456 bytes, sha256 …"}``,
    or ``"[cut]"``. Where not even that fits the result is ``{}``, whatever ``room`` is.
    """
    if len(to_json(documents)) <= room:
        return documents
    try:
        whole = _measured(documents)
    except RecursionError:
        whole = _measured(plain(documents))
    allowed = room
    for _ in range(5):
        shorter = _shortened(whole, allowed)
        if not isinstance(shorter, dict):
            break
        excess = len(to_json(shorter)) - room
        if excess <= 0:
            return shorter
        # Two encoders write some numbers differently; the estimate is then off by a few bytes.
        allowed -= excess
    mark = _replaced(whole, room)
    return mark if isinstance(mark, dict) else {}


def _measured(value: Json, key: str | None = None) -> _Part:
    around = 1 if key is None else len(to_json(key)) + 2
    if isinstance(value, dict):
        parts = tuple(_measured(member, name) for name, member in value.items())
    elif isinstance(value, list):
        parts = tuple(_measured(item) for item in value)
    else:
        return _Part(value, len(to_json(value)), key, around)
    return _Part(value, _brackets(parts) + sum(part.around + part.size for part in parts), key, around, parts)


def _brackets(parts: tuple[_Part, ...]) -> int:
    """Two brackets, and no comma after the last part."""
    return 1 if parts else 2


def _shortened(part: _Part, room: int) -> Json:
    if part.size <= room:
        return part.value
    if isinstance(part.value, str):
        return _shortened_text(part.value, room)
    if part.parts and room >= 2 * _REST_SIZE:
        return _shortened_parts(part, part.parts, room)
    return _replaced(part, room)


def _shortened_text(text: str, room: int) -> str:
    octets = text.encode("utf-8", "surrogatepass")
    digest = f", sha256 {hashlib.sha256(octets).hexdigest()}" if room >= 256 else ""
    spare = room - len(to_json(f"…[cut {len(octets)} bytes{digest}]"))
    if spare < 0:
        return _MARK
    # An encoded character takes at least one byte, and more characters never take fewer bytes.
    fitting = range(min(len(text), spare) + 1)
    kept = text[: bisect_right(fitting, spare, key=lambda end: len(to_json(text[:end])) - 2) - 1]
    gone = len(octets) - len(kept.encode("utf-8", "surrogatepass"))
    return f"{kept}…[cut {gone} bytes{digest}]"


def _replaced(part: _Part, room: int) -> Json:
    if room >= 2 * _MARK_SIZE + 100:
        digest = hashlib.sha256(to_json(part.value)).hexdigest()
        return {_MARK: f"{part.size} bytes, sha256 {digest}"}
    short: Json = {_MARK: f"{part.size} bytes"}
    return short if len(to_json(short)) <= room else _MARK


def _shortened_parts(whole: _Part, parts: tuple[_Part, ...], room: int) -> Json:
    spare = room - 2
    kept = parts
    if sum(part.least for part in parts) > spare:
        spare -= _REST_SIZE
        kept = _those_that_fit(parts, spare)
        if not kept:
            return _replaced(whole, room)
    values = _shared_out(kept, spare)
    rest = len(parts) - len(kept)
    if isinstance(whole.value, list):
        return [*values, f"{_MARK} {rest} more"] if rest else values
    members = {part.key or "": value for part, value in zip(kept, values, strict=True)}
    if rest:
        members[unused(_MARK, whole.value if isinstance(whole.value, dict) else members)] = f"{rest} more"
    return members


def _those_that_fit(parts: tuple[_Part, ...], room: int) -> tuple[_Part, ...]:
    kept = []
    for part in parts:
        if part.least <= room:
            kept.append(part)
            room -= part.least
    return tuple(kept)


def _shared_out(parts: tuple[_Part, ...], room: int) -> list[Json]:
    """Each part's value in its fair share of the room; what a small one leaves is for the larger ones."""
    room -= sum(part.around for part in parts)
    values: list[Json] = [None] * len(parts)
    ascending = sorted(range(len(parts)), key=lambda index: parts[index].size)
    for position, index in enumerate(ascending):
        value = _shortened(parts[index], room // (len(parts) - position))
        room -= parts[index].size if value is parts[index].value else len(to_json(value))
        values[index] = value
    return values
