"""auditbox: an action is on record before the call returns, and in the Audit API exactly once.

PYTEST_DONT_REWRITE: pytest marks every package that brings a plugin for rewriting, and warns where the
package was imported before pytest began.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditbox.backoff import Backoff
    from auditbox.capture.asgi import AuditMiddleware
    from auditbox.capture.call import Call
    from auditbox.capture.changes import changes
    from auditbox.capture.decorator import audited
    from auditbox.capture.handler import AuditContextFilter, AuditHandler
    from auditbox.context import audit_context, bind, carry
    from auditbox.default import configure, get_trail, record, record_many
    from auditbox.errors import AuditboxError
    from auditbox.records import AuditRecord
    from auditbox.redaction import Redaction
    from auditbox.relay.policy import Policy
    from auditbox.relay.worker import Flushed
    from auditbox.trail import AuditTrail

__version__ = "0.1.0"

__all__ = [
    "AuditContextFilter",
    "AuditHandler",
    "AuditMiddleware",
    "AuditRecord",
    "AuditTrail",
    "AuditboxError",
    "Backoff",
    "Call",
    "Flushed",
    "Policy",
    "Redaction",
    "__version__",
    "audit_context",
    "audited",
    "bind",
    "carry",
    "changes",
    "configure",
    "get_trail",
    "record",
    "record_many",
]

_HOMES = {
    "AuditContextFilter": "capture.handler",
    "AuditHandler": "capture.handler",
    "AuditMiddleware": "capture.asgi",
    "AuditRecord": "records",
    "AuditTrail": "trail",
    "AuditboxError": "errors",
    "Backoff": "backoff",
    "Call": "capture.call",
    "Flushed": "relay.worker",
    "Policy": "relay.policy",
    "Redaction": "redaction",
    "audit_context": "context",
    "audited": "capture.decorator",
    "bind": "context",
    "carry": "context",
    "changes": "capture.changes",
    "configure": "default",
    "get_trail": "default",
    "record": "default",
    "record_many": "default",
}


_MODULES = frozenset({"api", "emulator", "errors", "testing", "wsgi"})
"""Rooms that may be entered after ``import auditbox`` alone."""


def __getattr__(name: str) -> Any:
    """A public name, when it is first asked for: pytest and the command line import only what they use."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
