"""Tokens that expire, as extensions fetch them from the platform (contract, section 9).

Not a part of the Audit API: it is here so that a program which fetches its token runs unchanged.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from auditbox.emulator.identity import Directory

PATH = "/public/v1/integration/installations/-/token"


def token_route(directory: Directory, lifetime: float) -> APIRouter:
    """``POST …/installations/-/token?account.id=ACC-…``: a JSON Web Token for one account."""
    router = APIRouter(include_in_schema=False)

    @router.post(PATH)
    async def token(request: Request) -> Response:
        caller = directory.identify(request.headers.get("authorization", ""))
        issued, expires = directory.scoped_token(caller, request.query_params.get("account.id"), lifetime)
        return JSONResponse({"token": issued, "exp": expires})

    return router
