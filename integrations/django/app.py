"""The settings of a Django project whose orders are approved, shipped and cancelled, each on record.

Configured by the environment: ``AUDITBOX_OUTBOX`` (a path), ``MPT_API_BASE_URL``, ``MPT_API_TOKEN``. The
views are in ``shop/views.py``::

    export DJANGO_SETTINGS_MODULE=app
    python -m django migrate --run-syncdb
    gunicorn 'django.core.wsgi:get_wsgi_application()'
    uvicorn --factory django.core.asgi:get_asgi_application
"""

from __future__ import annotations

import os
from pathlib import Path

BASE_DIR = Path(__file__).parent
SECRET_KEY = os.environ.get("SECRET_KEY", "for development only")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "shop.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", BASE_DIR / "db.sqlite3"),
        "OPTIONS": {"timeout": 60},
    }
}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "shop",
    "auditbox.integrations.django",
]
MIDDLEWARE = [
    "auditbox.integrations.django.AuditMiddleware",  # first: it sees the answer as the client gets it
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]

# What is not named here comes from the environment. `manage.py check` finds what is wrong.
AUDITBOX = {
    "EXTENSION": "shop",
    "EVENTS": {
        "order.approved": "Order approved",
        "order.shipped": "Order shipped",
        "order.cancelled": "Order cancelled",
    },
    # Requests that the middleware records, whatever view serves them.
    "ROUTES": {"POST /orders/{order_id}/ship": {"event": "order.shipped", "object": "{order_id}"}},
    # Models whose changes are recorded once they are committed.
    "MODELS": {
        "shop.Cancellation": {"created": "order.cancelled", "object": "{cancellation.order_number}"},
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "console": {"class": "logging.StreamHandler"},
        "audit": {
            "class": "auditbox.AuditHandler",
            # Lines inside a transaction are recorded when it commits. Leave it out to record them at once.
            "trail": "auditbox.integrations.django.after_commit",
        },
    },
    "loggers": {"shop": {"handlers": ["audit"], "level": "INFO"}},
    # auditbox's own lines, such as "delivery to … pauses", go to the console like all others.
    "root": {"handlers": ["console"], "level": "WARNING"},
}
