"""Errors in the platform's form: ProblemDetails with a trace id (contract, section 7)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

_SECTIONS = {
    400: "15.5.1",
    403: "15.5.4",
    404: "15.5.5",
    405: "15.5.6",
    406: "15.5.7",
    413: "15.5.14",
    415: "15.5.16",
    500: "15.6.1",
    501: "15.6.2",
}

# Those whose names changed from Python to Python are as ASP.NET has them.
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_PHRASES |= {413: "Payload Too Large", 422: "Unprocessable Entity"}

Errors = Mapping[str, Sequence[str]]


class Problem(Exception):
    """A request that cannot be served; answered as ProblemDetails.

    Args:
        status: the HTTP status.
        detail: one sentence.
        errors: messages by field or query path, for a 400.
    """

    def __init__(self, status: int, detail: str, errors: Errors | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors


def invalid(errors: Errors) -> Problem:
    """A 400 that names the fields or query parts which are wrong."""
    return Problem(400, "One or more validation errors occurred.", errors)


def not_found(id: str) -> Problem:
    """A 404 for an entity; also for one that the caller may not see."""
    return Problem(404, f"Entity for given id {id} not found")


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for a problem; a 401 has no body, as the platform's gateway answers it."""
    if problem.status == 401:
        return Response(status_code=401, headers={"WWW-Authenticate": "Bearer", **(headers or {})})
    return Response(
        json.dumps(body_of(problem), ensure_ascii=False),
        problem.status,
        dict(headers or {}),
        media_type="application/json",
    )


def body_of(problem: Problem) -> dict[str, Any]:
    """The ProblemDetails object."""
    section = _SECTIONS.get(problem.status)
    body: dict[str, Any] = {
        "type": f"https://tools.ietf.org/html/rfc9110#section-{section}" if section else "about:blank",
        "title": _PHRASES.get(problem.status, "Error"),
        "status": problem.status,
        "detail": problem.detail,
        "traceId": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00",
    }
    return {**body, "errors": problem.errors} if problem.errors else body
