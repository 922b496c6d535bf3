"""A FastAPI service whose orders are approved, shipped and cancelled, each on record before it answers.

Configured by the environment: ``AUDITBOX_OUTBOX`` (a path), ``MPT_API_BASE_URL``, ``MPT_API_TOKEN``::

    uvicorn app:app
"""

from __future__ import annotations

import logging.config
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Path, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

import auditbox
from auditbox import AuditMiddleware, AuditTrail, audited, bind

# Touches neither disk nor network: safe to import anywhere.
audit = auditbox.configure(
    AuditTrail.from_env(
        extension="shop",
        events={
            "order.approved": "Order approved",
            "order.approval_failed": "Order not approved",
            "order.shipped": "Order shipped",
            "order.cancelled": "Order cancelled",
        },
    )
)

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


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Opens the outbox and delivers in the background; at the end sends what is left, for some seconds."""
    async with audit:
        yield


app = FastAPI(title="Orders", lifespan=lifespan)


# --- your application: a stand-in for your database and your users


class Order(BaseModel):
    """An order."""

    id: str
    status: str = "Processing"


OrderId = Annotated[str, Path(pattern=r"^ORD(-\d{4})+$")]
orders: dict[str, Order] = {}


def find(order_id: str) -> Order:
    """The order with this id."""
    return orders.setdefault(order_id, Order(id=order_id))


def authenticate(credentials: Annotated[HTTPAuthorizationCredentials, Security(HTTPBearer())]) -> str:
    """The user of a request. Here the token is the user's id; check yours instead."""
    user = credentials.credentials
    # From here on every record of this request says who acted.
    bind(actor={"id": user})
    return user


# --- three ways to capture

CurrentUser = Depends(authenticate)


@app.post("/orders/{order_id}/approve", dependencies=[CurrentUser])
@audited(  # under @app.post, not above it
    "order.approved",
    failed="order.approval_failed",
    object="{order_id}",
    documents={"order": lambda call: call.result},
)
async def approve(order_id: OrderId) -> Order:
    """Recorded by the decorator, whether it works or raises."""
    order = find(order_id)
    if order.status == "Cancelled":
        raise HTTPException(409, "The order is cancelled.")
    order.status = "Approved"
    return order


@app.post("/orders/{order_id}/ship", dependencies=[CurrentUser])
async def ship(order_id: OrderId) -> Order:
    """Recorded by the middleware, which knows the route."""
    order = find(order_id)
    order.status = "Shipped"
    return order


@app.post("/orders/{order_id}/cancel", dependencies=[CurrentUser])
def cancel(order_id: OrderId) -> Order:
    """Recorded by a log line."""
    order = find(order_id)
    order.status = "Cancelled"
    extra = {"event": "order.cancelled", "object": order.id, "documents": {"order": order}}
    log.info("Order %s cancelled", order.id, extra={"audit": extra})
    return order


@app.get("/health")
def health() -> dict[str, str]:
    """Not recorded."""
    return {"status": "ok"}


app.add_middleware(
    AuditMiddleware,
    routes={"POST /orders/{order_id}/ship": {"event": "order.shipped", "object": "{order_id}"}},
)
