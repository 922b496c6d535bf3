"""auditbox: an action is on record before the call returns, and in the Audit API exactly once."""

from typing import TYPE_CHECKING, Any

from auditbox.backoff import Backoff
from auditbox.capture.asgi import AuditMiddleware
from auditbox.capture.call import Call
from auditbox.capture.changes import changes
from auditbox.capture.decorator import audited
from auditbox.capture.handler import AuditContextFilter, AuditHandler
from auditbox.context import audit_context, bind, carry
from auditbox.errors import AuditboxError
from auditbox.redaction import Redaction
from auditbox.relay.policy import Policy
from auditbox.relay.worker import Flushed
from auditbox.trail import AuditTrail, configure, get_trail, record, record_many

if TYPE_CHECKING:
    from auditbox.records import AuditRecord

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


def __getattr__(name: str) -> Any:
    """AuditRecord, when it is first asked for: the shapes need pydantic, which no capture waits for."""
    if name == "AuditRecord":
        from auditbox.records import AuditRecord

        return AuditRecord
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
