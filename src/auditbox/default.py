"""The process's default trail: what captures that name no trail go to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from auditbox import interception
from auditbox.errors import ConfigurationError, NoTrail
from auditbox.trail import AuditTrail

if TYPE_CHECKING:
    from auditbox.fields import RecordFields

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
        if interception.interceptor is not None:
            return AuditTrail("intercepted.db", extension="test")
        raise NoTrail
    return _default


def record(event: str, /, **fields: Unpack[RecordFields]) -> str:
    """Captures one record into the default trail; when this returns it is in the outbox.

    Args:
        event: ``order.approved`` or the full ``extensions.<extension>.<event>``.
        fields: ``object``, ``summary``, ``details``, ``documents``, ``actor``, ``outcome``, ``occurred_at``,
            ``lane``, ``request``, ``source``, as :meth:`AuditTrail.record` has them.

    Returns:
        The entry's id, a UUIDv7.

    Raises:
        NoTrail: nothing was configured.
        RecordError: a value breaks a rule; nothing was stored.
        OutboxError: it could not be stored.
    """
    return get_trail().record(event, **fields)


def record_many(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Captures records into the default trail, all or none: see :meth:`AuditTrail.record_many`."""
    return get_trail().record_many(records)
