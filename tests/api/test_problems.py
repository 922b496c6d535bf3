"""Error bodies in all their shapes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditbox.api.problems import one_line, read_error, retry_after
from auditbox.errors import ValidationFailed


def test_a_validation_problem() -> None:
    """A mapping of fields to messages is said in one line."""
    body = {
        "title": "Bad Request",
        "status": 400,
        "detail": "One or more validation errors occurred.",
        "traceId": "00-ab-cd-00",
        "errors": {"summary": ["'Summary' must not be empty."]},
    }
    said = read_error(400, json.dumps(body).encode())
    assert said.reason == "400 Bad Request: summary: 'Summary' must not be empty."
    assert (said.title, said.detail, said.errors) == (body["title"], body["detail"], body["errors"])
    assert said.trace_id == "00-ab-cd-00"
    assert said.is_problem


def test_a_plain_problem() -> None:
    """Without errors the detail is said."""
    said = read_error(404, b'{"title": "Not Found", "detail": "Entity for given id AUD-1 not found"}')
    assert said.reason == "404 Not Found: Entity for given id AUD-1 not found"
    assert said.is_problem


def test_a_business_problem() -> None:
    """A list of messages with properties is said in one line and kept as it came."""
    errors = [{"message": "Listing is closed", "properties": ["listing.id"]}, {"message": "No"}]
    said = read_error(409, json.dumps({"title": "Conflict", "errors": errors}).encode())
    assert said.reason == "409 Conflict: listing.id: Listing is closed; No"
    assert said.errors == errors


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (504, b"upstream request timeout", "504 Gateway Timeout: upstream request timeout"),
        (401, b"", "401 Unauthorized"),
        (502, b"<html><body>Bad</body></html>", "502 Bad Gateway"),
        (404, b'{"statusCode":404,"message":"Resource not found"}', "404 Not Found: Resource not found"),
        (500, b'"text"', '500 Internal Server Error: "text"'),
        (500, b"[1]", "500 Internal Server Error"),
        (599, b"\xff\xfe", "599 Unknown: \ufffd\ufffd"),
    ],
)
def test_what_a_gateway_says(status: int, body: bytes, reason: str) -> None:
    """Text, HTML, other JSON and nothing at all are no problem bodies, and are survived."""
    said = read_error(status, body)
    assert said.reason == reason
    assert not said.is_problem


@given(status=st.integers(100, 700), body=st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_bytes(status: int, body: bytes) -> None:
    """No body makes it raise, and the reason is always one line."""
    assert len(read_error(status, body).reason.splitlines()) == 1


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["errors", "title", "message"]), inner),
)


@given(st.dictionaries(st.sampled_from(["errors", "title", "detail", "traceId", "message"]), _json))
def test_any_json(body: dict[str, object]) -> None:
    """Problem bodies with parts of the wrong type are survived."""
    read_error(400, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("errors", "fields"),
    [
        (None, {}),
        ({"summary": ["'Summary' must not be empty."], "object.id": ["a", "b"]},
         {"summary": ["'Summary' must not be empty."], "object.id": ["a", "b"]}),
        ({"summary": "one text"}, {"summary": ["one text"]}),
        ([{"message": "closed", "properties": ["listing.id", "id"]}, {"message": "no", "properties": ["id"]}],
         {"listing.id": ["closed"], "id": ["closed", "no"]}),
        ([{"message": "no"}, "text", {"properties": 5}], {"": ["no", "text", "{'properties': 5}"]}),
    ],
)  # fmt: skip
def test_the_fields_that_are_wrong(errors: object, fields: dict[str, list[str]]) -> None:
    """Both shapes of errors are one mapping of fields to messages."""
    assert ValidationFailed(status=400, errors=errors).fields == fields


@given(_json)
def test_any_errors(errors: object) -> None:
    """Whatever stands there instead, asking for the fields does not fail."""
    assert all(ValidationFailed(status=400, errors=errors).fields.values())


def test_a_token_is_masked() -> None:
    """What an error answer echoes of the request shows no token."""
    said = read_error(500, b"cannot use Bearer idt:TKN-1111-1111:secret here")
    assert "secret" not in said.reason


def test_one_line_is_short() -> None:
    """Control characters go, and long texts are cut."""
    line = one_line("a\nb\x1b[31m" + "x" * 1000)
    assert line.startswith("a b [31m")
    assert len(line) == 300


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("Thu, 99 Jan 1970 00:00:01 GMT", None),
        ("²", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Retry-After is seconds or an HTTP date; anything else is as if it were absent."""
    assert retry_after(value, now=10.0) == seconds
