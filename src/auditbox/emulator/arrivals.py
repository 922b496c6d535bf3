"""What arrived at the emulator, for people who look into it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Seen:
    """A request that arrived."""

    number: int
    at: float
    method: str
    path: str
    query: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    status: int | None = None
    """None while it is under way, and for good when it got no answer."""
    fault: str | None = None

    def describe(self) -> dict[str, Any]:
        """The request for people; the token's secret is masked."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}
        if "authorization" in headers:
            headers["authorization"] = _masked(headers["authorization"])
        return {
            "number": self.number,
            "at": self.at,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": headers,
            "body": readable(self.body),
            "status": self.status,
            "fault": self.fault,
        }


def _masked(authorization: str) -> str:
    """Scheme and token without the secret: of ``idt:TKN-…:secret`` the id stays, of another token nothing."""
    scheme, _, token = authorization.partition(" ")
    known, separator, _ = token.rpartition(":")
    return f"{scheme} {known}{separator}***"


def readable(body: bytes) -> Any:
    """A body's JSON, or its text where it is none."""
    try:
        return json.loads(body, parse_constant=_refuse) if body else None
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _refuse(name: str) -> Any:
    raise ValueError(name)


def object_id(body: bytes) -> str | None:
    """The ``object.id`` of a posted record, if the body is one."""
    value = readable(body)
    target = value.get("object") if isinstance(value, dict) else None
    id = target.get("id") if isinstance(target, dict) else None
    return id if isinstance(id, str) else None
