"""A web service and its Celery tasks: who sent the request is who the task's record names.

Configured by ``AUDITBOX_OUTBOX`` (a path), ``MPT_API_BASE_URL``, ``MPT_API_TOKEN`` and ``BROKER``::

    celery -A app worker
    uvicorn app:web
"""

from __future__ import annotations

import logging
import os
from typing import Annotated, Any

import httpx
from celery import Celery
from fastapi import Depends, FastAPI, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

import auditbox
from auditbox import AuditHandler, AuditMiddleware, AuditTrail, bind
from auditbox.integrations.celery import Audit, audited

# Touches neither disk nor network: both processes import it.
audit = auditbox.configure(
    AuditTrail.from_env(
        extension="shop",
        events={
            "order.approved": "Order approved",
            "order.shipped": "Order shipped",
            "order.cancelled": "Order cancelled",
            "order.cancel_failed": "Order not cancelled",
        },
    )
)

# On a logger of your own: Celery's worker takes the root logger's handlers away.
log = logging.getLogger("shop")
log.addHandler(AuditHandler())
log.setLevel(logging.INFO)

app = Celery("shop", broker=os.environ.get("BROKER", "redis://localhost"))
app.conf.update(
    task_ignore_result=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True
)
Audit(app)


# --- three tasks


@app.task(acks_late=True, reject_on_worker_lost=True)
@audited("order.approved", object="{order_id}")  # under @app.task, not above it
def approve(order_id: str) -> None:
    """Recorded when it is done. Run again where its worker is killed, and so it may be run twice."""
    partner(f"/approve/{order_id}")


@app.task
def ship(order_id: str) -> None:
    """Recorded by a log line."""
    log.info("Order %s shipped", order_id, extra={"audit": {"event": "order.shipped", "object": order_id}})


@app.task(bind=True, autoretry_for=(ConnectionError,), max_retries=3, default_retry_delay=0)
@audited("order.cancelled", failed="order.cancel_failed", object="{order_id}")
def cancel(self: Any, order_id: str) -> None:
    """Tried again where it fails: one record of its success, or of its failure when it is given up."""
    if self.request.retries == 0:
        raise ConnectionError("the first attempt fails, for show")
    partner(f"/cancel/{order_id}")


def partner(path: str) -> None:
    """A stand-in for the work: asks another service, where there is one."""
    if "PARTNER" in os.environ:
        httpx.post(os.environ["PARTNER"] + path, timeout=60)


# --- the web service that sends them

web = FastAPI(title="Orders")
web.add_middleware(AuditMiddleware)


def authenticate(credentials: Annotated[HTTPAuthorizationCredentials, Security(HTTPBearer())]) -> None:
    """The user of a request. Here the token is the user's id; check yours instead."""
    bind(actor={"id": credentials.credentials})


CurrentUser = Depends(authenticate)


@web.post("/orders/{order_id}/approve", dependencies=[CurrentUser])
def send_approve(order_id: str) -> dict[str, str]:
    """The task takes along the request and its user."""
    return {"task": approve.delay(order_id).id}


@web.post("/orders/{order_id}/ship", dependencies=[CurrentUser])
def send_ship(order_id: str) -> dict[str, str]:
    """As above."""
    return {"task": ship.delay(order_id).id}


@web.post("/orders/{order_id}/cancel", dependencies=[CurrentUser])
def send_cancel(order_id: str) -> dict[str, str]:
    """As above."""
    return {"task": cancel.delay(order_id).id}
