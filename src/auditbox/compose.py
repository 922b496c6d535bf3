"""From what the caller says to the bytes that are stored and later sent: validate, enrich, redact, encode."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from auditbox.context import current_scope, current_trace
from auditbox.encoding import cut, plain, to_json
from auditbox.errors import ConfigurationError, RecordError
from auditbox.names import Events, check_object_id
from auditbox.outbox.base import Draft
from auditbox.redaction import Redaction
from auditbox.uuid7 import uuid7

SHARES = frozenset({"name", "address", "user_agent", "source", "trace"})
"""What every reader of the object may see only where the application says so (``share=``)."""

_REQUEST = {"id": "id", "method": "method", "route": "route", "status": "status", "durationMs": "durationMs"}
_SHARED_REQUEST = {"address": "address", "user_agent": "userAgent"}
_OBJECT_FIELDS = {"id": "id", "name": "name", "objectType": "objectType", "object_type": "objectType"}
_LONGEST_TEXT = 4096


class Composer:
    """Makes drafts. One per trail; holds what is the same for every record of it."""

    def __init__(
        self,
        events: Events,
        redaction: Redaction,
        *,
        share: Iterable[str] = (),
        default_object: str | None = None,
        max_record_bytes: int = 256 * 1024,
    ) -> None:
        self._resolve = events.resolve
        self._clean, self._text = redaction.clean, redaction.text
        self._share = frozenset(share)
        if unknown := self._share - SHARES:
            raise ConfigurationError(f"share={sorted(unknown)}: known are {', '.join(sorted(SHARES))}")
        self._default_object = None if default_object is None else check_object_id(default_object)
        if max_record_bytes < 4 * _LONGEST_TEXT:
            raise ConfigurationError(f"max_record_bytes={max_record_bytes}: at least {4 * _LONGEST_TEXT}")
        self._max_bytes = max_record_bytes
        self._second, self._stamp = 0, ""

    def draft(
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
        full, title = self._resolve(event)
        scope = current_scope()
        if scope is not None:
            object = object or scope.get("object")
            actor = actor or scope.get("actor")
            request = {**(scope.get("request") or {}), **(request or {})} or None
            outer = scope.get("documents")
            documents = {**outer, **(documents or {})} if outer else documents
        id = uuid7()
        own: dict[str, Any] = {
            "id": id,
            "occurredAt": self._now() if occurred_at is None else _occurred(occurred_at),
        }
        about = self._object(object or self._default_object, event)
        self._enrich(own, actor, request, source, outcome)
        summary = title if not summary else self._text(_text("summary", summary))
        details = self._details(summary, own) if not details else self._text(_text("details", details))
        payload = {"event": full, "summary": summary, "details": details, "object": about}
        body = self._encode(payload, self._documents(documents), own)
        return Draft(id, about["id"] if lane is None else _lane(lane), body)

    def _now(self) -> str:
        now = time.time_ns() // 1_000_000
        second, milliseconds = divmod(now, 1000)
        if second != self._second:
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._stamp}.{milliseconds:03d}Z"

    def _object(self, given: Any, event: str) -> dict[str, Any]:
        if type(given) is str:
            return {"id": check_object_id(given)}
        if given is None:
            raise RecordError(
                "object",
                None,
                f"{event} needs an object: object=…, audit_context(object=…) or default_object=…",
            )
        if isinstance(given, Mapping):
            if unknown := given.keys() - _OBJECT_FIELDS.keys():
                raise RecordError(
                    "object",
                    given,
                    f"unknown key {sorted(map(str, unknown))[0]!r}; known: id, name, objectType",
                )
            about = {_OBJECT_FIELDS[key]: value for key, value in given.items() if value is not None}
        else:
            names = {"id": "id", "name": "name", "object_type": "objectType"}
            about = {wire: getattr(given, name, None) for name, wire in names.items()}
            about = {wire: value for wire, value in about.items() if isinstance(value, str)}
        check_object_id(about.get("id", given))
        cleaned = self._clean(about)
        assert isinstance(cleaned, dict)
        return cleaned

    def _enrich(self, own: dict[str, Any], actor: Any, request: Any, source: Any, outcome: Any) -> None:
        share = self._share
        if actor is not None and (who := self._actor(actor)):
            own["actor"] = who
        if request is not None and (what := self._request(request)):
            own["request"] = what
        if share and "trace" in share and (trace := current_trace()):
            own["trace"] = trace
        if source is not None and "source" in share:
            own["source"] = self._clean(source)
        if outcome is not None:
            own["outcome"] = self._clean({"status": outcome} if isinstance(outcome, str) else outcome)

    def _actor(self, actor: Any) -> dict[str, Any]:
        if isinstance(actor, str):
            return {"id": self._text(actor)}
        known = plain(actor)
        if not isinstance(known, dict):
            raise RecordError("actor", actor, "an id, or a mapping with an id and perhaps a name")
        if "name" not in self._share:
            known = {"id": known["id"]} if known.get("id") is not None else {}
        cleaned = self._clean(known)
        return cleaned if isinstance(cleaned, dict) else {}

    def _request(self, request: Any) -> dict[str, Any]:
        if not isinstance(request, Mapping):
            raise RecordError("request", request, "a mapping with id, method, route, address, …")
        names = dict(_REQUEST)
        names.update({wire: wire for share, wire in _SHARED_REQUEST.items() if share in self._share})
        known = {name: request[name] for name in names if request.get(name) is not None}
        cleaned = self._clean(known)
        return cleaned if isinstance(cleaned, dict) else {}

    def _details(self, summary: str, own: dict[str, Any]) -> str:
        """The portal shows the token as the actor, so the text names who really acted."""
        actor = own.get("actor")
        if not actor:
            return summary
        return f"{summary} by {{{{auditbox.actor.{'name' if actor.get('name') else 'id'}}}}}"

    def _documents(self, documents: Mapping[str, Any] | None) -> dict[str, Any]:
        if not documents:
            return {}
        if not isinstance(documents, Mapping):
            raise RecordError("documents", documents, "a mapping of names to values")
        if "auditbox" in documents:
            raise RecordError("documents", "auditbox", "this name is reserved for what auditbox adds itself")
        cleaned = self._clean(documents)
        return cleaned if isinstance(cleaned, dict) else {"documents": cleaned}

    def _encode(self, payload: dict[str, Any], documents: dict[str, Any], own: dict[str, Any]) -> bytes:
        """The wire's JSON. It ends in the three braces of auditbox, documents and the record itself."""
        payload["documents"] = {**documents, "auditbox": own}
        body = to_json(payload)
        if len(body) <= self._max_bytes:
            return body
        return self._shorten(payload, own)

    def _shorten(self, payload: dict[str, Any], own: dict[str, Any]) -> bytes:
        """What is too large has its documents cut and marked; never dropped."""
        for field in ("summary", "details"):
            if len(payload[field]) > _LONGEST_TEXT:
                payload[field] = payload[field][:_LONGEST_TEXT] + "…[cut]"
        payload["object"] = {key: value[:_LONGEST_TEXT] for key, value in payload["object"].items()}
        documents = payload["documents"]
        del documents["auditbox"]
        kept = {key: own[key] for key in ("id", "occurredAt")}
        rest = {key: value for key, value in own.items() if key not in kept}
        kept.update(cut(rest, self._max_bytes // 4))
        payload["documents"] = {"auditbox": kept}
        room = self._max_bytes - len(to_json(payload))
        payload["documents"] = {**cut(documents, room), "auditbox": kept}
        return to_json(payload)


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise RecordError(field, value, "a text")
    return value


def _lane(lane: object) -> str:
    if not isinstance(lane, str) or not 0 < len(lane) <= 200:
        raise RecordError("lane", lane, "a text of 1 to 200 characters")
    return lane


def _occurred(at: datetime) -> str:
    if not isinstance(at, datetime):
        raise RecordError("occurred_at", at, "a datetime")
    if at.tzinfo is None:
        raise RecordError("occurred_at", at, "a datetime with a time zone, such as datetime.now(UTC)")
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
