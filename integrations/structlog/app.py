"""A FastAPI service that logs with structlog; events with ``audit`` are on record before the call returns.

Configured by the environment: ``AUDITBOX_OUTBOX`` (a path), ``MPT_API_BASE_URL``, ``MPT_API_TOKEN``::

    uvicorn app:app
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import structlog
from fastapi import Depends, FastAPI, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

import auditbox
from auditbox import AuditMiddleware, AuditTrail, bind
from auditbox.integrations.structlog import AuditProcessor

# Touches neither disk nor network: safe to import anywhere.
audit = auditbox.configure(
    AuditTrail.from_env(
        extension="shop", events={"order.approved": "Order approved", "order.shipped": "Order shipped"}
    )
)

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        AuditProcessor(),  # after what adds fields, before what formats exceptions and renders
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
)
log = structlog.get_logger()


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
    log.info("Order approved", total=12, audit={"event": "order.approved", "object": order_id})
    return {"id": order_id}


@app.post("/orders/{order_id}/ship", dependencies=[CurrentUser])
async def ship(order_id: str) -> dict[str, str]:
    """A view on the event loop."""
    await log.ainfo("Order shipped", audit={"event": "order.shipped", "object": order_id})
    return {"id": order_id}


@app.get("/health")
def health() -> dict[str, str]:
    """Not recorded."""
    log.info("healthy")
    return {"status": "ok"}
