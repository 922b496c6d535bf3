"""What sinks read of the JSON that goes over the wire."""

from __future__ import annotations

import json
from typing import Any

import orjson


def json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that a body holds, or None where it holds anything else."""
    try:
        value = orjson.loads(body)
    except ValueError:  # perhaps only to orjson, which is strict
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def entry_id(record: dict[str, Any]) -> Any:
    """The id that auditbox gave to a record at its capture, or None where it carries none."""
    documents = record.get("documents")
    own = documents.get("auditbox") if isinstance(documents, dict) else None
    return own.get("id") if isinstance(own, dict) else None
