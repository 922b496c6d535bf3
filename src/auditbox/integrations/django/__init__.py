"""Django: an application with a middleware, system checks, model signals and ``manage.py audit``.

::

    INSTALLED_APPS = [..., "auditbox.integrations.django"]
    MIDDLEWARE = ["auditbox.integrations.django.AuditMiddleware", ...]
    AUDITBOX = {"OUTBOX": BASE_DIR / "audit.db", "EXTENSION": "shop", "ROUTES": {...}, "MODELS": {...}}

What is captured inside a transaction with ``trail="auditbox.integrations.django.after_commit"`` is recorded
once the transaction has committed, and never if it is rolled back.
"""

from __future__ import annotations

from auditbox.integrations.django.commit import AfterCommit, after_commit
from auditbox.integrations.django.middleware import AuditMiddleware

__all__ = ["AfterCommit", "AuditMiddleware", "after_commit"]
