"""Expressions to SQL with bound values. Property names become columns of a known table, never text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from auditbox.emulator.fields import Field, Table
from auditbox.emulator.problem import invalid
from auditbox.emulator.rql.parse import (
    SELF,
    Comparison,
    Constant,
    Expression,
    Junction,
    Membership,
    Negation,
    Quantifier,
)

_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


@dataclass(slots=True)
class Sql:
    """A condition under construction: its values, in the order of their marks."""

    table: Table
    values: list[Any] = field(default_factory=list)

    def where(self, expression: Expression) -> str:
        """The condition. It is never NULL, so that NOT and OR mean what they say.

        Raises:
            Problem: 400 for an unknown path, an operator or a value that does not fit.
        """
        match expression:
            case Junction(operator, parts):
                return balanced([self.where(part) for part in parts], operator.upper())
            case Negation(part):
                return f"NOT {self.where(part)}"
            case Membership(path, values, negated):
                return self._membership(path, values, negated)
            case Quantifier():
                return self._quantifier(expression)
            case Comparison():
                return self._comparison(expression)

    def _comparison(self, given: Comparison) -> str:
        if given.value.text is None:
            return self._null(given)
        column = self.field(given.path)
        operator = given.operator
        if operator in {"like", "ilike"}:
            return self._like(column, given)
        other = self._operand(column, given.value)
        name = self._column(column)
        if operator in {"eq", "ne"}:
            return f"({name} IS {'NOT ' if operator == 'ne' else ''}{other})"
        either = "" if other == "?" else f" AND {other} IS NOT NULL"
        return f"({name} IS NOT NULL{either} AND {name} {_SIGNS[operator]} {other})"

    def _null(self, given: Comparison) -> str:
        if given.operator not in {"eq", "ne"}:
            raise _error(given.path, f"Operator '{given.operator}' is not permitted")
        columns = [self._column(field) for field in self._fields_under(given.path)]
        absent = "(" + " AND ".join(f"{column} IS NULL" for column in columns) + ")"
        return absent if given.operator == "eq" else f"NOT {absent}"

    def _fields_under(self, path: str) -> list[Field]:
        folded = path.lower()
        inside = [field for field in self.table.fields if field.path.lower().startswith(f"{folded}.")]
        return inside or [self.field(path)]

    def _like(self, column: Field, given: Comparison) -> str:
        if column.kind != "text":
            raise _error(given.path, f"Operator '{given.operator}' is not permitted")
        self.values.append(given.value.text)
        return f"rql_like({self._column(column)}, ?, {int(given.operator == 'ilike')})"

    def _membership(self, path: str, constants: Sequence[Constant], negated: bool) -> str:
        column = self.field(path)
        marks = ", ".join(self._literal(column, constant.text or "") for constant in constants)
        name = self._column(column)
        inside = f"({name} IS NOT NULL AND {name} IN ({marks}))"
        return f"NOT {inside}" if negated else inside

    def _quantifier(self, given: Quantifier) -> str:
        part = self.table.parts.get(given.path.lower())
        if part is None:
            raise _error(given.path, "Invalid property path.")
        rows = f"SELECT 1 FROM {part.name} WHERE {part.name}.audience = {self.table.name}.audience"  # noqa: S608
        if given.condition is None:
            return f"EXISTS ({rows})"
        condition = Sql(part, self.values).where(given.condition)
        if given.operator == "any":
            return f"EXISTS ({rows} AND {condition})"
        return f"NOT EXISTS ({rows} AND NOT {condition})"

    def _operand(self, column: Field, value: Constant) -> str:
        text = value.text or ""
        if not value.quoted:
            other = self._find(text)
            if other is not None:
                return self._column(other)
        return self._literal(column, text)

    def _literal(self, column: Field, text: str) -> str:
        try:
            self.values.append(_CONVERT[column.kind](text))
        except (ValueError, OverflowError):
            raise _error(column.path, f"Cannot convert value: '{text}'.") from None
        return "?"

    def field(self, path: str) -> Field:
        """The field at a path, case-insensitive.

        Raises:
            Problem: 400, it is unknown or must not be filtered by.
        """
        found = self._find(path)
        if found is not None:
            return found
        if path == SELF or is_closed(self.table, path):
            raise _error(path or "self()", "Filtering is not permitted.")
        raise _error(_wrong_part(self.table, path), "Invalid property path.")

    def _find(self, path: str) -> Field | None:
        folded = path.lower()
        return next((field for field in self.table.fields if field.path.lower() == folded), None)

    def _column(self, column: Field) -> str:
        return f"{self.table.name}.{column.column}"


def is_closed(table: Table, path: str) -> bool:
    """Whether this is a known property that can be neither compared nor ordered by."""
    return path.lower() in {*table.unfiltered, *table.parts}


def _wrong_part(table: Table, path: str) -> str:
    """As much of a path as the platform names in its error: up to the first part that it does not know."""
    known = {field.path.lower() for field in table.fields} | {*table.unfiltered, *table.parts}
    ends = [end for end, sign in enumerate(path) if sign == "."]
    for part in (path[:end] for end in ends):
        folded = part.lower()
        if folded not in known and not any(name.startswith(f"{folded}.") for name in known):
            return part
    return path


def order_by(table: Table, text: str) -> str:
    """The ORDER BY of an ``order=`` parameter; made total by the table's tie-breaker.

    Raises:
        Problem: 400 for an unknown path or none at all.
    """
    names = [part for part in text.split(",") if part.strip().lstrip("+-")]
    if not names:
        raise _error("order", "No valid ordering properties were detected")
    terms = [_order_term(table, name) for name in names]
    direction = "DESC" if terms[-1].endswith("DESC") else "ASC"
    return ", ".join([*terms, f"{table.name}.{table.tie} {direction}"])


def _order_term(table: Table, name: str) -> str:
    descending = name.lstrip().startswith("-")
    path = name.strip().lstrip("+-").strip()
    if is_closed(table, path):
        raise _error(path, "Ordering is not permitted.")
    column = Sql(table).field(path)
    return f"{table.name}.{column.column} {'DESC' if descending else 'ASC'}"


def balanced(parts: Sequence[str], operator: str) -> str:
    """Conditions joined as a balanced tree: SQLite bounds the depth of an expression, not its width."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({balanced(parts[:half], operator)} {operator} {balanced(parts[half:], operator)})"


def stored_timestamp(text: str) -> str:
    """A point in time in the store's form: UTC, six digits, so that text sorts as time does."""
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


_INT64 = 2**63


def _integer(text: str) -> int:
    number = int(text)
    if not -_INT64 <= number < _INT64:
        raise ValueError(text)
    return number


_CONVERT: dict[str, Callable[[str], Any]] = {
    "text": str,
    "datetime": stored_timestamp,
    "integer": _integer,
}


def _error(key: str, message: str) -> Exception:
    return invalid({key[:100]: [message]})
