"""The answer to a request that ``fail_closed`` stops before the action."""

from __future__ import annotations

import json
import logging
from typing import NamedTuple

from auditbox.capture.request import Request
from auditbox.errors import OutboxError

logger = logging.getLogger("auditbox.capture")


class Refusal(NamedTuple):
    """An answer for whatever carries it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def refused(request: Request, error: Exception) -> Refusal:
    """Says in the log why, and to the client that nothing was done (a problem, RFC 9457)."""
    logger.error("%s %r is refused: it cannot be recorded: %s", request.method, request.path, error)
    detail = "The audit record of this request cannot be stored now, so nothing was done."
    problem = {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": detail}
    body = json.dumps(problem).encode()
    headers = [("content-type", "application/problem+json"), ("content-length", str(len(body)))]
    if isinstance(error, OutboxError):
        headers.append(("retry-after", "5"))
    return Refusal(503, headers, b"" if request.method == "HEAD" else body)
