"""The middleware for WSGI applications: ``app.wsgi_app = auditbox.wsgi.AuditMiddleware(app.wsgi_app, …)``."""

from auditbox.capture.wsgi import AuditMiddleware

__all__ = ["AuditMiddleware"]
