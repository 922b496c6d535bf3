"""A FastAPI service that logs with loguru; lines with ``audit`` are on record before the call returns.

Configured by the environment: ``AUDITBOX_OUTBOX`` (a path), ``MPT_API_BASE_URL``, ``MPT_API_TOKEN``::

    uvicorn app:app
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from loguru import logger

import auditbox
from auditbox import AuditMiddleware, AuditTrail, bind
from auditbox.integrations.loguru import AuditSink, carries_audit

# Touches neither disk nor network: safe to import anywhere.
audit = auditbox.configure(
    AuditTrail.from_env(
        extension="shop", events={"order.approved": "Order approved", "order.shipped": "Order shipped"}
    )
)

logger.remove()
logger.add(sys.stderr, format="{time} {level} {message}")
logger.add(AuditSink(), filter=carries_audit, format="{message}")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Opens the outbox and delivers in the background; at the end sends what is left, for some seconds."""
    async with audit:
        yield


app = FastAPI(title="Orders", lifespan=lifespan)
app.add_middleware(AuditMiddleware)  # each request's context: id, route, and who acts once that is bound


def authenticate(credentials: Annotated[HTTPAuthorizationCredentials, Security(HTTPBearer())]) -> None:
    """The user of a request. Here the token is the user's id; check yours instead."""
    bind(actor={"id": credentials.credentials})


CurrentUser = Depends(authenticate)


@app.post("/orders/{order_id}/approve", dependencies=[CurrentUser])
def approve(order_id: str) -> dict[str, str]:
    """A view in a thread."""
    logger.info(
        "Order {} approved", order_id, total=12, audit={"event": "order.approved", "object": order_id}
    )
    return {"id": order_id}


@app.post("/orders/{order_id}/ship", dependencies=[CurrentUser])
async def ship(order_id: str) -> dict[str, str]:
    """A view on the event loop."""
    logger.info("Order {} shipped", order_id, audit={"event": "order.shipped", "object": order_id})
    return {"id": order_id}


@app.get("/health")
def health() -> dict[str, str]:
    """Not recorded."""
    logger.info("healthy")
    return {"status": "ok"}
