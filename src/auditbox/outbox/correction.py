"""A corrected copy of a dead letter: a record of its own that says which entry it replaces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from auditbox.encoding import to_json
from auditbox.errors import RecordError
from auditbox.names import check_object_id, full_event
from auditbox.outbox.base import Draft, Entry
from auditbox.redaction import Redaction
from auditbox.uuid7 import uuid7

_TEXTS = ("event", "summary", "details", "object.id", "object.name", "object.objectType")
_RULE = f"can be set: {', '.join(_TEXTS)}, documents.<name>…"


def corrected(entry: Entry, changes: Mapping[str, str], extension: str | None = None) -> Draft:
    """A draft with these fields changed, the same time of occurrence, and ``auditbox.replaces``.

    It waits its turn behind what is about its object, also where the first one was about none; in a lane that
    somebody chose it stays.

    Args:
        entry: what is corrected.
        changes: by dotted path, such as ``object.id``. In ``documents`` a value is JSON where it parses as
            such, else text. Secrets in what is set are masked by the default rules.
        extension: what a short event, such as ``order.approved``, belongs to.

    Raises:
        RecordError: a path is none of a record, or a value breaks a rule.
    """
    record: Any = json.loads(entry.body)
    own = record["documents"].pop("auditbox")
    before = record["object"]["id"]
    for path, value in changes.items():
        _set(record, path, value)
    event = full_event(record.pop("event"), extension)
    about = check_object_id(record["object"].get("id"))
    id = uuid7()
    occurred = own.pop("occurredAt")
    for name in ("id", "replaces"):
        own.pop(name, None)
    record["documents"] = {**record.pop("documents"), "auditbox": own}
    encoded = Redaction().encode(record)
    certain = to_json({"replaces": entry.id, "id": id, "occurredAt": occurred})[1:-1]
    comma = b"," if own else b""
    body = b'{"event":%b,%b%b%b}}}' % (to_json(event), encoded[1:-3], comma, certain)
    return Draft(id, about if entry.lane in (before, entry.id) else entry.lane, body)


def _set(record: dict[str, Any], path: str, value: str) -> None:
    first, *rest = path.split(".")
    if path not in _TEXTS and (first != "documents" or not rest or rest[0] == "auditbox" or "" in rest):
        raise RecordError("set", path, _RULE)
    if path in ("event", "summary", "details") and not value.strip():
        raise RecordError(path, value, "a text that is not empty")
    place = record
    for name in [first, *rest][:-1]:
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            raise RecordError("set", path, f"{name} is no mapping in this record")
    place[[first, *rest][-1]] = _parsed(value) if first == "documents" else value


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
