"""Whether a record is already in the trail: the newest of its object and event, page by page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from auditbox.sinks.answers import Result, lookup_trouble
from auditbox.sinks.base import Delivery, Later, Missing, Problem, Sent, Unreadable, VerifyOutcome
from auditbox.sinks.clock import iso_date
from auditbox.sinks.exchange import Answer
from auditbox.sinks.wire import entry_id, json_object

_ROWS = 10
_MOST_PAGES = 20
_SLACK = 600.0
"""Seconds by which the clock that stamps the records may differ from the one that dates the answers."""

Fetch = Callable[[str], Result]
"""Asks for the list with this query string."""


class Page(NamedTuple):
    """One page of the list of records."""

    records: list[dict[str, Any]]
    total: int | None
    shows_documents: bool


def look_up(delivery: Delivery, fetch: Fetch) -> VerifyOutcome:
    """Reads the trail from its newest record until the entry, an older record or the end appears."""
    filters = criteria(delivery.body)
    if filters is None:
        return Unreadable(
            Problem("the entry holds no JSON object, so that there is nothing to look it up by")
        )
    oldest = None if delivery.sent_at is None else delivery.sent_at - _SLACK
    offset, rows = 0, _ROWS
    for _ in range(_MOST_PAGES):
        result = fetch(f"{filters}&order=-timestamp&select=%2Bdocuments&limit={rows}&offset={offset}")
        page = _page(result)
        if page is None:
            if _too_long(result) and rows > 1:
                rows = 1
                continue
            return _no_list(result) or lookup_trouble(result)
        if outcome := _judge(page, offset, delivery.id, oldest):
            return outcome
        offset += len(page.records)
    return Unreadable(Problem(f"not among the newest {offset} records, and there are more"))


def criteria(body: bytes) -> str | None:
    """The filters for the object and event of a submission, percent-encoded; None for what is no record.

    The query language cannot escape a quote, so a value that holds both kinds is left out: less is
    filtered, and the id decides all the same.
    """
    record = json_object(body)
    if record is None:
        return None
    about = record.get("object")
    values = {
        "object.id": about.get("id") if isinstance(about, dict) else None,
        "event": record.get("event"),
    }
    known = {path: _literal(value) for path, value in values.items() if isinstance(value, str)}
    filters = [f"eq({path},{value})" for path, value in known.items() if value]
    return "&".join(filters) or None


def _literal(value: str) -> str | None:
    for mark in "'\"":
        if mark not in value:
            return quote(f"{mark}{value}{mark}", safe="'", errors="replace")
    return None


def _page(result: Result) -> Page | None:
    listed = json_object(result.body) if isinstance(result, Answer) and result.status == 200 else None
    records = None if listed is None else listed.get("data")
    if listed is None or not isinstance(records, list):
        return None
    meta = listed.get("$meta")
    meta = meta if isinstance(meta, dict) else {}
    pagination, omitted = meta.get("pagination"), meta.get("omitted")
    total = pagination.get("total") if isinstance(pagination, dict) else None
    return Page(
        [record if isinstance(record, dict) else {} for record in records],
        total if isinstance(total, int) else None,
        not (isinstance(omitted, list) and "documents" in omitted),
    )


def _too_long(result: Result) -> bool:
    return isinstance(result, Answer) and result.status == 200 and bool(result.flaw) and not result.torn


def _no_list(result: Result) -> Later | None:
    if isinstance(result, Answer) and result.status == 200:
        return Later(Problem(f"200: {result.flaw or 'no list of records'}", 200))
    return None


def _judge(page: Page, offset: int, wanted: str, oldest: float | None) -> VerifyOutcome | None:
    """What this page says, or None if the next one must be read."""
    for record in page.records:
        if entry_id(record) == wanted:
            remote_id = record.get("id")
            return Sent(remote_id if isinstance(remote_id, str) else None)
    if not page.records:
        return Missing()
    if not page.shows_documents:
        return Unreadable(Problem("the list leaves out the records' documents, which hold the entry's id"))
    times = [iso_date(record.get("timestamp")) for record in page.records]
    if oldest is not None and any(time is not None and time < oldest for time in times):
        return Missing()
    if page.total is not None and offset + len(page.records) >= page.total:
        return Missing()
    return None
