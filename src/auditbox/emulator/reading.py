"""Reading from the store: pages, single objects and whole snapshots, as a caller may see them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from auditbox.emulator.fields import RECORDS, Table
from auditbox.emulator.identity import Caller
from auditbox.emulator.masking import shown
from auditbox.emulator.problem import Problem, invalid, not_found
from auditbox.emulator.query import MAX_LIMIT, Query, Selection
from auditbox.emulator.render import render
from auditbox.emulator.rql.compile import Sql, balanced, order_by
from auditbox.emulator.rql.parse import parse
from auditbox.emulator.store import Store, as_object

_OVER_CAP = "The result has more than {:,} rows: narrow the filter, or set limit, to stream it."
_SEES = "record.audience IN (SELECT audience FROM viewer WHERE id = ?)"


@dataclass(frozen=True, slots=True)
class Statement:
    """A query of the store, in its parts."""

    columns: str
    source: str
    where: str
    order: str
    values: list[Any]
    account_type: str | None = None
    """The reader's, where it decides what is shown."""

    def select(self) -> str:
        """The rows of a page; the limit and the offset are the last two values."""
        return f"{self.columns} {self.source} WHERE {self.where} ORDER BY {self.order} LIMIT ? OFFSET ?"

    def count(self, table: Table) -> str:
        """How many rows there are."""
        return f"SELECT count(*) FROM {table.name} WHERE {self.where}"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All rows of a query as they stood at one moment; ``rows`` can be read at leisure."""

    count: int
    rows: Iterator[dict[str, Any]]
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Caps:
    """How many rows an answer may have at most; None is any number."""

    page: int = MAX_LIMIT
    stream: int | None = None


class Reader:
    """Answers queries.

    Args:
        scoped: whether a caller sees only what its account may see (strict); else everybody sees all.
        caps: how many rows a page and a stream may have.
    """

    def __init__(self, store: Store, scoped: bool, caps: Caps | None = None) -> None:
        self.store, self.scoped, self.caps = store, scoped, caps or Caps()

    def page(self, table: Table, query: Query, caller: Caller) -> dict[str, Any]:
        """The list envelope of one page."""
        selection = Selection.of(query.select, table.omitted)
        statement = self.statement(table, query, selection, caller)
        limit, offset = query.page_limit(self.caps.page), query.offset
        total = self._count(statement, table)
        data = list(self._objects(statement, table, query, selection, limit, offset)) if limit else []
        return {"$meta": _meta(offset, limit, total, selection.left_out(table)), "data": data}

    def snapshot(self, table: Table, query: Query, caller: Caller) -> Snapshot:
        """Everything that a query finds now; what arrives later is not in it.

        Raises:
            Problem: 413, it is more than a stream may have; or 400.
        """
        selection = Selection.of(query.select, table.omitted)
        statement = self.statement(table, query, selection, caller, upto=self.store.last_seq(table))
        total = self._count(statement, table)
        limit = -1 if query.limit is None else query.limit
        count = max(0, total - query.offset)
        count = count if limit < 0 else min(count, limit)
        if self.caps.stream is not None and count > self.caps.stream:
            raise Problem(413, _OVER_CAP.format(self.caps.stream))
        rows = self._objects(statement, table, query, selection, limit, query.offset)
        return Snapshot(count, rows, _meta(query.offset, count, count, selection.left_out(table)))

    def one(self, table: Table, id: str, query: Query, caller: Caller) -> dict[str, Any]:
        """One object, whole unless ``select`` takes something away.

        Raises:
            Problem: 404, it does not exist or the caller may not see it.
        """
        selection = Selection.of(query.select)
        statement = self.statement(table, Query(render=query.render), selection, caller, id=id)
        found = next(self._objects(statement, table, query, selection, 1, 0), None)
        if found is None:
            raise not_found(id)
        return found

    def statement(
        self,
        table: Table,
        query: Query,
        selection: Selection,
        caller: Caller,
        *,
        upto: int | None = None,
        id: str | None = None,
    ) -> Statement:
        """A query compiled to SQL with bound values."""
        sql = Sql(table)
        conditions = [sql.where(parse(text)) for text in query.filters]
        for column, sign, value in (("id", "=", id), ("seq", "<=", upto)):
            if value is not None:
                conditions.append(f"{table.name}.{column} {sign} ?")
                sql.values.append(value)
        if table is RECORDS and self.scoped:
            conditions.extend(_visible(caller, sql.values))
        order = table.order if query.order is None else order_by(table, query.order)
        columns, source = _columns(table, query, selection)
        where = balanced(conditions or ["1"], "AND")
        return Statement(columns, source, where, order, sql.values, self.reads_as(caller))

    def reads_as(self, caller: Caller) -> str | None:
        """The type of account that decides which prices are shown; None for all of them (lax)."""
        return caller.account_type if self.scoped else None

    def _count(self, statement: Statement, table: Table) -> int:
        return int(next(self._run(statement.count(table), statement.values))[0])

    def _objects(
        self, statement: Statement, table: Table, query: Query, selection: Selection, limit: int, offset: int
    ) -> Iterator[dict[str, Any]]:
        for row in self._run(statement.select(), [*statement.values, limit, offset]):
            value = as_object(row, table)
            if "documents" in value:
                value["documents"] = shown(value["documents"], statement.account_type)
            yield selection.apply(render(value) if query.render else value)

    def _run(self, sql: str, values: list[Any]) -> Iterator[sqlite3.Row]:
        try:
            return self.store.rows(sql, values)
        except (sqlite3.OperationalError, sqlite3.DataError):
            raise invalid({"filter": ["The expression is too complex."]}) from None


def _columns(table: Table, query: Query, selection: Selection) -> tuple[str, str]:
    names = [f"{table.name}.{field.column}" for field in table.fields]
    source = f"FROM {table.name}"
    if table is RECORDS:
        if query.render or selection.wants("documents"):
            names.append("record.documents")
        if selection.wants("viewers"):
            names.append("audience.viewers")
            source += " JOIN audience ON audience.id = record.audience"
    return f"SELECT {', '.join(names)}", source


def _visible(caller: Caller, values: list[Any]) -> Iterator[str]:
    """Operations see all; others what their account is a viewer of (clients: what of it is public), and
    everybody what is about themselves."""
    if caller.account_type == "Operations":
        return
    values.extend([caller.account, caller.user])
    public = " AND record.type = 'Public'" if caller.account_type == "Client" else ""
    yield f"(({_SEES}{public}) OR record.object_id = ?)"


def _meta(offset: int, limit: int, total: int, omitted: list[str]) -> dict[str, Any]:
    meta: dict[str, Any] = {"pagination": {"offset": offset, "limit": limit, "total": total}}
    return {**meta, "omitted": omitted} if omitted else meta


def as_lines(snapshot: Snapshot) -> Iterator[str]:
    """A snapshot as JSON lines."""
    for row in snapshot.rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def as_envelope(snapshot: Snapshot) -> Iterator[str]:
    """A snapshot as one list envelope, piece by piece."""
    yield f'{{"$meta": {json.dumps(snapshot.meta)}, "data": ['
    for number, row in enumerate(snapshot.rows):
        yield (", " if number else "") + json.dumps(row, ensure_ascii=False)
    yield "]}"
