"""The contract's schemas under the contract's names; for ``/openapi.json``, not for the hot path."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


def _plain(schema: dict[str, Any]) -> None:
    """The contract's schemas have neither titles nor defaults."""
    for part in schema["properties"].values():
        part.pop("title", None)
        part.pop("default", None)


class _Schema(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", json_schema_extra=_plain)


class GeolocationData(_Schema):
    country_code: str = ""
    country_name: str = ""
    region: str = ""


class AuditRecordApiRequest(_Schema):
    ip: str = ""
    geolocation: GeolocationData = GeolocationData()
    user_agent: str = ""


class AuditRecordWorkerRequest(_Schema):
    worker_name: str = ""


class AuditRecordLogInfo(_Schema):
    request_id: str = ""
    operation_id: str = ""


class AuditRecordRequest(_Schema):
    api: AuditRecordApiRequest = AuditRecordApiRequest()
    worker: AuditRecordWorkerRequest = AuditRecordWorkerRequest()
    log: AuditRecordLogInfo = AuditRecordLogInfo()


class AuditRecordObject(_Schema):
    id: str = ""
    name: str | None = None
    icon: str | None = None
    object_type: str = ""
    revision: int = 0


class AuditRecordActorAccount(_Schema):
    id: str = ""
    name: str = ""
    icon: str | None = None
    account_type: str = ""


class AuditRecordActor(_Schema):
    id: str = ""
    name: str = ""
    icon: str | None = None
    account: AuditRecordActorAccount = AuditRecordActorAccount()


class AuditRecordViewer(_Schema):
    id: str = ""
    name: str | None = None
    type: str = ""
    icon: str | None = None


class AuditRecordType(StrEnum):
    PRIVATE = "Private"
    PUBLIC = "Public"


class AuditRecord(_Schema):
    id: str = ""
    event: str = ""
    summary: str = ""
    details: str = ""
    object: AuditRecordObject = AuditRecordObject()
    timestamp: datetime = datetime.min
    actor: AuditRecordActor = AuditRecordActor()
    type: AuditRecordType = AuditRecordType.PUBLIC
    request: AuditRecordRequest = AuditRecordRequest()
    documents: dict[str, Any] | None = None
    viewers: list[AuditRecordViewer] = []
    revision: int = 0


class AuditEventType(_Schema):
    id: str = ""
    key: str = ""
    name: str = ""
    description: str = ""


class PaginationMetadata(_Schema):
    offset: int
    limit: int
    total: int


class ListMetadata(_Schema):
    pagination: PaginationMetadata
    omitted: list[str] = []


class AuditRecordListResponse(_Schema):
    meta: ListMetadata = Field(alias="$meta")
    data: list[AuditRecord]


class AuditEventTypeListResponse(_Schema):
    meta: ListMetadata = Field(alias="$meta")
    data: list[AuditEventType]


class ProblemDetails(BaseModel):
    model_config = ConfigDict(extra="allow", json_schema_extra=_plain)

    type: str | None = None
    title: str | None = None
    status: int | None = None
    detail: str | None = None
    instance: str | None = None
