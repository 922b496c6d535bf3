"""What ``/docs`` and ``/openapi.json`` say of each operation."""

from __future__ import annotations

from collections.abc import Callable
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
_WRITING = (400, 403, 404, 413, 415, 500)
_NAMES = {
    "limit": "How many rows; the limit that holds is answered in $meta.pagination.limit.",
    "offset": "How many rows to pass over.",
    "order": "Properties, comma-separated; - in front for descending.",
    "select": "Properties to add; - in front to leave one out.",
}


def _operation(summary: str, model: type, *errors: int, status: int = 200, **extra: Any) -> dict[str, Any]:
    return {
        "summary": summary,
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


def _accepts(model: type, example: dict[str, Any]) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}, "example": example}
    return {"required": True, "content": dict.fromkeys(_MEDIA, content)}


def _read(summary: str, model: type, tag: str) -> dict[str, Any]:
    return _operation(summary, model, 404, tags=[tag], parameters=[_ID, *_query("select")])


def _list(summary: str, model: type, tag: str) -> dict[str, Any]:
    return _operation(summary, model, 400, 406, 413, 501, tags=[tag], parameters=_query(*_NAMES))


_RECORD = {
    "event": "extensions.shop.order.approved",
    "summary": "Order approved",
    "details": "{{order.id}} was approved by {{actor.name}}.",
    "object": {"id": "ORD-1208-2301-8479"},
    "documents": {"order": {"id": "ORD-1208-2301-8479", "status": "Processing"}},
}
_CREATE = _operation(
    "Creates a new audit record for the object specified in body.",
    AuditRecord,
    *_WRITING,
    status=201,
    tags=["AuditRecords"],
    requestBody=_accepts(AuditRecord, _RECORD),
)
_UPDATE = _operation(
    "Updates an existing event type.",
    AuditEventType,
    *_WRITING,
    tags=["AuditEventTypes"],
    parameters=[_ID],
    requestBody=_accepts(AuditEventType, {"name": "Order approved", "description": "By a person."}),
)

DOCS: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/records"): _CREATE,
    ("GET", "/records"): _list("Lists audit records.", AuditRecordListResponse, "AuditRecords"),
    ("GET", "/records/{id}"): _read("Gets an audit record.", AuditRecord, "AuditRecords"),
    ("GET", "/event-types"): _list("Lists event types.", AuditEventTypeListResponse, "AuditEventTypes"),
    ("GET", "/event-types/{id}"): _read("Gets an event type.", AuditEventType, "AuditEventTypes"),
    ("PUT", "/event-types/{id}"): _UPDATE,
}

_TOKEN = {"type": "http", "scheme": "bearer", "description": "Lax, such as idt:TKN-1234-5678:local."}


def secured(describe: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """The description with the token that every operation needs, so that a page can ask for it."""

    def described() -> dict[str, Any]:
        schema = describe()
        schema["components"]["securitySchemes"] = {"token": _TOKEN}
        schema["security"] = [{"token": []}]
        return schema

    return described
