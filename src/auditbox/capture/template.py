"""Texts with holes: ``"Order {order.id} approved"``, filled from arguments, a result or a request.

``{order.id}``, ``{lines[0].sku}``, ``{headers[x-tenant]}`` read attributes, keys and indexes; a dot on a
mapping reads its key. There are no conversions, format specs or dunder names, so nothing is run that the
path does not name. ``{{order.id}}`` belongs to the platform and passes untouched; a ``{{`` that comes out
of an interpolated value, or out of a seam between two parts, is broken up with a space, so that a user's
text is never rendered by the platform.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from auditbox.errors import ConfigurationError, RecordError, error_text

_TOKEN = re.compile(r"\{\{[^{}]*\}\}|\{(?P<path>[^{}]*)\}|(?P<stray>[{}])")
_PATH = re.compile(r"(?P<root>[A-Za-z_]\w*)(?P<steps>(?:\.[A-Za-z_]\w*|\[[^\[\]{}]+\])*)")
_STEP = re.compile(r"\.(?P<name>\w+)|\[(?P<key>[^\]]+)\]")
_BRACES = re.compile(r"\{(?=\{)")
_INDEX = re.compile(r"-?\d+")

PLATFORM = re.compile(r"\{\{[^{}]*\}\}")
"""A placeholder that the platform fills when it shows the record."""


def break_up(text: str) -> str:
    """The text with every ``{{`` broken up, so that the platform does not render it."""
    return _BRACES.sub("{ ", text) if "{{" in text else text


def join(pieces: Iterable[str]) -> str:
    """The pieces as one text, without a ``{{`` that only their seams would make."""
    text = ""
    for piece in pieces:
        text += f" {piece}" if text.endswith("{") and piece.startswith("{") else piece
    return text


class Path:
    """``order.lines[0].sku``: a root name and the steps from it."""

    __slots__ = ("root", "source", "steps")

    def __init__(self, source: str, template: str) -> None:
        match = _PATH.fullmatch(source.strip())
        if match is None:
            raise ConfigurationError(
                f"template {template!r}: {{{source}}} is no path like {{order.id}} or {{lines[0]}}"
            )
        self.source, self.root = source.strip(), match["root"]
        self.steps = tuple(_step(step["name"], step["key"]) for step in _STEP.finditer(match["steps"]))
        if any(str(name).startswith("__") for name in (self.root, *(name for _, name in self.steps))):
            raise ConfigurationError(f"template {template!r}: {{{source}}} names a dunder, which is refused")

    def read(self, namespace: Mapping[str, Any]) -> Any:
        """The value at the end of the path; raises whatever the first failing step raises."""
        value = namespace[self.root]
        for by_key, name in self.steps:
            value = value[name] if by_key or isinstance(value, Mapping) else getattr(value, str(name))
        return value


def _step(name: str | None, key: str | None) -> tuple[bool, str | int]:
    if name is not None:
        return False, name
    key = (key or "").strip()
    if _INDEX.fullmatch(key):
        return True, int(key)
    return True, key[1:-1] if len(key) > 1 and key[0] == key[-1] and key[0] in "'\"" else key


class Template:
    """A text with holes, compiled once.

    Args:
        source: the text.
        names: the names that may stand first in a path; None allows any.

    Raises:
        ConfigurationError: a brace without its partner, a path that is none, or an unknown name.
    """

    __slots__ = ("_parts", "name", "source")

    def __init__(self, source: str, names: Collection[str] | None = None) -> None:
        self.source = source
        self._parts: tuple[str | Path | _Fixed, ...] = tuple(_parse(source))
        only = self._parts[0] if len(self._parts) == 1 else None
        self.name = only.root if isinstance(only, Path) and not only.steps else None
        """The name where the template is one, ``{order_id}``, and nothing else."""
        unknown = () if names is None else sorted(self.roots.difference(names))
        if unknown:
            raise ConfigurationError(
                f"template {source!r}: there is no {unknown[0]!r}; known are {', '.join(sorted(names or ()))}"
            )

    def __repr__(self) -> str:
        return f"Template({self.source!r})"

    @property
    def roots(self) -> frozenset[str]:
        """The names at the beginning of the paths."""
        return frozenset(path.root for path in self.paths)

    @property
    def paths(self) -> Iterator[Path]:
        """What is read to fill the holes."""
        return (part for part in self._parts if isinstance(part, Path))

    def filled(
        self,
        namespace: Mapping[str, Any],
        *,
        but: Collection[str] = (),
        keep: Callable[[Any], Any] | None = None,
    ) -> Template:
        """The same template with every path filled that can be read now: all ``but`` those roots.

        A text keeps what it was filled with, whatever happens to the objects afterwards. A template that
        is one path and nothing else keeps the value, or what ``keep`` makes of it.
        """
        as_kept = (keep or _same) if len(self._parts) == 1 else str
        fixed = Template("")
        fixed.source = self.source
        fixed._parts = tuple(
            _Fixed(part, namespace, as_kept) if isinstance(part, Path) and part.root not in but else part
            for part in self._parts
        )
        return fixed

    def text(self, namespace: Mapping[str, Any], field: str) -> str:
        """The text with every hole filled.

        Args:
            namespace: the values by their names.
            field: the field that is filled, for the error's text.

        Raises:
            RecordError: a path leads nowhere, or to something that cannot be printed.
        """
        return join(
            part if isinstance(part, str) else break_up(self._read(part, namespace, field, str))
            for part in self._parts
        )

    def value(self, namespace: Mapping[str, Any], field: str) -> Any:
        """The value itself where the template is one path and nothing else, otherwise the text.

        Args:
            namespace: the values by their names.
            field: the field that is filled, for the error's text.

        Raises:
            RecordError: a path leads nowhere, or the only path gives None.
        """
        if len(self._parts) == 1 and not isinstance(self._parts[0], str):
            value = self._read(self._parts[0], namespace, field, _same)
            if value is None:
                raise RecordError(field, None, f"the template {self.source!r} gave None")
            return value
        return self.text(namespace, field)

    def _read(
        self, part: Path | _Fixed, namespace: Mapping[str, Any], field: str, made: Callable[[Any], Any]
    ) -> Any:
        try:
            return made(part.read(namespace))
        except Exception as error:
            reason = f"{{{part.source}}}: {error_text(error)}"
            raise RecordError(field, self.source, f"the template cannot be filled: {reason}") from error


class _Fixed:
    """A path whose value was read earlier, or the error that came of it."""

    __slots__ = ("_error", "_value", "source")

    def __init__(self, path: Path, namespace: Mapping[str, Any], keep: Callable[[Any], Any]) -> None:
        self.source = path.source
        self._value: Any = None
        self._error: Exception | None = None
        try:
            self._value = keep(path.read(namespace))
        except Exception as error:  # noqa: BLE001 - a user's property may raise anything; told when it is used
            self._error = error

    def read(self, _namespace: Mapping[str, Any]) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


def _same(value: Any) -> Any:
    return value


def _parse(source: str) -> Iterable[str | Path]:
    literal, position = "", 0
    for token in _TOKEN.finditer(source):
        if token["stray"]:
            raise ConfigurationError(f"template {source!r}: a {token['stray']!r} without its partner")
        literal += source[position : token.start()]
        position = token.end()
        if token["path"] is None:
            literal += token[0]
            continue
        if literal:
            yield literal
        yield Path(token["path"], source)
        literal = ""
    if literal + source[position:]:
        yield literal + source[position:]
