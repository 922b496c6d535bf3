"""Filters for the Audit API (RQL), built from Python expressions.

::

    from auditbox.api import F

    F.object.id == "ORD-1208-2301-8479"
    (F.timestamp >= since) & ~F.event.in_(["platform.a", "platform.b"])
    F.viewers.any(F.type == "Client") | (F.actor.name == None)
    F.summary.contains("50% & more", ignore_case=True)

Every value is quoted and encoded, so what was asked is what the server reads. What RQL cannot say (a value
that holds both kinds of quotes) is a ConfigurationError rather than another question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, NoReturn
from urllib.parse import quote

from pydantic.alias_generators import to_camel

from auditbox.errors import ConfigurationError

_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*")
_SYNTAX = "(),=;|'*:!~.-_$/@"
_ESCAPE = re.compile(r"(%[0-9A-Fa-f]{2})")


class Expression:
    """A condition; combine with ``&``, ``|`` and ``~``. Its ``str()`` is RQL, unencoded."""

    def __and__(self, other: Expression) -> Expression:
        return Group("and", (*self._members("and"), *other._members("and")))

    def __or__(self, other: Expression) -> Expression:
        return Group("or", (*self._members("or"), *other._members("or")))

    def __invert__(self) -> Expression:
        return Group("not", (self,))

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "combine conditions with &, | and ~, not with and, or, not, in or chained comparisons"
        )

    def _members(self, _operator: str) -> tuple[Expression, ...]:
        return (self,)


@dataclass(frozen=True, eq=False)
class Group(Expression):
    """``and``, ``or`` or ``not`` over conditions."""

    operator: str
    parts: tuple[Expression, ...]

    def __str__(self) -> str:
        return f"{self.operator}({','.join(map(str, self.parts))})"

    def _members(self, operator: str) -> tuple[Expression, ...]:
        return self.parts if operator == self.operator else (self,)


@dataclass(frozen=True, eq=False)
class Condition(Expression):
    """A function of a property, such as ``eq(object.id,'…')``; ``value`` is None, a constant, or a list."""

    operator: str
    path: str
    value: Any = None

    def __str__(self) -> str:
        if isinstance(self.value, tuple):
            return f"{self.operator}({self.path},({','.join(map(_constant, self.value))}))"
        return f"{self.operator}({self.path},{_operand(self.value)})"


@dataclass(frozen=True, eq=False)
class Quantified(Expression):
    """``any`` or ``all`` over the elements of a collection; paths in the condition are the elements'."""

    operator: str
    path: str
    condition: Expression | None = None

    def __str__(self) -> str:
        return f"{self.operator}({self.path}{f',{self.condition}' if self.condition is not None else ''})"


class Property:
    """A property of a record, by attributes (``F.actor.account.account_type``) or as ``F("object.id")``."""

    __slots__ = ("_path",)
    __hash__ = object.__hash__

    def __init__(self, path: str = "") -> None:
        self._path = path

    def __getattr__(self, name: str) -> Property:
        if name.startswith("_"):
            raise AttributeError(name)
        return self(to_camel(name))

    def __call__(self, path: str) -> Property:
        """The property at a path below this one, in the API's own spelling."""
        whole = f"{self._path}.{path}" if self._path else path
        if not _PATH.fullmatch(whole):
            raise ConfigurationError(f"{path!r}: a property is written like object.id")
        return Property(whole)

    def __eq__(self, value: object) -> Expression:  # type: ignore[override]
        return self._compare("eq", value)

    def __ne__(self, value: object) -> Expression:  # type: ignore[override]
        return self._compare("ne", value)

    def __gt__(self, value: object) -> Expression:
        return self._compare("gt", value)

    def __ge__(self, value: object) -> Expression:
        return self._compare("ge", value)

    def __lt__(self, value: object) -> Expression:
        return self._compare("lt", value)

    def __le__(self, value: object) -> Expression:
        return self._compare("le", value)

    def __contains__(self, value: object) -> NoReturn:
        raise TypeError("write F.event.in_([…]) or F.summary.contains(…)")

    def in_(self, values: Iterable[object]) -> Expression:
        """Equal to one of these."""
        return self._member("in", values)

    def out(self, values: Iterable[object]) -> Expression:
        """Equal to none of these."""
        return self._member("out", values)

    def like(self, pattern: str, *, ignore_case: bool = False) -> Expression:
        """Matches a pattern: ``*`` at its ends stands for anything, elsewhere for itself."""
        return self._condition("ilike" if ignore_case else "like", pattern)

    def contains(self, text: str, *, ignore_case: bool = False) -> Expression:
        """Holds this text."""
        return self._match("*", text, "*", ignore_case)

    def startswith(self, text: str, *, ignore_case: bool = False) -> Expression:
        """Begins with this text."""
        return self._match("", text, "*", ignore_case)

    def endswith(self, text: str, *, ignore_case: bool = False) -> Expression:
        """Ends with this text."""
        return self._match("*", text, "", ignore_case)

    def is_null(self) -> Expression:
        """Absent."""
        return self._condition("eq", None)

    def is_empty(self) -> Expression:
        """The empty text."""
        return self._condition("eq", "")

    def any(self, condition: Expression | None = None) -> Expression:
        """Some element of the collection meets the condition; without one, it has elements at all."""
        return Quantified("any", self._named(), condition)

    def all(self, condition: Expression) -> Expression:
        """Every element of the collection meets the condition."""
        return Quantified("all", self._named(), condition)

    def __repr__(self) -> str:
        return f"F({self._path!r})" if self._path else "F"

    def _named(self) -> str:
        if not self._path:
            raise ConfigurationError("F alone is no property: write F.object.id")
        return self._path

    def _compare(self, operator: str, value: object) -> Expression:
        if value is None and operator not in {"eq", "ne"}:
            raise ConfigurationError(f"{self._named()}: None can be compared with == and != only")
        return self._condition(operator, value)

    def _condition(self, operator: str, value: object) -> Expression:
        _operand(value)  # what cannot be said fails here, where it is written
        return Condition(operator, self._named(), value)

    def _member(self, operator: str, values: Iterable[object]) -> Expression:
        listed = () if isinstance(values, str | bytes) else tuple(values)
        if not listed or any(value is None for value in listed):
            raise ConfigurationError(
                f"{self._named()}: in_() and out() want a list of values, not empty, without None"
            )
        for value in listed:
            _constant(value)
        return Condition(operator, self._named(), listed)

    def _match(self, before: str, text: str, after: str, ignore_case: bool) -> Expression:
        return self.like(f"{before}{_escaped(text, before, after)}{after}", ignore_case=ignore_case)


F = Property()
"""The root of all properties."""


def _escaped(text: str, before: str, after: str) -> str:
    """Text whose own stars are no wildcards."""
    if text.startswith("\\*") or (after and text.endswith("\\")) or text.endswith("\\*"):
        raise ConfigurationError(
            f"{text!r}: RQL cannot say a backslash next to a star at the end of a pattern"
        )
    if text == "*":
        return "\\*"
    if text.startswith("*"):
        text = f"\\{text}"
    return f"{text[:-1]}\\*" if text.endswith("*") else text


def _operand(value: object) -> str:
    if value is None:
        return "null()"
    if isinstance(value, Property):
        return value._named()
    return "empty()" if value == "" else _constant(value)


def _constant(value: object) -> str:
    text = _text(value)
    quotation = '"' if "'" in text else "'"
    if quotation in text:
        raise ConfigurationError(f"{text!r}: RQL cannot hold both kinds of quotes in one value")
    return f"{quotation}{text}{quotation}"


def _text(value: object) -> str:
    if isinstance(value, Enum):
        value = value.value  # its str() would be the member's name
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ConfigurationError(f"{value!r} is no Unicode text: it holds a lone surrogate") from None
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, date):
        return timestamp(value)
    raise ConfigurationError(f"{value!r}: a value is text, a number, a datetime or None")


def timestamp(value: date) -> str:
    """A point in time in the documented form, ``2026-01-31T23:00:00.000Z``; a date is its start in UTC."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value.tzinfo is None:
        raise ConfigurationError(f"{value!r} has no time zone: write datetime(…, tzinfo=UTC)")
    digits = "milliseconds" if value.microsecond % 1000 == 0 else "microseconds"
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=digits) + "Z"


def encode(rql: object) -> str:
    """RQL as it goes into a query string.

    Args:
        rql: an expression of this module or a string: RQL as people write it, nothing of it encoded yet.
            Of any other object the ``str()`` is taken, and what is encoded in it already is left alone.
    """
    if isinstance(rql, str | Expression):
        return quote(str(rql), safe=_SYNTAX)
    return "".join(
        part if number % 2 else quote(part, safe=_SYNTAX)
        for number, part in enumerate(_ESCAPE.split(str(rql)))
    )
