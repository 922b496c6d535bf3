"""Templates filled in: what ``render()`` does to ``summary`` and ``details``."""

from __future__ import annotations

import json
import re
from typing import Any

from auditbox.emulator.fields import dig

_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
_BRACES = re.compile(r"\{\{+|\}\}+")


def render(record: dict[str, Any]) -> dict[str, Any]:
    """The record with ``{{path}}`` in its texts replaced; what cannot be found becomes nothing."""
    texts: dict[str, Any] = {
        name: _fill(record[name], record) for name in ("summary", "details") if name in record
    }
    return {**record, **texts}


def _fill(template: str, record: dict[str, Any]) -> str:
    filled = _PLACEHOLDER.sub(lambda found: _text(_resolve(found.group(1).strip(), record)), template)
    return _BRACES.sub("", filled)


def _resolve(path: str, record: dict[str, Any]) -> Any:
    found = dig(record.get("documents"), path)
    if found is None and path.partition(".")[0] in {"actor", "object"}:
        found = dig(record, path)
    return found


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
