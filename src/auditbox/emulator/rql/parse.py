"""RQL text to an expression tree: a recursive-descent parser of the platform's grammar (contract, 6.2).

First the text becomes words, calls and equations (:func:`read`), whatever they mean; then :func:`parse` says
what they mean. Property names are checked later, where a table is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from auditbox.emulator.problem import invalid

MAX_DEPTH = 25
MAX_NODES = 5000
_ENDS = "(),;&|="


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word or a quoted literal."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """``name(…)``; a group in parentheses has no name. ``alternatives`` are OR-ed lists of AND-ed nodes."""

    name: str
    alternatives: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Equation:
    """``path=value``."""

    path: str
    value: Node


Node = Word | Call | Equation


@dataclass(frozen=True, slots=True)
class Constant:
    """A value: text (``quoted`` is always a literal, bare text may name a property), null or empty."""

    text: str | None
    quoted: bool = True


@dataclass(frozen=True, slots=True)
class Comparison:
    """``eq ne gt ge lt le like ilike``; an empty path is ``self()``."""

    operator: str
    path: str
    value: Constant


@dataclass(frozen=True, slots=True)
class Membership:
    """``in`` and ``out``."""

    path: str
    values: tuple[Constant, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Junction:
    """Expressions joined by AND or OR."""

    operator: Literal["and", "or"]
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """NOT."""

    part: Expression


@dataclass(frozen=True, slots=True)
class Quantifier:
    """``any`` and ``all`` over a collection; ``any`` without a condition asks whether it has elements."""

    operator: Literal["any", "all"]
    path: str
    condition: Expression | None


Expression = Comparison | Membership | Junction | Negation | Quantifier

COMPARISONS = frozenset({"eq", "ne", "gt", "ge", "lt", "le", "like", "ilike"})
SELF = ""


def parse(text: str) -> Expression:
    """The expression that a text means.

    Raises:
        Problem: 400 with the platform's message.
    """
    return _junction(_Reader(text).read(), text)


class _Reader:
    """Text to nodes."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth, self.count = text, 0, 0, 0

    def read(self) -> tuple[tuple[Node, ...], ...]:
        """The whole text."""
        alternatives = self._alternatives()
        if self.at < len(self.text):
            raise self._error("Unexpected ')'.")
        return alternatives

    def _alternatives(self) -> tuple[tuple[Node, ...], ...]:
        found = [self._items()]
        while self._take(";|"):
            found.append(self._items())
        return tuple(found)

    def _items(self) -> tuple[Node, ...]:
        items = [self._item()]
        while self._take(",&"):
            items.append(self._item())
        return tuple(items)

    def _item(self) -> Node:
        self.count += 1
        if self.count > MAX_NODES:
            raise self._error("The expression has too many parts.")
        word = self._word()
        if not word.quoted and self._take("("):
            return self._call(word.text)
        if not word.quoted and self._take("="):
            return self._equation(word.text)
        return word

    def _call(self, name: str) -> Call:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error("The expression is nested too deeply.")
        alternatives = self._alternatives()
        if not self._take(")"):
            raise self._error("Closing parenthesis expected.")
        self.depth -= 1
        self._skip()
        if self.at < len(self.text) and self.text[self.at] not in "),;&|":
            raise self._error("Unexpected text after an expression.")
        return Call(name, alternatives)

    def _equation(self, path: str) -> Equation:
        value = self._item()
        if not path or isinstance(value, Equation):
            raise self._error("Invalid equals shortcut expression")
        return Equation(path, value)

    def _word(self) -> Word:
        self._skip()
        if self.text[self.at : self.at + 1] in {"'", '"'}:
            return self._literal(self.text[self.at])
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in _ENDS:
            self.at += 1
        return Word(self.text[start : self.at].strip())

    def _literal(self, quote: str) -> Word:
        end = self.text.find(quote, self.at + 1)
        if end < 0:
            raise self._error("A quoted value is not closed.")
        literal = Word(self.text[self.at + 1 : end], quoted=True)
        self.at = end + 1
        self._skip()
        if self.at < len(self.text) and self.text[self.at] not in "),;&|":
            raise self._error("Unexpected text after a quoted value.")
        return literal

    def _take(self, signs: str) -> bool:
        self._skip()
        if self.at < len(self.text) and self.text[self.at] in signs:
            self.at += 1
            return True
        return False

    def _skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def _error(self, message: str) -> Exception:
        return _error(self.text, message)


def _error(key: str, message: str) -> Exception:
    return invalid({key[:100]: [message]})


def _junction(alternatives: tuple[tuple[Node, ...], ...], key: str) -> Expression:
    if alternatives == ((Word(""),),):
        raise _error(key, "Expression group cannot be empty.")
    return _join("or", [_join("and", [_expression(node) for node in nodes]) for nodes in alternatives])


def _join(operator: Literal["and", "or"], parts: list[Expression]) -> Expression:
    return parts[0] if len(parts) == 1 else Junction(operator, tuple(parts))


def _expression(node: Node) -> Expression:
    if isinstance(node, Word):
        raise _error(node.text, "Expression expected.")
    if isinstance(node, Equation):
        return Comparison("eq", node.path, _value(node.value))
    name = node.name.lower()
    if name in COMPARISONS:
        return _comparison(name, _arguments(node))
    meaning = _MEANINGS.get(name)
    if meaning is None:
        raise _error(node.name, "Unknown expression group.")
    return meaning(node)


def _arguments(node: Call) -> tuple[Node, ...]:
    """A call's arguments; alternatives among them make one argument, a group."""
    if len(node.alternatives) > 1:
        return (Call("", node.alternatives),)
    return () if node.alternatives == ((Word(""),),) else node.alternatives[0]


def _comparison(name: str, arguments: tuple[Node, ...]) -> Comparison:
    if len(arguments) != 2:
        raise _error(name, "Binary expression must have 2 arguments")
    return Comparison(name, _path(arguments[0]), _value(arguments[1]))


def _path(node: Node) -> str:
    if isinstance(node, Word) and node.text:
        return node.text
    if isinstance(node, Call) and node.name.lower() == "self" and not _arguments(node):
        return SELF
    raise _error(getattr(node, "name", ""), "Invalid property path.")


def _value(node: Node) -> Constant:
    if isinstance(node, Word):
        return Constant(node.text, node.quoted or not node.text)
    if isinstance(node, Call) and not _arguments(node):
        if node.name.lower() == "null":
            return Constant(None)
        if node.name.lower() == "empty":
            return Constant("")
    raise _error(getattr(node, "name", ""), "Value expected.")


def _and(node: Call) -> Expression:
    return _junction(node.alternatives, node.name)


def _or(node: Call) -> Expression:
    arguments = _arguments(node)
    if not arguments:
        raise _error(node.name, "Expression group cannot be empty.")
    return _join("or", [_expression(argument) for argument in arguments])


def _not(node: Call) -> Expression:
    arguments = _arguments(node)
    if len(arguments) != 1:
        raise _error(node.name, "Unary expression must have 1 argument")
    return Negation(_expression(arguments[0]))


def _membership(node: Call) -> Expression:
    arguments = _arguments(node)
    if len(arguments) != 2:
        raise _error(node.name, "Binary expression must have 2 arguments")
    path, group = _path(arguments[0]), arguments[1]
    values = _arguments(group) if isinstance(group, Call) and group.name == "" else (group,)
    if not values or values == (Word(""),):
        raise _error(path, "Value has to be a non empty array.")
    constants = tuple(_value(value) for value in values)
    if any(constant.text is None for constant in constants):
        raise _error(path, "Null values are not supported.")
    return Membership(path, constants, node.name.lower() == "out")


def _any(node: Call) -> Expression:
    arguments = _arguments(node)
    if len(arguments) not in {1, 2}:
        raise _error(node.name, "Any expression must have 1 or 2 arguments")
    condition = _expression(arguments[1]) if len(arguments) == 2 else None
    return Quantifier("any", _path(arguments[0]), condition)


def _all(node: Call) -> Expression:
    arguments = _arguments(node)
    if len(arguments) != 2:
        raise _error(node.name, "Binary expression must have 2 arguments")
    return Quantifier("all", _path(arguments[0]), _expression(arguments[1]))


_MEANINGS = {"": _and, "and": _and, "or": _or, "not": _not}
_MEANINGS |= {"in": _membership, "out": _membership, "any": _any, "all": _all}
