"""The process's default trail: what captures that name no trail go to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from auditbox.errors import ConfigurationError, NoTrail
from auditbox.trail import AuditTrail, is_intercepted

_default: AuditTrail | None = None


def configure(trail: AuditTrail) -> AuditTrail:
    """Makes this the process's default trail, and returns it."""
    global _default
    if not isinstance(trail, AuditTrail):
        raise ConfigurationError(f"configure({trail!r}): pass an AuditTrail")
    _default = trail
    return trail


def get_trail() -> AuditTrail:
    """The process's default trail.

    Raises:
        NoTrail: nothing was configured.
    """
    if _default is None:
        if is_intercepted():
            return AuditTrail("intercepted.db", extension="test")
        raise NoTrail
    return _default


def record(event: str, /, **fields: Any) -> str:
    """Captures one record into the default trail: see :meth:`AuditTrail.record`."""
    return get_trail().record(event, **fields)


def record_many(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Captures records into the default trail, all or none: see :meth:`AuditTrail.record_many`."""
    return get_trail().record_many(records)
