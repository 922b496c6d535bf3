"""The shapes of the Audit API (SoftwareOne Marketplace, ``/public/v1/audit``).

A **submission** is what a client posts: ``event``, ``object``, ``summary``, ``details``, ``documents``. An
:class:`AuditRecord` is what the API answers: the same, completed by the server. On the wire names are
camelCase and absent means null; unknown fields are kept out of the way when reading.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_serializer
from pydantic.alias_generators import to_camel

from auditbox.errors import RecordError, UndeclaredEvent

OBJECT_ID = re.compile(r"[A-Z]{3,4}(?:-[0-9]{4})+")
"""``PREFIX-dddd-dddd…``: the form of every id of the platform; prefixes are not checked."""

SUBMITTED_EVENT = re.compile(r"extensions\.[^.\s]+\.[^\s]+")
"""``extensions.<extension>.<event>``: the only events that a client may submit (canon BR-004)."""

_SEGMENTS = re.compile(r"[^.\s]+(?:\.[^.\s]+)*")


def check_object_id(value: object) -> str:
    """The id itself, or a RecordError that names the form it must have."""
    if isinstance(value, str) and OBJECT_ID.fullmatch(value):
        return value
    raise RecordError("object", value, "an object id looks like ORD-1208-2301-8479 (PREFIX-dddd-dddd…)")


def full_event(event: object, extension: str | None = None) -> str:
    """The submitted form of an event: ``order.approved`` of ``shop`` is ``extensions.shop.order.approved``.

    Raises:
        RecordError: the event has no dotted form, or is short and there is no extension to put before it.
    """
    if isinstance(event, str):
        if event.startswith("extensions."):
            if SUBMITTED_EVENT.fullmatch(event) and _SEGMENTS.fullmatch(event):
                return event
        elif _SEGMENTS.fullmatch(event) and not event.startswith("platform."):
            if extension is not None:
                return f"extensions.{extension}.{event}"
            raise RecordError(
                "event", event, 'set extension="…" on the trail, or write extensions.<extension>.<event>'
            )
    raise RecordError("event", event, "an event looks like order.approved or extensions.<extension>.<event>")


class Events:
    """The events that a trail may submit, with their titles; knows every full form after its first use.

    An event that was mistyped creates an event type that nobody can delete, so with ``declared`` anything
    else is an UndeclaredEvent.
    """

    def __init__(self, extension: str | None = None, declared: dict[str, str] | None = None) -> None:
        self.extension = extension
        self._known = {}
        self._declared = declared is not None
        for event, title in (declared or {}).items():
            full = full_event(event, extension)
            self._known[event] = self._known[full] = (full, title or full)

    def resolve(self, event: str) -> tuple[str, str]:
        """The full event and its title (the event itself where none was declared)."""
        try:
            return self._known[event]
        except (KeyError, TypeError):
            pass
        full = full_event(event, self.extension)
        if full in self._known:
            return self._known[full]
        if self._declared:
            names = ", ".join(sorted({full for full, _ in self._known.values()})) or "none"
            raise UndeclaredEvent(
                "event", event, f"declare it in the trail's events={{…}}; declared: {names}"
            )
        if len(self._known) < 10_000:
            self._known[event] = (full, full)
        return full, full


class Model(BaseModel):
    """camelCase on the wire, snake_case here; unknown fields are ignored; values are frozen."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="ignore", frozen=True
    )

    def to_wire(self) -> dict[str, Any]:
        """The JSON shape: camelCase, absent instead of null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class AuditObject(Model):
    """The object that a record is about."""

    id: str
    name: str | None = None
    icon: str | None = None
    object_type: str | None = None
    revision: int | None = None


class Account(Model):
    """The account that an actor belongs to."""

    id: str | None = None
    name: str | None = None
    icon: str | None = None
    account_type: str | None = None
    """``Client``, ``Vendor`` or ``Operations``."""


class Actor(Model):
    """Who did it; for records submitted over the API the token."""

    id: str | None = None
    name: str | None = None
    icon: str | None = None
    account: Account | None = None


class Geolocation(Model):
    """Where a web request came from, as far as its address tells."""

    country_code: str | None = None
    country_name: str | None = None
    region: str | None = None


class ApiRequest(Model):
    """The web request that made the record."""

    ip: str | None = None
    user_agent: str | None = None
    geolocation: Geolocation | None = None


class WorkerRequest(Model):
    """The platform's worker that made the record."""

    worker_name: str | None = None


class LogInfo(Model):
    """The server's own correlation ids."""

    request_id: str | None = None
    operation_id: str | None = None


class RequestInfo(Model):
    """How the record reached the server: from a web request or from a worker."""

    api: ApiRequest | None = None
    worker: WorkerRequest | None = None
    log: LogInfo | None = None


class Viewer(Model):
    """An account that may read the record."""

    id: str
    name: str | None = None
    type: str | None = None
    icon: str | None = None


def _submitted(event: str) -> str:
    if not SUBMITTED_EVENT.fullmatch(event):
        raise ValueError("must be extensions.<extension>.<event>")
    return event


class Submission(Model):
    """What a client may post as a new record."""

    event: Annotated[str, AfterValidator(_submitted)]
    summary: Annotated[str, Field(min_length=1)]
    details: Annotated[str, Field(min_length=1)]
    object: AuditObject | None = None
    documents: dict[str, Any] | None = None
    type: Literal["Private", "Public"] | None = None


class AuditRecord(Model):
    """A record of the trail, as the Audit API answers it."""

    id: str
    event: str
    summary: str | None = None
    details: str | None = None
    object: AuditObject | None = None
    documents: dict[str, Any] | None = None
    """Absent from lists unless ``select=+documents`` asks for it."""
    type: str | None = None
    timestamp: datetime | None = None
    """When the record reached the server, UTC."""
    actor: Actor | None = None
    request: RequestInfo | None = None
    viewers: list[Viewer] | None = None
    revision: int | None = None

    @field_serializer("timestamp")
    def _milliseconds(self, timestamp: datetime | None) -> str | None:
        """The documented form: UTC, three digits, ``Z``."""
        if timestamp is None:
            return None
        return timestamp.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def auditbox(self) -> dict[str, Any]:
        """What auditbox knew at capture (``documents["auditbox"]``); empty where it is absent."""
        own = (self.documents or {}).get("auditbox")
        return own if isinstance(own, dict) else {}


class EventType(Model):
    """An event type of the Audit API; made by the first record that has its key."""

    id: str
    key: str | None = None
    name: str | None = None
    description: str | None = None
