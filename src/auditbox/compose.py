"""From what the caller says to the bytes that are stored and later sent: validate, enrich, redact, encode.

What auditbox itself knows for certain (the event, the entry's id, the time) is joined to the bytes after the
redaction, which so can never alter it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from time import time_ns
from typing import Any

from auditbox.checks import checked, is_count
from auditbox.context import Scope, current_scope, current_trace
from auditbox.encoding import LONE_SURROGATE, cut, is_interruption, plain, to_json, unused
from auditbox.errors import ConfigurationError, RecordError
from auditbox.names import NO_OBJECT, OBJECT_KEYS, Events, check_object_id, is_object_id
from auditbox.outbox.base import Draft
from auditbox.redaction import Redaction
from auditbox.uuid7 import uuid7

SHARES = frozenset({"name", "address", "user_agent", "source", "trace"})
"""What every reader of the object may see only where the application says so (``share=``)."""

_REQUEST = ("id", "method", "route", "status", "durationMs")
_SHARED_REQUEST = {"address": "address", "user_agent": "userAgent"}
_draft = functools.partial(tuple.__new__, Draft)  # what Draft(…) does, without a Python frame of its own
_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1000))
_LONGEST_TEXT = 4096
_LEAST_BYTES = 4 * _LONGEST_TEXT
_JOINED_BYTES = 256
"""Of a body: what the relay joins when it sends, and some to spare."""
_OWN_BYTES = 512
"""The same, and the event, the id and the time."""


class Composer:
    """Makes drafts. One per trail; holds what is the same for every record of it.

    Args:
        events: what may be submitted, and how it is called.
        redaction: what is masked.
        share: see :data:`SHARES`.
        default_object: the object of records that name none.
        max_record_bytes: the most that a body may take.
    """

    def __init__(
        self,
        events: Events,
        redaction: Redaction,
        *,
        share: Iterable[str] = (),
        default_object: str | None = None,
        max_record_bytes: int = 256 * 1024,
    ) -> None:
        self._known, self._resolve, self._redaction = events.known, events.resolve, redaction
        self._share = frozenset(share)
        if unknown := self._share - SHARES:
            raise ConfigurationError(f"share={sorted(unknown)}: known are {', '.join(sorted(SHARES))}")
        try:
            self._default_object = None if default_object is None else check_object_id(default_object)
        except RecordError as error:
            raise ConfigurationError(f"default_object={default_object!r}: {error.rule}") from error
        enough = is_count(max_record_bytes) and max_record_bytes >= _LEAST_BYTES
        checked("max_record_bytes", max_record_bytes, enough, f"a whole number, at least {_LEAST_BYTES}")
        self._most, self._room = max_record_bytes - _JOINED_BYTES, max_record_bytes - _OWN_BYTES
        self._request_names = (*_REQUEST, *(_SHARED_REQUEST[s] for s in self._share & _SHARED_REQUEST.keys()))
        self._second = (0, "")

    def draft(  # noqa: PLR0912 - one frame, because every capture pays for each further one
        self,
        event: str,
        object: Any = None,
        summary: str | None = None,
        details: str | None = None,
        documents: Mapping[str, Any] | None = None,
        actor: Any = None,
        outcome: Any = None,
        occurred_at: datetime | None = None,
        lane: str | None = None,
        request: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> Draft:
        """A draft of this record, completed from the context, without secrets, encoded.

        Raises:
            RecordError: a value breaks a rule of the contract; names the field, the value and the rule.
        """
        try:
            full, title = self._known[event]
        except (KeyError, TypeError):
            full, title = self._resolve(event)
        scope = current_scope()
        if scope is not None:
            object, actor, request, documents = _completed(scope, object, actor, request, documents)
        if type(object) is str and is_object_id(object):
            about = {"id": object}
        else:
            about = self._object(object or self._default_object or object, event)
        if actor is request is outcome is None and not self._share:
            own: dict[str, Any] = {}
        else:
            own = self._own(actor, request, source, outcome)
        if not summary:
            summary = title
        elif type(summary) is not str:
            summary = _text("summary", summary)
        if not details:
            details = _details(summary, own) if own else summary
        elif type(details) is not str:
            details = _text("details", details)
        now = time_ns() // 1_000_000
        own["id"] = id = uuid7(now)
        if occurred_at is None:
            second, text = self._second  # one value, so that threads see a second and its text together
            if now // 1000 != second:
                text = self._next_second(now // 1000)
            own["occurredAt"] = text + _MILLISECONDS[now % 1000]
        else:
            own["occurredAt"] = _occurred(occurred_at)
        if type(documents) is dict and "auditbox" not in documents:
            known = documents.copy()
        else:
            known = _mapping(documents) if documents else {}
        # Last, as the documents are in the record: the relay joins what it adds at the end.
        known["auditbox"] = own
        whole = {"event": full, "summary": summary, "details": details, "object": about, "documents": known}
        body = self._redaction.quick_json(whole)
        if body is None or len(body) > self._most:
            body = self._careful(whole)
        return _draft((id, about["id"] or id if lane is None else self._lane(lane), body))

    def _next_second(self, second: int) -> str:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self._second = (second, text)
        return text

    def _careful(self, whole: dict[str, Any]) -> bytes:
        """The record without secrets and not too large; what auditbox itself knows stays as it is.

        Part by part: a document or a sensitive key may be called as the record's own parts are.
        """
        clean, text = self._redaction.clean, self._redaction.text
        about, documents = whole["object"], whole["documents"]
        own = documents.pop("auditbox")
        id, occurred = own.pop("id"), own.pop("occurredAt")
        record: Any = {
            "summary": text(whole["summary"]),
            "details": text(whole["details"]),
            "object": {**_as_dict(clean(about)), "id": about["id"]},
            "documents": {**_freed(_as_dict(clean(documents))), "auditbox": clean(own)},
        }
        encoded = to_json(record)
        if len(encoded) > self._room:
            encoded = self._shortened(record)
        comma = b"" if encoded.endswith(b"{}}}") else b","
        tail = f'"id":"{id}","occurredAt":"{occurred}"}}}}}}'.encode()
        return f'{{"event":"{whole["event"]}",'.encode() + encoded[1:-3] + comma + tail

    def _lane(self, lane: object) -> str:
        if isinstance(lane, str) and 0 < len(lane) <= 200:
            lane = self._redaction.text(str.__str__(lane))
            # SQLite stores no lone surrogate, and its functions take a NUL for the end.
            if "\0" not in lane and not LONE_SURROGATE.search(lane):
                return lane
        raise RecordError("lane", lane, "a text of 1 to 200 characters that UTF-8 can hold, without NUL")

    def _object(self, given: Any, event: str) -> dict[str, Any]:
        if isinstance(given, str):
            return {"id": check_object_id(given)}
        if given is NO_OBJECT:
            return {**NO_OBJECT}
        if given is None:
            raise RecordError(
                "object", None, f"{event} needs one: object=…, audit_context(object=…) or default_object=…"
            )
        about = _object_parts(given)
        about["id"] = check_object_id(about.get("id", given))
        return about

    def _own(self, actor: Any, request: Any, source: Any, outcome: Any) -> dict[str, Any]:
        """What goes into ``documents["auditbox"]`` besides the id and the time."""
        share = self._share
        own: dict[str, Any] = {}
        if actor is not None and (who := self._actor(actor)):
            own["actor"] = who
        if request is not None and (what := self._request(request)):
            own["request"] = what
        if share and "trace" in share and (trace := current_trace()):
            own["trace"] = trace
        if share and "source" in share and source is not None:
            own["source"] = source
        if outcome is not None:
            own["outcome"] = {"status": outcome} if isinstance(outcome, str) else outcome
        return own

    def _actor(self, actor: Any) -> dict[str, Any]:
        if isinstance(actor, str):
            return {"id": actor}
        known = plain(actor)
        if not isinstance(known, dict):
            raise RecordError("actor", actor, "an id, or a mapping with an id and perhaps a name")
        if "name" in self._share:
            return known
        return {"id": known["id"]} if known.get("id") is not None else {}

    def _request(self, request: Any) -> dict[str, Any]:
        if not isinstance(request, Mapping):
            raise RecordError("request", request, "a mapping with id, method, route, address, …")
        return {name: request[name] for name in self._request_names if request.get(name) is not None}

    def _shortened(self, clean: dict[str, Any]) -> bytes:
        """What is too large has its documents cut and marked; never dropped."""
        for field in ("summary", "details"):
            if len(clean[field]) > _LONGEST_TEXT // 4:
                clean[field] = clean[field][: _LONGEST_TEXT // 4] + "…[cut]"
        clean["object"] = {"id": clean["object"]["id"], **cut(clean["object"], _LONGEST_TEXT)}
        documents, own = clean["documents"], clean["documents"].pop("auditbox")
        clean["documents"] = {"auditbox": cut(own, _LONGEST_TEXT)}
        clean["documents"] = {**cut(documents, self._room - len(to_json(clean))), **clean["documents"]}
        return to_json(clean)


def _completed(scope: Scope, object: Any, actor: Any, request: Any, documents: Any) -> tuple[Any, ...]:
    """What the call says, else what the context knows; requests and documents are joined."""
    known, outer = scope.get("request"), scope.get("documents")
    if known:
        request = {**known, **request} if request else known
    if outer:
        documents = {**outer, **_mapping(documents)} if documents else outer
    return object or scope.get("object") or object, actor or scope.get("actor"), request, documents


def _mapping(documents: Any) -> dict[str, Any]:
    """A copy of the documents, of which only the outermost dict is new."""
    if type(documents) is not dict and not isinstance(documents, Mapping):
        raise RecordError("documents", documents, "a mapping of names to values")
    if "auditbox" in documents:
        raise RecordError("documents", "auditbox", "this name is reserved for what auditbox adds itself")
    try:
        return {**documents}
    except Exception as error:  # keys that are no texts, a thread that changes it, a mapping that fails
        if is_interruption(error):
            raise
        copied = plain(documents)
        return copied if isinstance(copied, dict) else {"documents": copied}


def _as_dict(cleaned: Any) -> dict[str, Any]:
    return cleaned if isinstance(cleaned, dict) else {"documents": cleaned}


def _freed(documents: dict[str, Any]) -> dict[str, Any]:
    """The documents, with the reserved name free: a key that was no text may have become it."""
    if "auditbox" in documents:
        other = unused("auditbox", documents)
        documents[other] = documents.pop("auditbox")
    return documents


def _object_parts(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        parts = {wire: getattr(given, name, None) for name, wire in OBJECT_KEYS.items()}
        return {wire: value for wire, value in parts.items() if isinstance(value, str)}
    if unknown := given.keys() - OBJECT_KEYS.keys():
        first = sorted(map(str, unknown))[0]
        raise RecordError("object", given, f"unknown key {first!r}; known: id, name, objectType")
    return {OBJECT_KEYS[name]: value for name, value in given.items() if value is not None}


def _details(summary: str, own: Mapping[str, Any]) -> str:
    """The portal shows the token as the actor, so the text names who really acted."""
    actor = own.get("actor")
    if not actor:
        return summary
    return f"{summary} by {{{{auditbox.actor.{'name' if actor.get('name') else 'id'}}}}}"


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise RecordError(field, value, "a text")
    return value


def _occurred(at: datetime) -> str:
    if not isinstance(at, datetime):
        raise RecordError("occurred_at", at, "a datetime")
    if at.tzinfo is None:
        raise RecordError("occurred_at", at, "a datetime with a time zone, such as datetime.now(UTC)")
    try:
        return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except Exception as error:  # out of range, or a time zone that fails
        if is_interruption(error):
            raise
        raise RecordError("occurred_at", at, "a datetime that exists in UTC, too") from error
