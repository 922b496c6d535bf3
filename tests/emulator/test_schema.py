"""The emulator's own description: the contract's paths and schemas, and the truth."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

from auditbox.emulator import create_app, running
from tests.emulator.conftest import TOKEN, submission

OPERATIONS = {
    ("/public/v1/audit/records", "post"),
    ("/public/v1/audit/records", "get"),
    ("/public/v1/audit/records/{id}", "get"),
    ("/public/v1/audit/event-types", "get"),
    ("/public/v1/audit/event-types/{id}", "get"),
    ("/public/v1/audit/event-types/{id}", "put"),
}
SCHEMAS = {
    "AuditEventType": {"id", "key", "name", "description"},
    "AuditEventTypeListResponse": {"$meta", "data"},
    "AuditRecord": {
        "id",
        "event",
        "summary",
        "details",
        "object",
        "timestamp",
        "actor",
        "type",
        "request",
        "documents",
        "viewers",
        "revision",
    },
    "AuditRecordActor": {"id", "name", "icon", "account"},
    "AuditRecordActorAccount": {"id", "name", "icon", "accountType"},
    "AuditRecordApiRequest": {"ip", "geolocation", "userAgent"},
    "AuditRecordListResponse": {"$meta", "data"},
    "AuditRecordLogInfo": {"requestId", "operationId"},
    "AuditRecordObject": {"id", "name", "icon", "objectType", "revision"},
    "AuditRecordRequest": {"api", "worker", "log"},
    "AuditRecordViewer": {"id", "name", "type", "icon"},
    "AuditRecordWorkerRequest": {"workerName"},
    "GeolocationData": {"countryCode", "countryName", "region"},
    "ListMetadata": {"pagination", "omitted"},
    "PaginationMetadata": {"offset", "limit", "total"},
    "ProblemDetails": {"type", "title", "status", "detail", "instance"},
}


def test_it_describes_the_contract() -> None:
    """/openapi.json has the contract's operations and schemas (with the newer texts' revision)."""
    described = create_app().openapi()
    assert {(path, verb) for path, verbs in described["paths"].items() for verb in verbs} == OPERATIONS
    schemas = {
        name: set(schema["properties"])
        for name, schema in described["components"]["schemas"].items()
        if name not in {"HTTPValidationError", "ValidationError"}
    }
    assert schemas == SCHEMAS


def test_docs(shared: httpx.Client) -> None:
    """/docs and /openapi.json are served, without a token."""
    root = str(shared.base_url).partition("/public")[0]
    assert "swagger" in httpx.get(f"{root}/docs").text
    assert httpx.get(f"{root}/openapi.json").json()["info"]["title"] == "Audit API (emulator)"


@pytest.fixture(scope="module")
def schema() -> Iterator[Any]:
    """The description as schemathesis reads it off a running emulator."""
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    with running() as emulator:
        yield schemathesis.openapi.from_url(f"{emulator.url}/openapi.json")


@pytest.mark.parametrize(("path", "verb"), sorted(OPERATIONS))
def test_no_error_and_no_violation(schema: Any, path: str, verb: str) -> None:
    """Whatever is sent, the emulator does not fail and answers what it describes."""

    @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=schema[path][verb.upper()].as_strategy())
    def check(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, checks=checks())

    check()


def test_good_answers_are_what_is_described(schema: Any) -> None:
    """A created record, its list with everything selected, and its event type conform to the description."""

    def ask(path: str, verb: str, **parts: Any) -> dict[str, Any]:
        case = schema[path][verb].Case(**parts)
        answer = case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, checks=checks())
        assert answer.status_code in {200, 201}
        return dict(answer.json())

    records, event_types = "/public/v1/audit/records", "/public/v1/audit/event-types"
    made = ask(records, "POST", body=submission(), media_type="application/json")
    ask(f"{records}/{{id}}", "GET", path_parameters={"id": made["id"]})
    ask(records, "GET", query={"select": "*", "order": "-timestamp"})
    kind = ask(event_types, "GET", query={"limit": "1"})["data"][0]
    path = {"id": kind["id"]}
    ask(f"{event_types}/{{id}}", "GET", path_parameters=path)
    body = {"description": "D"}
    ask(f"{event_types}/{{id}}", "PUT", path_parameters=path, body=body, media_type="application/json")


def checks() -> list[Any]:
    """What is asked of every answer; the contract's schemas are laxer on requests than its rules."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    return [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
