"""A Flask service whose orders are approved, shipped and cancelled, each on record before it answers.

Configured by the environment: ``AUDITBOX_OUTBOX`` (a path), ``MPT_API_BASE_URL``, ``MPT_API_TOKEN``::

    gunicorn --preload --workers 4 app:app
"""

from __future__ import annotations

import logging.config

from flask import Flask, Request, abort
from flask_login import LoginManager, UserMixin, login_required

from auditbox import audited
from auditbox.integrations.flask import Audit

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "console": {"class": "logging.StreamHandler"},
            "audit": {"class": "auditbox.AuditHandler"},
        },
        "loggers": {"shop": {"handlers": ["audit"], "level": "INFO"}},
        # auditbox's own lines, such as "delivery to … pauses", go to the console like all others.
        "root": {"handlers": ["console"], "level": "INFO"},
    }
)
log = logging.getLogger("shop")

app = Flask(__name__)
app.config.from_mapping(
    AUDITBOX_EXTENSION="shop",
    AUDITBOX_EVENTS={
        "order.approved": "Order approved",
        "order.approval_failed": "Order not approved",
        "order.shipped": "Order shipped",
        "order.cancelled": "Order cancelled",
    },
    AUDITBOX_ROUTES={"POST /orders/<order_id>/ship": {"event": "order.shipped", "object": "{order_id}"}},
)
Audit(app)  # touches neither disk nor network: safe to import anywhere


# --- your application: a stand-in for your database and your users

login = LoginManager(app)
orders: dict[str, dict[str, str]] = {}


class User(UserMixin):
    """A user; ``get_id()`` is the actor's id."""

    def __init__(self, id: str) -> None:
        self.id = id


@login.request_loader
def user_of(request: Request) -> User | None:
    """The user of a request. Here the token is the user's id; check yours instead."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return User(token) if kind == "Bearer" and token else None


def find(order_id: str) -> dict[str, str]:
    """The order with this id."""
    return orders.setdefault(order_id, {"id": order_id, "status": "Processing"})


# --- three ways to capture


@app.post("/orders/<order_id>/approve")
@login_required
@audited(  # under @app.post, not above it
    "order.approved",
    failed="order.approval_failed",
    object="{order_id}",
    documents={"order": lambda call: call.result},
)
def approve(order_id: str) -> dict[str, str]:
    """Recorded by the decorator, whether it works or raises."""
    order = find(order_id)
    if order["status"] == "Cancelled":
        abort(409, "The order is cancelled.")
    order["status"] = "Approved"
    return order


@app.post("/orders/<order_id>/ship")
@login_required
def ship(order_id: str) -> dict[str, str]:
    """Recorded by the middleware, which knows the route."""
    order = find(order_id)
    order["status"] = "Shipped"
    return order


@app.post("/orders/<order_id>/cancel")
@login_required
def cancel(order_id: str) -> dict[str, str]:
    """Recorded by a log line."""
    order = find(order_id)
    order["status"] = "Cancelled"
    extra = {"event": "order.cancelled", "object": order["id"], "documents": {"order": order}}
    log.info("Order %s cancelled", order["id"], extra={"audit": extra})
    return order


@app.get("/health")
def health() -> dict[str, str]:
    """Not recorded."""
    return {"status": "ok"}
