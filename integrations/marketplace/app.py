"""An extension in the style of mpt-extension-sdk 6, whose order processing is on record.

The upper half stands in for the SDK: per-package loggers that do not propagate, context variables for order
and agreement ids, settings from the environment, startup hooks and no shutdown hook. The part named
"auditing" is what an extension copies; README.md says what to import from the SDK instead of the rest::

    uvicorn app:app
"""

from __future__ import annotations

import logging.config
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

import auditbox
from auditbox import AuditHandler, AuditMiddleware, AuditTrail, audit_context, audited, bind

# --- what the SDK brings: mpt_extension_sdk.runtime.logging, mpt_extension_sdk.settings, ExtensionApp

PACKAGE = "shop_extension"

correlation_id_ctx: ContextVar[str] = ContextVar("correlation_id", default="")
order_id_ctx: ContextVar[str] = ContextVar("order_id", default="")
agreement_id_ctx: ContextVar[str] = ContextVar("agreement_id", default="")


def setup_logging(level: str) -> None:
    """One logger for the extension's package, with handlers of its own: lines do not reach the root."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"console": {"class": "logging.StreamHandler"}},
            "root": {"handlers": ["console"], "level": "WARNING"},
            "loggers": {PACKAGE: {"handlers": ["console"], "level": level, "propagate": False}},
        }
    )


@dataclass
class Context:
    """What a handler gets: here no more than the account of the caller's token."""

    account_id: str


def context(credentials: Annotated[HTTPAuthorizationCredentials, Security(HTTPBearer())]) -> Context:
    """Here the token is the account's id; the SDK reads it from the claims of a JSON Web Token."""
    return Context(credentials.credentials)


startup_hooks: list[Callable[[], None]] = []


# --- auditing: copy this

audit = auditbox.configure(
    AuditTrail.from_env(
        # The extension's own key, where there is no token for the Marketplace's API.
        token=os.environ.get("MPT_API_TOKEN") or os.environ.get("SDK_EXTENSION_API_KEY"),
        extension="shop",
        events={
            "order.approved": "Order approved",
            "order.shipped": "Order shipped",
            "order.processed": "Order processed",
        },
    )
)


class MarketplaceContext(logging.Filter):
    """Gives an audit line the order or agreement that the SDK is working on, where it names no object."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true; only lines with ``extra={"audit": …}`` come here."""
        known = {
            "object": order_id_ctx.get() or agreement_id_ctx.get(),
            "request": {"id": correlation_id_ctx.get()} if correlation_id_ctx.get() else None,
        }
        given = record.__dict__["audit"]
        record.__dict__["audit"] = {**{name: value for name, value in known.items() if value}, **given}
        return True


def attach_audit_handler() -> None:
    """At startup, since the SDK configures logging after it has imported the extension."""
    handler = AuditHandler()
    handler.addFilter(MarketplaceContext())
    # On the package's own logger: with propagate=False nothing arrives at the root.
    logging.getLogger(PACKAGE).addHandler(handler)


startup_hooks.append(attach_audit_handler)  # with the SDK: @ext_app.on_startup


def by_the_caller(handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Whatever is recorded in this handler is the doing of the caller's account."""

    @wraps(handler)
    async def called(*args: Any, ctx: Context, **kwargs: Any) -> Any:
        actor = {"id": ctx.account_id}  # with the SDK: ctx.auth.account.id
        with audit_context(actor=actor):
            bind(actor=actor)  # the middleware records when the handler has returned
            return await handler(*args, ctx=ctx, **kwargs)

    return called


# --- your extension

log = logging.getLogger(f"{PACKAGE}.orders")
Ctx = Annotated[Context, Depends(context)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The SDK runs startup hooks, and no others: what is not delivered at the end is at the next start."""
    for hook in startup_hooks:
        hook()
    yield


setup_logging(os.environ.get("LOG_LEVEL", "INFO"))
api = FastAPI(lifespan=lifespan)


@api.middleware("http")
async def correlation_id(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """As the SDK does it."""
    correlation_id_ctx.set(request.headers.get("x-request-id", ""))
    return await call_next(request)


@api.post("/orders/{order_id}/process")
@by_the_caller
async def process(order_id: str, ctx: Ctx) -> dict[str, str]:
    """Recorded by a log line, which finds its order in the context variable."""
    order_id_ctx.set(order_id)  # the SDK does this for its events
    log.info("Order processed", extra={"audit": {"event": "order.processed"}})
    return {"id": order_id}


@api.post("/orders/{order_id}/approve")
@by_the_caller
@audited("order.approved", object="{order_id}")
async def approve(order_id: str, ctx: Ctx) -> dict[str, str]:
    """Recorded by the decorator."""
    return {"id": order_id}


@api.post("/orders/{order_id}/ship")
@by_the_caller
async def ship(order_id: str, ctx: Ctx) -> dict[str, str]:
    """Recorded by the middleware."""
    return {"id": order_id}


app = AuditMiddleware(
    api, routes={"POST /orders/{order_id}/ship": {"event": "order.shipped", "object": "{order_id}"}}
)
