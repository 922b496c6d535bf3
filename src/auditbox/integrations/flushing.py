"""What the flush of a framework's command line does; ``auditbox flush`` is the one without an application."""

from __future__ import annotations

from auditbox.trail import AuditTrail


def flushed(trail: AuditTrail, timeout: float) -> tuple[int, int, int]:
    """Delivers what was captured so far: up to which number, and how much of it is pending and dead then."""
    with trail:
        upto = trail.outbox.last_seq()
        trail.flush(timeout)
        return upto, *trail.outbox.unsettled(upto)
