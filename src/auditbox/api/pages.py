"""Lists: what can be asked of them, one page, all pages, and the streaming mode."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from auditbox.api.rql import encode, timestamp
from auditbox.api.steps import Answer, More, Request, Retries, Steps, exchange, json_object
from auditbox.errors import ApiConnectionError, ApiStatusError, ConfigurationError

T = TypeVar("T")
Names = str | Iterable[str] | None

PAGE = 100
"""The documented cap of a page."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list."""

    data: list[T]
    offset: int
    limit: int
    """The limit that the server applied; it may be lower than the one that was asked for."""
    total: int
    omitted: tuple[str, ...] = ()
    """What the rows lack unless ``select`` asks for it."""

    def __iter__(self) -> Iterator[T]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Listing:
    """The query of a list."""

    filters: tuple[object, ...] = ()
    select: Names = None
    order: Names = None
    limit: int | None = None
    offset: int | None = None
    render: bool = False

    def __post_init__(self) -> None:
        for name in ("select", "order"):  # an iterator would be empty on the second page
            given = getattr(self, name)
            if given is not None and not isinstance(given, str):
                object.__setattr__(self, name, tuple(given))
        for name in ("limit", "offset"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise ConfigurationError(f"{name}={value!r}: a number from 0 on")

    def query(self) -> str:
        """The query string, encoded, in the official client's order."""
        parts = [
            f"{name}={value}"
            for name, value in (
                ("limit", self.limit),
                ("offset", self.offset),
                ("order", names(self.order)),
                ("select", names(self.select)),
            )
            if value is not None
        ]
        parts += [encode(rql) for rql in self.filters if str(rql)]
        return "&".join([*parts, "render()"] if self.render else parts)


def names(given: Names) -> str | None:
    """Names for ``select`` or ``order``, comma-separated and encoded; a leading ``+`` is left out."""
    if given is None:
        return None
    listed = given.split(",") if isinstance(given, str) else given
    stripped = [name.strip().removeprefix("+") for name in listed]
    return ",".join(quote(name, safe="-.*$") for name in stripped if name) or None


@dataclass(frozen=True, slots=True)
class Collection(Generic[T]):
    """A list resource of the API."""

    path: str
    parse: Callable[[dict[str, Any], bool], T]
    """A row out of its JSON; True: parts that it always has may have been taken away by ``select``."""
    retries: Retries
    by_time: bool = False
    """Whether rows have a ``timestamp`` to page by."""

    def request(self, listing: Listing, **extra: Any) -> Request:
        """The request of one page."""
        query = listing.query()
        return Request("GET", f"{self.path}?{query}" if query else self.path, **extra)

    def page(self, listing: Listing) -> Steps[Page[T]]:
        """One page."""
        raw = yield from self._fetch(listing)
        data = self._parsed(raw.data, listing)
        return Page(data, raw.offset, raw.limit, raw.total, raw.omitted)

    def _parsed(self, rows: Iterable[dict[str, Any]], listing: Listing) -> list[T]:
        return [self.parse(row, listing.select is not None) for row in rows]

    def _fetch(self, listing: Listing) -> Steps[Page[dict[str, Any]]]:
        answer = yield from exchange(self.request(listing), self.retries)
        return read_page(json_object(answer), answer.status)

    def iterate(self, listing: Listing) -> Steps[None]:
        """All rows, page by page, each row once: yields lists."""
        listing = replace(listing, limit=listing.limit or PAGE)
        by_time = self.by_time and not listing.offset
        if by_time and names(listing.order) in {None, "timestamp", "-timestamp"}:
            cursor: _ByTime | _ByOffset | None = _ByTime.of(listing)
        else:
            cursor = _ByOffset(listing)
        while cursor is not None:
            page = yield from self._fetch(cursor.listing)
            yield self._parsed(cursor.fresh(page.data), listing)
            cursor = cursor.after(page)

    def stream(self, listing: Listing) -> Steps[None]:
        """All rows as one snapshot in one answer; by pages where the server cannot stream."""
        headers = {"MPT-Streaming": "true", "Accept": "application/jsonl"}
        request = self.request(listing, headers=headers, stream=True)
        try:
            answer = yield from exchange(request, self.retries)
        except ApiStatusError as exc:
            if exc.status != 501:
                raise
            answer = None
        if answer is None or answer.headers.get("mpt-streaming", "").lower() != "true":
            yield from self._paged(listing)
        else:
            yield from self._lines(answer, listing)

    def _paged(self, listing: Listing) -> Steps[None]:
        if listing.limit is None and listing.offset is None:
            yield from self.iterate(listing)
            return
        cursor: _ByOffset | None = _ByOffset(listing)
        left = listing.limit
        while cursor is not None and left != 0:
            page = yield from self._fetch(replace(cursor.listing, limit=min(left or PAGE, PAGE)))
            rows = cursor.fresh(page.data)[:left]
            left = None if left is None else left - len(rows)
            yield self._parsed(rows, listing)
            cursor = cursor.after(page)

    def _lines(self, answer: Answer, listing: Listing) -> Steps[None]:
        expected = _announced(answer)
        read, rest = 0, b""
        while True:
            piece: bytes = yield More()
            *lines, rest = (rest + piece).split(b"\n") if piece else [rest, b""]
            rows = [_row(line) for line in lines if line.strip()]
            read += len(rows)
            yield self._parsed((row for row in rows if not _object(row.get("$meta")).get("deleted")), listing)
            if not piece:
                break
        if read != expected:
            raise ApiConnectionError(f"the stream ended after {read} of {expected} rows")


def _announced(answer: Answer) -> int:
    """How many rows a stream will have; without that, nobody could tell a broken one from a whole one."""
    media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    count = answer.headers.get("mpt-item-count", "")
    if media not in {"", "application/jsonl"} or not (count.isascii() and count.isdigit()):
        said = (
            f"{answer.status}: the stream is no application/jsonl of a known number of rows (MPT-Item-Count)"
        )
        raise ApiStatusError(said, status=answer.status)
    return int(count)


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise ApiConnectionError("the stream broke off: a line of it is no JSON object")
    return row


def read_page(body: dict[str, Any], status: int) -> Page[dict[str, Any]]:
    """The list envelope; without ``$meta`` it is the only page.

    Raises:
        ApiStatusError: it is no list envelope.
    """
    data, meta = body.get("data"), _object(body.get("$meta"))
    if not isinstance(data, list) or not all(_is_row(row) for row in data):
        raise ApiStatusError(f"{status}: the answer's body is no list", status=status)
    pagination, omitted = _object(meta.get("pagination")), meta.get("omitted")
    offset = _number(pagination.get("offset"), 0)
    return Page(
        data,
        offset,
        _number(pagination.get("limit"), len(data)),
        _number(pagination.get("total"), offset + len(data)),
        tuple(map(str, omitted)) if isinstance(omitted, list) else (),
    )


def _is_row(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), str | None)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


@dataclass(frozen=True, slots=True)
class _ByOffset:
    """Pages by position. Rows that move to a later page while one reads are recognised by their id."""

    listing: Listing
    seen: set[str] = field(default_factory=set)

    def fresh(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in rows if row.get("id") not in self.seen]

    def after(self, page: Page[dict[str, Any]]) -> _ByOffset | None:
        # By what came, not by the limit: a server that gives fewer than it says loses nothing that way.
        offset = (self.listing.offset or 0) + len(page.data)
        if not page.data or offset >= page.total:
            return None
        self.seen.update(row["id"] for row in page.data if row.get("id"))
        return _ByOffset(replace(self.listing, offset=offset), self.seen)


@dataclass(frozen=True, slots=True)
class _ByTime:
    """Pages by time: each page begins at the millisecond at which the last one ended.

    New records cannot move the rows below them, positions do not grow, and only the ids of one millisecond
    are remembered.
    """

    first: Listing
    listing: Listing
    edge: datetime | None = None
    seen: frozenset[str] = frozenset()

    @classmethod
    def of(cls, listing: Listing) -> _ByTime:
        order = names(listing.order) or "-timestamp"
        ordered = replace(listing, order=f"{order},id")
        return cls(ordered, ordered)

    def fresh(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in rows if row.get("id") not in self.seen]

    def after(self, page: Page[dict[str, Any]]) -> _ByTime | _ByOffset | None:
        here = (self.listing.offset or 0) + len(page.data)
        if not page.data or here >= page.total:
            return None
        edge = _millisecond(page.data[-1])
        if edge is None or not all(row.get("id") for row in page.data):  # select= took them away
            return _ByOffset(self.listing, set(self.seen)).after(page)
        ids = frozenset(row["id"] for row in page.data if _millisecond(row) == edge)
        if edge == self.edge:
            return replace(self, listing=replace(self.listing, offset=here), seen=self.seen | ids)
        bounded = replace(self.first, filters=(*self.first.filters, self._bound(edge)))
        return _ByTime(self.first, bounded, edge, ids)

    def _bound(self, edge: datetime) -> str:
        if str(self.first.order).startswith("timestamp"):
            return f"ge(timestamp,'{timestamp(edge)}')"
        # Below the next millisecond: what is shown is cut to milliseconds, what is stored may be finer.
        return f"lt(timestamp,'{timestamp(edge + timedelta(milliseconds=1))}')"


def _millisecond(row: dict[str, Any]) -> datetime | None:
    try:
        moment = datetime.fromisoformat(row["timestamp"])
    except (KeyError, ValueError, TypeError):
        return None
    if moment.tzinfo is None:
        return None
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
