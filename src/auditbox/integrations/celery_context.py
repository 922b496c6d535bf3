"""What a task knows of the request that it was sent from, carried in its message's headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auditbox.context import Scope, current_scope
from auditbox.encoding import plain

HEADER = "auditbox"
"""The message header. It is seen by whoever can read the broker."""

_CARRIED = ("actor", "object", "request")
_PASSING = ("status", "durationMs")
"""Of the request, what is not known yet when a task is sent, or has no meaning inside it."""


def carried_of(current: Scope | None) -> dict[str, Any]:
    """The actor, object and request of a scope as plain values; empty where there is nothing to tell."""
    if current is None:
        return {}
    carried = {field: plain(value) for field in _CARRIED if (value := current.get(field)) is not None}
    if isinstance(request := carried.get("request"), dict):
        carried["request"] = {name: value for name, value in request.items() if name not in _PASSING}
    return {field: value for field, value in carried.items() if value}


def publish(headers: dict[str, Any] | None = None, **_: Any) -> None:
    """Receiver of ``before_task_publish``: the message takes along what its sender knows."""
    if headers is not None and (carried := carried_of(current_scope())):
        headers[HEADER] = carried


def values(carried: Any, task_id: str | None, name: str) -> dict[str, Any]:
    """What a task's scope begins with: what it was sent with, else the task itself as the request."""
    known = carried if isinstance(carried, Mapping) else {}
    own = {"id": task_id, "method": "TASK", "route": name}
    return {"request": own, **{field: known[field] for field in _CARRIED if known.get(field)}}
