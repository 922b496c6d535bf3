"""Which fields the API's objects have, and in which columns the store keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple


class Field(NamedTuple):
    """A property of an object, by its camelCase path."""

    path: str
    column: str
    kind: str = "text"
    """``text``, ``datetime`` or ``integer``."""


class Table(NamedTuple):
    """A collection of the API: where its rows are, and what they look like."""

    name: str
    fields: tuple[Field, ...]
    order: str
    """The default order, as SQL."""
    tie: str
    """The column that makes an order total."""
    omitted: tuple[str, ...] = ()
    """What a list leaves out unless it is selected."""
    unfiltered: tuple[str, ...] = ()
    """Known properties that cannot be filtered or ordered by."""
    parts: Mapping[str, Table] = {}
    """Collections inside a row, such as ``viewers``."""


VIEWERS = Table(
    "viewer",
    (Field("id", "id"), Field("name", "name"), Field("type", "type"), Field("icon", "icon")),
    order="position",
    tie="position",
)

RECORDS = Table(
    "record",
    (
        Field("id", "id"),
        Field("event", "event"),
        Field("summary", "summary"),
        Field("details", "details"),
        Field("object.id", "object_id"),
        Field("object.name", "object_name"),
        Field("object.icon", "object_icon"),
        Field("object.objectType", "object_type"),
        Field("object.revision", "object_revision", "integer"),
        Field("timestamp", "timestamp", "datetime"),
        Field("actor.id", "actor_id"),
        Field("actor.name", "actor_name"),
        Field("actor.icon", "actor_icon"),
        Field("actor.account.id", "account_id"),
        Field("actor.account.name", "account_name"),
        Field("actor.account.icon", "account_icon"),
        Field("actor.account.accountType", "account_type"),
        Field("type", "type"),
        Field("request.api.ip", "ip"),
        Field("request.api.userAgent", "user_agent"),
        Field("request.api.geolocation.countryCode", "country_code"),
        Field("request.api.geolocation.countryName", "country_name"),
        Field("request.api.geolocation.region", "region"),
        Field("request.worker.workerName", "worker_name"),
        Field("request.log.requestId", "request_id"),
        Field("request.log.operationId", "operation_id"),
        Field("revision", "revision", "integer"),
    ),
    order="timestamp DESC, seq DESC",
    tie="seq",
    omitted=("documents", "viewers"),
    unfiltered=("documents",),
    parts={"viewers": VIEWERS},
)

EVENT_TYPES = Table(
    "event_type",
    (Field("id", "id"), Field("key", "key"), Field("name", "name"), Field("description", "description")),
    order="seq",
    tie="seq",
)


def nest(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object out of dotted paths and values; null and empty ones leave no trace (contract, section 2)."""
    result: dict[str, Any] = {}
    for path, value in pairs:
        if value is None or value == "":
            continue
        if "." not in path:
            result[path] = value
            continue
        *parents, name = path.split(".")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
        target[name] = value
    return result


def dig(value: Any, path: str) -> Any:
    """The value at a dotted path, or None."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def leaves(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of an object with their dotted paths; what stands in a column of its own is left whole."""
    for name, part in value.items():
        if isinstance(part, dict) and name != "documents":
            yield from leaves(part, f"{prefix}{name}.")
        else:
            yield prefix + name, part
