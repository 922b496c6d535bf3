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
    413: "Content Too Large",
    415: "Unsupported Media Type",
    500: "Internal Server Error",
    501: "Not Implemented",
}
_BODILESS = (401, 500)
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
            code: {"description": _WHY[code]} | ({} if code in _BODILESS else {"model": ProblemDetails})
            for code in (401, *errors)
        },
        "openapi_extra": extra,
    }


def _query(*names: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "description": _NAMES[name], "schema": {"type": "string"}}
        for name in names
    ]


# Described here and read off the request: a declared argument would promise FastAPI's own 422.
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def _accepts(model: type) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"required": True, "content": {media: {"schema": schema} for media in _MEDIA}}


def _read(model: type, tag: str) -> dict[str, Any]:
    return _operation(model, 404, tags=[tag], parameters=[_ID, *_query("select")])


def _list(model: type, tag: str) -> dict[str, Any]:
    return _operation(model, 400, 406, 413, 501, tags=[tag], parameters=_query(*_NAMES))


_CREATE = _operation(
    AuditRecord,
    400,
    403,
    404,
    413,
    415,
    500,
    status=201,
    tags=["AuditRecords"],
    requestBody=_accepts(AuditRecord),
)
_UPDATE = _operation(
    AuditEventType,
    400,
    403,
    404,
    413,
    415,
    500,
    tags=["AuditEventTypes"],
    parameters=[_ID],
    requestBody=_accepts(AuditEventType),
)

DOCS: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/records"): _CREATE,
    ("GET", "/records"): _list(AuditRecordListResponse, "AuditRecords"),
    ("GET", "/records/{id}"): _read(AuditRecord, "AuditRecords"),
    ("GET", "/event-types"): _list(AuditEventTypeListResponse, "AuditEventTypes"),
    ("GET", "/event-types/{id}"): _read(AuditEventType, "AuditEventTypes"),
    ("PUT", "/event-types/{id}"): _UPDATE,
}
