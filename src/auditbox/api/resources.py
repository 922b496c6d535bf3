"""The API's resources: each described once, for blocking and for awaiting callers."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from auditbox.api.calls import Awaiting, Blocking, Resource, call, rows_of
from auditbox.api.pages import Collection, Listing, Names, Page
from auditbox.api.steps import Request, Retries, Steps, exchange, json_object
from auditbox.errors import ApiStatusError, ConfigurationError, RecordError
from auditbox.records import AuditObject, AuditRecord, EventType, Model, Submission

M = TypeVar("M", bound=Model)


class _Records(Resource):
    """Audit records (``/audit/records``)."""

    _PATH = "/audit/records"

    @call
    def create(
        self,
        *,
        event: str,
        summary: str,
        details: str,
        object: str | AuditObject | Mapping[str, Any] | None = None,
        documents: Mapping[str, Any] | None = None,
        type: Literal["Private", "Public"] | None = None,
    ) -> Steps[AuditRecord]:
        """Posts one record and returns it as the server completed it.

        It is sent once: the API has no idempotency key, so after an ApiConnectionError or a ServerError the
        record may be there or not. (An AuditTrail looks it up; this does not.)

        Args:
            event: ``extensions.<extension>.<event>``.
            summary: what happened, for a list of records.
            details: the same with more to it; ``{{path}}`` stands for parts of the documents.
            object: what it is about: an id such as ``ORD-1208-2301-8479``, or more of it.
            documents: the data behind it, by name.
            type: ``"Private"``, for Operations accounts.

        Raises:
            RecordError: the values cannot be a record.
            ApiError: the API did not take it.
        """
        target = {"id": object} if isinstance(object, str) else object
        fields = {
            "event": event,
            "summary": summary,
            "details": details,
            "object": target,
            "documents": documents,
            "type": type,
        }
        request = Request("POST", self._PATH, _JSON, _submission(fields))
        return _parse(AuditRecord, json_object((yield from exchange(request, self.retries))))

    @call
    def get(self, id: str, *, select: Names = None, render: bool = False) -> Steps[AuditRecord]:
        """One record, whole: documents and viewers included.

        Args:
            id: ``AUD-…``.
            select: parts to leave out (``-documents``); the rest is there anyway.
            render: whether the server fills in the placeholders of summary and details.

        Raises:
            NotFound: there is none, or the token's account may not see it.
            ApiError: it could not be read.
        """
        row = yield from _get(self._PATH, id, select, render, self.retries)
        return _parse(AuditRecord, row, partial=select is not None)

    @call
    def list(
        self,
        filter: object = None,
        *,
        select: Names = None,
        order: Names = None,
        limit: int | None = None,
        offset: int | None = None,
        render: bool = False,
    ) -> Steps[Page[AuditRecord]]:
        """One page of records.

        Args:
            filter: a condition (``F.object.id == "ORD-…"``), RQL as a string, or an object whose ``str()``
                is RQL.
            select: parts beyond the default ones: lists lack ``documents`` and ``viewers``.
            order: properties, ``-`` in front for descending.
            limit: how many; the server may give fewer, see :attr:`Page.limit`.
            offset: how many to pass over.
            render: whether the server fills in the placeholders of summary and details.

        Raises:
            ValidationFailed: the server does not understand the filter or the order.
            ApiError: it could not be read.
        """
        listing = _listing(filter, select, order, limit, offset, render)
        return (yield from self._collection().page(listing))

    @rows_of(AuditRecord)
    def iterate(
        self,
        filter: object = None,
        *,
        select: Names = None,
        order: Names = None,
        limit: int | None = None,
        offset: int | None = None,
        render: bool = False,
    ) -> Steps[None]:
        """All records, page by page; ``limit`` is the size of a page.

        Records that arrive meanwhile neither hide a row nor double one. In order of time (``-timestamp``,
        the default, or ``timestamp``) each page begins where the last one ended, by timestamp and id; memory
        and the time for a page do not grow. In another order pages are counted, and the ids of all rows are
        remembered to recognise those that moved.

        Raises:
            ApiError: a page could not be read; what was yielded before is right.
        """
        yield from self._collection().iterate(_listing(filter, select, order, limit, offset, render))

    @rows_of(AuditRecord)
    def stream(
        self,
        filter: object = None,
        *,
        select: Names = None,
        order: Names = None,
        limit: int | None = None,
        offset: int | None = None,
        render: bool = False,
    ) -> Steps[None]:
        """All records as they are at one moment, in one answer; ``limit`` bounds their number.

        Where the server does not stream (501) they come page by page as from :meth:`iterate`.

        Raises:
            ApiConnectionError: the stream broke off before its end.
            ApiError: it could not be read.
        """
        yield from self._collection().stream(_listing(filter, select, order, limit, offset, render))

    def _collection(self) -> Collection[AuditRecord]:
        return Collection(self._PATH, functools.partial(_parse, AuditRecord), self.retries, by_time=True)


class _EventTypes(Resource):
    """Event types (``/audit/event-types``)."""

    _PATH = "/audit/event-types"

    @call
    def get(self, id: str, *, select: Names = None) -> Steps[EventType]:
        """One event type, by its id (``AET-…``).

        Raises:
            NotFound: there is none.
            ApiError: it could not be read.
        """
        row = yield from _get(self._PATH, id, select, False, self.retries)
        return _parse(EventType, row, partial=select is not None)

    @call
    def list(
        self,
        filter: object = None,
        *,
        select: Names = None,
        order: Names = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Steps[Page[EventType]]:
        """One page of event types; the arguments are those of ``records.list``.

        Raises:
            ApiError: it could not be read.
        """
        return (yield from self._collection().page(_listing(filter, select, order, limit, offset)))

    @rows_of(EventType)
    def iterate(
        self,
        filter: object = None,
        *,
        select: Names = None,
        order: Names = "key",
        limit: int | None = None,
        offset: int | None = None,
    ) -> Steps[None]:
        """All event types, by their key unless ``order`` says otherwise; ``limit`` is the size of a page.

        Raises:
            ApiError: a page could not be read.
        """
        yield from self._collection().iterate(_listing(filter, select, order, limit, offset))

    @rows_of(EventType)
    def stream(
        self,
        filter: object = None,
        *,
        select: Names = None,
        order: Names = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Steps[None]:
        """All event types in one answer, as ``records.stream``.

        Raises:
            ApiError: it could not be read.
        """
        yield from self._collection().stream(_listing(filter, select, order, limit, offset))

    @call
    def update(self, id: str, *, name: str | None = None, description: str | None = None) -> Steps[EventType]:
        """Changes the name or the description; what is None stays.

        Raises:
            NotFound: there is no such event type.
            ValidationFailed: the server does not take the value.
            ApiError: it could not be changed.
        """
        changes = {
            key: value for key, value in (("name", name), ("description", description)) if value is not None
        }
        if not changes:
            raise ConfigurationError("update: pass name= or description=")
        request = Request("PUT", _one(self._PATH, id), _JSON, _encode(changes))
        return _parse(EventType, json_object((yield from exchange(request, self.retries))))

    def _collection(self) -> Collection[EventType]:
        return Collection(self._PATH, functools.partial(_parse, EventType), self.retries)


class Records(_Records, Blocking):
    """Audit records, for blocking callers."""


class AsyncRecords(_Records, Awaiting):
    """Audit records, for awaiting callers."""


class EventTypes(_EventTypes, Blocking):
    """Event types, for blocking callers."""


class AsyncEventTypes(_EventTypes, Awaiting):
    """Event types, for awaiting callers."""


_JSON = {"Content-Type": "application/json"}


def _get(path: str, id: str, select: Names, render: bool, retries: Retries) -> Steps[dict[str, Any]]:
    query, target = Listing(select=select, render=render).query(), _one(path, id)
    request = Request("GET", f"{target}?{query}" if query else target)
    return json_object((yield from exchange(request, retries)))


def _one(path: str, id: str) -> str:
    if not isinstance(id, str) or not id.strip("."):  # dots would be another path
        raise ConfigurationError(f"{id!r} is no id")
    return f"{path}/{quote(id, safe='')}"


def _listing(
    filter: object,
    select: Names,
    order: Names,
    limit: int | None,
    offset: int | None,
    render: bool = False,
) -> Listing:
    return Listing(() if filter is None else (filter,), select, order, limit, offset, render)


def _submission(fields: dict[str, Any]) -> bytes:
    try:
        return _encode(Submission.model_validate(fields).to_wire())
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        raise RecordError(".".join(map(str, first["loc"])) or "record", first["input"], first["msg"]) from exc
    except (TypeError, ValueError, RecursionError) as exc:
        raise RecordError("documents", fields["documents"], f"must be JSON: {exc}") from exc


def _encode(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def _parse(model: type[M], row: dict[str, Any], partial: bool = False) -> M:
    """A row as its model; without its id, it is one only where ``select=`` can have taken that away."""
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    whole = {**dict.fromkeys(required if partial else required - {"id"}, ""), **row}
    try:
        return model.model_validate(whole)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ApiStatusError(
            f"the answer is no {model.__name__}: {where}: {first['msg']}", status=200
        ) from exc
