"""What may be posted as a record, and what the server makes of it (contract, section 3)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from auditbox.emulator.identity import Caller, Directory
from auditbox.emulator.objects import OBJECT_ID, object_type
from auditbox.emulator.problem import Problem, invalid
from auditbox.emulator.store import Store

_EVENT = re.compile(r"extensions\.[^.\s]+\.[^\s]+")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
MAX_DEPTH = 200
"""Levels of a body; the platform's limit is not published, and what auditbox sends has half as many."""

_CANNOT = "The JSON value could not be converted to {}."


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a request's body.

    Raises:
        Problem: 400, when it is none, is nested too deeply, or holds text that is no Unicode (a lone
            surrogate) or a number beyond all bounds.
    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise invalid({"$": ["The body is not valid JSON."]}) from None
    if not isinstance(value, dict):
        raise invalid({"$": [_CANNOT.format("AuditRecord")]})
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise invalid({"$": [f"The body is nested more deeply than {MAX_DEPTH} levels."]})
    return value


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            part
            for container in level
            if isinstance(container, dict | list)
            for part in (container.values() if isinstance(container, dict) else container)
        ]
    return any(isinstance(part, dict | list) for part in level)


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # 1e400: it could not be answered as JSON again
        raise ValueError(text)
    return number


def check(body: Mapping[str, Any]) -> None:
    """The contract's rule 4: which fields must be there, and in what form.

    Raises:
        Problem: 400 with every field that is wrong.
    """
    errors = dict(_field_errors(body))
    if errors:
        raise invalid(errors)


def _field_errors(body: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    errors = []
    if body.get("id") is not None:
        errors.append(("id", ["'Id' must be empty."]))
    for name in ("event", "summary", "details"):
        value = body.get(name)
        if value is not None and not isinstance(value, str):
            errors.append((name, [_CANNOT.format("System.String")]))
        elif not value or not value.strip():
            errors.append((name, [f"'{name.capitalize()}' must not be empty."]))
        elif name == "event" and not _EVENT.fullmatch(value):
            errors.append((name, ["'Event' must be extensions.<extension>.<event>."]))
    if body.get("type") not in (None, "Private", "Public"):
        errors.append(("type", [_CANNOT.format("AuditRecordType")]))
    if not isinstance(body.get("documents"), dict | None):
        errors.append(("documents", [_CANNOT.format("an object")]))
    return [*errors, *_object_errors(body.get("object"))]


def _object_errors(value: Any) -> list[tuple[str, list[str]]]:
    if value is None:
        return []
    if not isinstance(value, dict):
        return [("object", [_CANNOT.format("AuditRecordObject")])]
    wrong = [
        (f"object.{name}", [_CANNOT.format("System.String")])
        for name in ("id", "name", "icon", "objectType")
        if not isinstance(value.get(name), str | None)
    ]
    id = value.get("id")
    if isinstance(id, str) and not OBJECT_ID.fullmatch(id):
        wrong.append(("object.id", ["The value of 'id' does not match expected format."]))
    return wrong


def target(body: Mapping[str, Any], directory: Directory) -> dict[str, Any]:
    """The object that a record is about (rule 5), with its name and type.

    Raises:
        Problem: 400, when there is none, several, or (strict) one of an unknown type.
    """
    given = body.get("object") or {}
    id = given.get("id") or _only_document(body.get("documents") or {})
    kind = object_type(id) or given.get("objectType")
    if directory.strict and not object_type(id):
        raise invalid({"object.id": [f"'{id}' is of no known object type."]})
    known = directory.objects.get(id, {})
    value = {
        "id": id,
        "name": known.get("name") or given.get("name") or id,
        "icon": given.get("icon"),
        "objectType": known.get("objectType") or kind,
    }
    return {name: part for name, part in value.items() if part}


def _only_document(documents: Mapping[str, Any]) -> str:
    ids = {value["id"] for value in documents.values() if _is_platform_object(value)}
    if len(ids) != 1:
        said = "no platform object" if not ids else "several platform objects"
        raise invalid({"object": [f"'Object' must not be empty: the documents hold {said}."]})
    return str(ids.pop())


def _is_platform_object(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), str) and bool(object_type(value["id"]))


def audience(
    body: Mapping[str, Any], object_id: str, caller: Caller, directory: Directory, store: Store
) -> tuple[str, list[dict[str, Any]]]:
    """Type and viewers of a new record (rules 6 and 7): those of the object's newest one.

    Raises:
        Problem: 403, strict, when the caller's account cannot see the object.
    """
    operations = directory.viewer(directory.operations["id"]) | directory.operations
    if caller.account_type == "Operations" and body.get("type") == "Private":
        return "Private", [operations]
    seeded = directory.objects.get(object_id, {}).get("viewers", [])
    unbound = not directory.strict or caller.account_type == "Operations"
    if not (unbound or caller.account in seeded or store.sees(caller.account, object_id)):
        raise Problem(403, f"The account {caller.account} has no access to {object_id}.")
    latest = store.latest(object_id)
    if latest and latest.viewers:
        return latest.type or _kind(latest.viewers), _with_operations(latest.viewers, operations)
    first = [directory.viewer(id) for id in seeded] or ([] if directory.strict else [caller.viewer])
    viewers = _with_operations(first, operations)
    return _kind(viewers), viewers


def _kind(viewers: list[dict[str, Any]]) -> str:
    return "Public" if any(viewer.get("type") in {"Vendor", "Client"} for viewer in viewers) else "Private"


def _with_operations(viewers: list[dict[str, Any]], operations: dict[str, Any]) -> list[dict[str, Any]]:
    if any(viewer.get("type") == "Operations" for viewer in viewers):
        return viewers
    return [*viewers, operations]
