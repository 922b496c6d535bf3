"""Any value to plain JSON types."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import numbers
import weakref
from collections import deque
from collections.abc import Callable, ItemsView, Iterable, KeysView, Mapping, Set, ValuesView
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from itertools import islice
from pathlib import PurePath
from typing import Any
from uuid import UUID

from auditbox.encoding.interruptions import is_interruption
from auditbox.encoding.types import LEAST, MOST, Json

_MAX_DEPTH = 100
_MAX_VALUES = 100_000
_MAX_REPR = 1000


def plain(value: object) -> Json:
    """The value in plain JSON types, all of it new; never raises and never consumes an iterator.

    * Dates and times become ISO 8601, durations too (``P1DT3723.5S``); UUID, Decimal, Fraction, complex,
      paths, IP addresses and integers beyond 64 bits texts; NaN and infinities ``"NaN"``, ``"Infinity"``,
      ``"-Infinity"``; an Enum its value; bytes the text that they hold in UTF-8, else ``[base64] …``.
    * Sets, tuples, deques and dict views become lists; mappings, dataclasses, attrs and msgspec classes and
      named tuples objects; pydantic models what ``model_dump()`` says; their secrets stay masked. An
      exception becomes its type, message and cause, never a traceback.
    * Whatever else is ``[repr] …`` with at most 1,000 characters of its repr.
    * Keys become texts; those that would collide are told apart by a number in brackets.
    """
    return _Conversion().convert(value, 0)


class _Conversion:
    """One call of :func:`plain`: the containers on the way from the root, and how many values are left."""

    __slots__ = ("left", "path")

    def __init__(self) -> None:
        self.left = _MAX_VALUES
        self.path: set[int] = set()

    def convert(self, value: Any, depth: int) -> Json:
        kind = type(value)
        if kind is str or value is None or kind is bool:
            return value  # type: ignore[no-any-return]
        try:
            if issubclass(kind, Enum):
                return self.convert(value._value_, depth + 1)
            is_whole, read = _KNOWN.get(kind) or _learn(kind)
            return read(value) if is_whole else self._container(value, read, depth)
        except Exception as error:  # the value's own code may raise anything, and the record must live
            if is_interruption(error):
                raise
            return f"[unreadable] {_name(kind)}"

    def _container(self, value: object, read: Callable[[Any], Any], depth: int) -> Json:
        if id(value) in self.path:
            return "[recursion]"
        if depth >= _MAX_DEPTH:
            return f"[too deep] {_name(type(value))}"
        self.path.add(id(value))
        try:
            held = _settled(value, read)
            return self._object(held, depth + 1) if type(held) is dict else self._array(held, depth + 1)
        finally:
            self.path.discard(id(value))

    def _array(self, items: Iterable[Any], depth: int) -> list[Json]:
        result: list[Json] = []
        for item in items:
            self.left -= 1
            if self.left < 0:
                result.append("[too large]")
                break
            result.append(self.convert(item, depth))
        return result

    def _object(self, members: dict[Any, Any], depth: int) -> dict[str, Json]:
        result: dict[str, Json] = {}
        for key, value in members.items():
            self.left -= 1
            if self.left < 0:
                result[unused("[too large]", result)] = None
                break
            result[unused(key_text(key), result)] = self.convert(value, depth)
        return result


def _settled(value: object, read: Callable[[Any], Any]) -> Any:
    """What the value holds, read again where another thread changed it meanwhile."""
    for _ in range(3):
        try:
            return read(value)
        except RuntimeError:
            continue
    return read(value)


_KNOWN: weakref.WeakKeyDictionary[type, tuple[bool, Callable[[Any], Any]]] = weakref.WeakKeyDictionary()
"""For each type met: whether its values are one piece, and how to read them (else as a dict or a list)."""


def _learn(kind: type) -> tuple[bool, Callable[[Any], Any]]:
    whole = _scalar(kind)
    parts = None if whole else _parts(kind)
    learnt = (parts is None, whole or parts or _repr)
    _KNOWN[kind] = learnt
    return learnt


def _parts(kind: type) -> Callable[[Any], Any] | None:
    """How to take a dict or a list of what values of this type hold, or None if they are no containers.

    Only the type is asked: an instance (a mock, a proxy) may claim to be anything.
    """
    if kind is dict:
        return dict.copy
    if issubclass(kind, dict):
        # From storage: what the class overrides cannot interfere.
        return lambda value: dict(dict.items(value))
    if issubclass(kind, tuple) and (labels := getattr(kind, "_fields", ())):
        return lambda value: dict(zip(labels, value, strict=False))
    if issubclass(kind, (list, tuple, Set, deque, KeysView, ValuesView, ItemsView)):
        return lambda value: list(islice(value, _MAX_VALUES + 1))
    if issubclass(kind, Mapping):
        return lambda value: {key: value[key] for key in islice(value, _MAX_VALUES + 1)}
    if issubclass(kind, BaseException):
        return _exception
    if hasattr(kind, "__pydantic_serializer__") and hasattr(kind, "model_dump"):
        return lambda value: _held(value.model_dump(warnings=False))
    if (names := _field_names(kind)) is not None:
        return lambda value: {name: getattr(value, name, "[unreadable]") for name in names}
    return None


def _held(dumped: Any) -> Any:
    """What a model dumps; that of a root model may be no container."""
    return dumped if type(dumped) is dict or type(dumped) is list else [dumped]


def _field_names(kind: type) -> list[str] | None:
    """The fields of a dataclass, an attrs or a msgspec class."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if isinstance(attributes := getattr(kind, "__attrs_attrs__", None), tuple):
        return [attribute.name for attribute in attributes]
    names = getattr(kind, "__struct_fields__", None)
    return list(names) if isinstance(names, tuple) else None


def _exception(error: BaseException) -> dict[str, Any]:
    try:
        message = str(error)
    except Exception as again:  # __str__ of a foreign exception
        if is_interruption(again):
            raise
        message = "[unreadable]"
    said: dict[str, Any] = {"type": _name(type(error)), "message": message}
    if error.__cause__ is not None:
        said["cause"] = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        said["exceptions"] = error.exceptions
    return said


def key_text(key: Any) -> str:
    """A member's name for any key: ``1``, ``true``, ``None``, ``a,b`` for a tuple of two texts."""
    kind = type(key)
    if kind is str:
        return str(key)
    if kind is bool:
        return "true" if key else "false"
    if kind is float or key is None:
        return str(key)
    if kind is tuple:
        return ",".join(map(key_text, key))
    text = plain(key)
    return text if isinstance(text, str) else json.dumps(text)


def unused(name: str, taken: Mapping[str, object]) -> str:
    """The name, with a number in brackets where it is taken."""
    if name not in taken:
        return name
    number = len(taken) + 1
    while (numbered := f"{name} [{number}]") in taken:
        number += 1
    return numbered


def _name(kind: type) -> str:
    try:
        return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    except Exception:  # noqa: BLE001 - a metaclass may do as it likes
        return "object"


def _repr(value: object) -> str:
    shown = repr(value)
    return f"[repr] {shown[:_MAX_REPR]}" + ("…" if len(shown) > _MAX_REPR else "")


def _int(value: int) -> int | str:
    value = int.__index__(value)
    if LEAST <= value <= MOST:
        return value
    try:
        return str(value)
    except ValueError:  # more digits than Python converts
        return hex(value)


def _float(value: float) -> float | str:
    value = float.__float__(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _duration(value: timedelta) -> str:
    sign, value = ("-", -value) if value < timedelta() else ("", value)
    fraction = f".{value.microseconds:06d}".rstrip("0") if value.microseconds else ""
    return f"{sign}P{value.days}DT{value.seconds}{fraction}S"


def _octets(value: bytes | bytearray | memoryview) -> str:
    octets = bytes(value)
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return "[base64] " + base64.b64encode(octets).decode()


def _complex(value: complex) -> str:
    return str(complex(value)).strip("()")


def _iso(value: date | time) -> str:
    return str.__str__(value.isoformat())


def _text(value: object) -> str:
    return str.__str__(str(value))


_SCALARS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Json]], ...] = (
    (str, str.__str__),
    (int, _int),
    (float, _float),
    ((datetime, date, time), _iso),
    ((UUID, Decimal, Fraction, PurePath), _text),
    ((bytes, bytearray, memoryview), _octets),
    (timedelta, _duration),
    (complex, _complex),
    (numbers.Integral, lambda value: _int(int(value))),
    (numbers.Real, lambda value: _float(float(value))),
)


def _scalar(kind: type) -> Callable[[Any], Json] | None:
    """How to convert values of a type that are one piece, or None if they have parts or are unknown."""
    for kinds, scalar in _SCALARS:
        if issubclass(kind, kinds):
            return scalar
    if hasattr(kind, "get_secret_value"):
        return lambda _: "**********"
    return _text if kind.__module__ == "ipaddress" else None
