"""The shapes of the Audit API (SoftwareOne Marketplace, ``/public/v1/audit``).

A **submission** is what a client posts: ``event``, ``object``, ``summary``, ``details``, ``documents``. An
:class:`AuditRecord` is what the API answers: the same, completed by the server. On the wire names are
camelCase and absent means null; unknown fields are kept out of the way when reading.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_serializer
from pydantic.alias_generators import to_camel

from auditbox.names import SUBMITTED_EVENT


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

    model_config = ConfigDict(
        ser_json_inf_nan="constants"
    )  # so that encoding refuses them: null is no number

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
