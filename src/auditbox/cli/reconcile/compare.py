"""Whether a record is shown as it was captured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from auditbox.api.hidden import CREDENTIALS, PURCHASE_PRICES, SALES_PRICES
from auditbox.records import AuditRecord

_MOST = 8
"""Paths of one record that are named."""
_MASKED = frozenset(CREDENTIALS.values())
"""What the API may mask on reading (contract, section 3, rule 10)."""
_WITHHELD = SALES_PRICES | PURCHASE_PRICES
"""What it may leave out (the same rule)."""


def differences(stored: Any, shown: AuditRecord, outbox: str, seq: int) -> list[str]:
    """The paths at which a record differs from what was captured; empty where it does not.

    Of the object its id and type are compared: its name is the server's to say. What is null or empty may be
    absent, and so may prices, because the API leaves that out.

    Args:
        stored: the body of the entry, as captured.
        shown: the record as the API has it.
        outbox, seq: what the relay adds to ``documents.auditbox`` when it sends.
    """
    if not isinstance(stored, dict):
        return ["the outbox's own copy is no JSON"]
    expected, actual = _parts(stored), _shown_parts(shown)
    own = (expected["documents"] or {}).get("auditbox")
    if isinstance(own, dict):
        sent = {**own, "outbox": outbox, "seq": seq}
        expected["documents"] = {**expected["documents"], "auditbox": sent}
    if "objectType" not in expected["object"]:
        actual["object"].pop("objectType", None)
    found = list(_differing(expected, actual))
    return sorted(found[:_MOST]) + (["…"] if len(found) > _MOST else [])


def _parts(record: Mapping[str, Any]) -> dict[str, Any]:
    about = record.get("object") or {}
    return {
        **{name: record.get(name) for name in ("event", "summary", "details", "documents")},
        "object": {name: about[name] for name in ("id", "objectType") if about.get(name) is not None},
    }


def _shown_parts(record: AuditRecord) -> dict[str, Any]:
    about = None if record.object is None else record.object.to_wire()
    fields = {name: getattr(record, name) for name in ("event", "summary", "details", "documents")}
    return _parts({**fields, "object": about})


def _differing(expected: Any, actual: Any) -> Iterator[str]:
    """The paths of all differences; a stack of its own, because documents may be nested deeply."""
    stack = [("", expected, actual)]
    while stack:
        path, one, other = stack.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            for name in one.keys() | other.keys():
                stack.append((f"{path}.{name}" if path else name, one.get(name), other.get(name)))
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            stack += [(f"{path}[{at}]", *pair) for at, pair in enumerate(zip(one, other, strict=True))]
        elif not (_same(one, other) or _masked(path, other) or (other is None and _may_be_absent(path, one))):
            yield path


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _may_be_absent(path: str, value: Any) -> bool:
    """Null and empty values are left out for everybody (contract, section 2), prices for some readers."""
    if value is None or (isinstance(value, str | list | dict) and not value):
        return True
    withheld = isinstance(value, dict) and value.keys() <= _WITHHELD
    return withheld or path.rpartition(".")[2] in _WITHHELD


def _masked(path: str, shown: Any) -> bool:
    name = path.rpartition(".")[2].lower()
    return name in _MASKED and isinstance(shown, str) and set(shown) == {"*"}
