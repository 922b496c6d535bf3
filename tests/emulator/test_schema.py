"""The emulator's own description: the contract's paths and schemas, and the truth."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

from auditbox.emulator import running
from tests.emulator.conftest import TOKEN, submission

BODY = {"application/json", "text/json", "application/*+json"}
PROBLEM = "ProblemDetails"
# The contract's operations: the good status with its schema, the declared errors, the body's schema, what is
# asked in path and query, and the tag.
OPERATIONS: dict[tuple[str, str], tuple[str, str, set[str], str | None, set[str], str]] = {
    ("/public/v1/audit/records", "post"): (
        "201", "AuditRecord", {"403", "404", "500"}, "AuditRecord", set(), "AuditRecords"
    ),
    ("/public/v1/audit/records", "get"): (
        "200", "AuditRecordListResponse", set(), None, set(), "AuditRecords"
    ),
    ("/public/v1/audit/records/{id}", "get"): (
        "200", "AuditRecord", {"404"}, None, {"id", "select"}, "AuditRecords"
    ),
    ("/public/v1/audit/event-types", "get"): (
        "200", "AuditEventTypeListResponse", set(), None, set(), "AuditEventTypes"
    ),
    ("/public/v1/audit/event-types/{id}", "get"): (
        "200", "AuditEventType", {"404"}, None, {"id", "select"}, "AuditEventTypes"
    ),
    ("/public/v1/audit/event-types/{id}", "put"): (
        "200", "AuditEventType", {"403", "404", "500"}, "AuditEventType", {"id"}, "AuditEventTypes"
    ),
}  # fmt: skip
# Its schemas: each property with its type; ? may be null, [] is a list, a name is another schema.
SCHEMAS = {
    "AuditEventType": "id string, key string, name string, description string",
    "AuditEventTypeListResponse": "$meta ListMetadata, data AuditEventType[]",
    "AuditRecord": "id string, event string, summary string, details string, object AuditRecordObject, "
    "timestamp date-time, actor AuditRecordActor, type AuditRecordType, request AuditRecordRequest, "
    "documents object?, viewers AuditRecordViewer[], revision integer",
    "AuditRecordActor": "id string, name string, icon string?, account AuditRecordActorAccount",
    "AuditRecordActorAccount": "id string, name string, icon string?, accountType string",
    "AuditRecordApiRequest": "ip string, geolocation GeolocationData, userAgent string",
    "AuditRecordListResponse": "$meta ListMetadata, data AuditRecord[]",
    "AuditRecordLogInfo": "requestId string, operationId string",
    "AuditRecordObject": "id string, name string?, icon string?, objectType string, revision integer",
    "AuditRecordRequest": "api AuditRecordApiRequest, worker AuditRecordWorkerRequest, "
    "log AuditRecordLogInfo",
    "AuditRecordType": "Private|Public",
    "AuditRecordViewer": "id string, name string?, type string, icon string?",
    "AuditRecordWorkerRequest": "workerName string",
    "GeolocationData": "countryCode string, countryName string, region string",
    "ListMetadata": "pagination PaginationMetadata, omitted string[]",
    "PaginationMetadata": "offset integer, limit integer, total integer",
    "ProblemDetails": "type string?, title string?, status integer?, detail string?, instance string?",
}
# revision is in the newer text alone; the file's JsonNode stands for any JSON, so it is no schema here.


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The emulator's description, as it is served."""
    with running() as emulator:
        return dict(httpx.get(f"{emulator.url}/openapi.json").json())


def test_its_operations_are_the_contracts(described: dict[str, Any]) -> None:
    """Paths, verbs, bodies, parameters, tags and good answers are the same; further errors are described."""
    paths = described["paths"]
    assert {(path, verb) for path, verbs in paths.items() for verb in verbs} == OPERATIONS.keys()
    for (path, verb), (status, answer, errors, body, asked, tag) in OPERATIONS.items():
        operation = paths[path][verb]
        assert operation["tags"] == [tag]
        assert set(operation["responses"]) >= errors | {status, "401"}
        assert "422" not in operation["responses"]
        assert _content(operation["responses"][status]) == {"application/json": answer}
        assert asked <= {parameter["name"] for parameter in operation.get("parameters", [])}
        content = _content(operation.get("requestBody", {}))
        assert content == (dict.fromkeys(BODY, body) if body else {})
        for error in operation["responses"].keys() - {status, "401", "500"}:
            assert _content(operation["responses"][error]) == {"application/json": PROBLEM}


def _content(part: dict[str, Any]) -> dict[str, str]:
    return {media: _type(content["schema"]) for media, content in part.get("content", {}).items()}


def test_its_schemas_are_the_contracts(described: dict[str, Any]) -> None:
    """Each schema has the same properties of the same types, and no others; nothing else is described."""
    schemas = described["components"]["schemas"]
    assert {name: _properties(schema) for name, schema in schemas.items()} == SCHEMAS
    for name, schema in schemas.items():
        assert schema.get("additionalProperties", False) is (name == PROBLEM)


def _properties(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "|".join(schema["enum"])
    return ", ".join(f"{name} {_type(part)}" for name, part in schema["properties"].items())


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        ((whole,), nulls) = _parted(schema["anyOf"])
        return f"{_type(whole)}{'?' * len(nulls)}"
    if schema["type"] == "array":
        return f"{_type(schema['items'])}[]"
    return str(schema.get("format") or schema["type"])


def _parted(choices: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    nulls = [choice for choice in choices if choice == {"type": "null"}]
    return [choice for choice in choices if choice not in nulls], nulls


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_the_pages_need_no_internet(shared: httpx.Client, page: str) -> None:
    """Whatever they load is the emulator's own and is there, without a token."""
    root = str(shared.base_url).partition("/public")[0]
    text = httpx.get(f"{root}/{page}").text
    loaded = re.findall(r"""(?:src|href|spec-url)=["']([^"']*)|url: '([^']*)'""", text)
    addresses = {first or second for first, second in loaded}
    assert "/openapi.json" in addresses
    assert any(address.endswith(".js") for address in addresses)
    for address in addresses:
        answer = httpx.get(f"{root}{address}")
        assert (address[0], answer.status_code) == ("/", 200)
        assert int(answer.headers["content-length"]) > 1000


def test_whoever_tries_it_can(described: dict[str, Any], shared: httpx.Client) -> None:
    """A page can ask for the token, and the example of each body is accepted."""
    (scheme,) = (described["components"]["securitySchemes"][name] for name in described["security"][0])
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    made = shared.post("/records", json=_example(described, "/public/v1/audit/records", "post"))
    assert made.status_code == 201
    kind = shared.get("/event-types?limit=1").json()["data"][0]
    change = _example(described, "/public/v1/audit/event-types/{id}", "put")
    assert shared.put(f"/event-types/{kind['id']}", json=change).json()["name"] == change["name"]


def _example(described: dict[str, Any], path: str, verb: str) -> Any:
    return described["paths"][path][verb]["requestBody"]["content"]["application/json"]["example"]


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
