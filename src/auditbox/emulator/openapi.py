"""What ``/docs`` and ``/openapi.json`` say of each operation."""

from __future__ import annotations

from typing import Any

from auditbox.emulator.models import (
    AuditEventType,
    AuditEventTypeListResponse,
    AuditRecord,
    AuditRecordListResponse,
    ProblemDetails,
)

_MEDIA = ("application/json", "text/json", "application/*+json")
_WHY = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    406: "Not Acceptable",
    415: "Unsupported Media Type",
    501: "Not Implemented",
}
_NAMES = {
    "limit": "How many rows; the limit that holds is answered in $meta.pagination.limit.",
    "offset": "How many rows to pass over.",
    "order": "Properties, comma-separated; - in front for descending.",
    "select": "Properties to add; - in front to leave one out.",
}


def _operation(model: type, *errors: int, status: int = 200, **extra: Any) -> dict[str, Any]:
    return {
        "response_model": model,
        "response_model_exclude_none": True,
        "status_code": status,
        "responses": {
            code: {"description": _WHY[code]} | ({} if code == 401 else {"model": ProblemDetails})
            for code in (401, *errors)
        },
        "openapi_extra": extra,
    }


def _query(*names: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "description": _NAMES[name], "schema": {"type": "string"}}
        for name in names
    ]


def _accepts(model: type) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"required": True, "content": {media: {"schema": schema} for media in _MEDIA}}


DOCS: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/records"): _operation(
        AuditRecord, 400, 403, 404, 415, status=201, tags=["AuditRecords"], requestBody=_accepts(AuditRecord)
    ),
    ("GET", "/records"): _operation(
        AuditRecordListResponse, 400, 406, 501, tags=["AuditRecords"], parameters=_query(*_NAMES)
    ),
    ("GET", "/records/{id}"): _operation(
        AuditRecord, 404, tags=["AuditRecords"], parameters=_query("select")
    ),
    ("GET", "/event-types"): _operation(
        AuditEventTypeListResponse, 400, 406, 501, tags=["AuditEventTypes"], parameters=_query(*_NAMES)
    ),
    ("GET", "/event-types/{id}"): _operation(
        AuditEventType, 404, tags=["AuditEventTypes"], parameters=_query("select")
    ),
    ("PUT", "/event-types/{id}"): _operation(
        AuditEventType, 400, 403, 404, 415, tags=["AuditEventTypes"], requestBody=_accepts(AuditEventType)
    ),
}
