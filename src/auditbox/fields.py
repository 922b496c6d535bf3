"""What a record can say: the arguments of ``AuditTrail.record``, and the error that names any other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from auditbox.errors import RecordError

if TYPE_CHECKING:
    from datetime import datetime


class RecordFields(TypedDict, total=False):
    """The arguments of ``AuditTrail.record`` besides the event, for type checkers."""

    object: Any
    summary: str | None
    details: str | None
    documents: Mapping[str, Any] | None
    actor: Any
    outcome: Any
    occurred_at: datetime | None
    lane: str | None
    request: Mapping[str, Any] | None
    source: Mapping[str, Any] | None


_KNOWN = frozenset({"event", *RecordFields.__annotations__})


def check_known(where: str, given: Iterable[object]) -> None:
    """Returns where a record can say all that is given.

    Raises:
        RecordError: it cannot; names the first such key.
    """
    if unknown := set(given) - _KNOWN:
        first = sorted(map(str, unknown))[0]
        raise RecordError(where, first, f"unknown key; known are {', '.join(sorted(_KNOWN))}")
