"""The same extension as ``../../app.py``, on the SDK itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from mpt_extension_sdk import APIRouter, ExtensionApp
from mpt_extension_sdk.api import APIContext, APIResponse
from mpt_extension_sdk.runtime.logging import agreement_id_ctx, correlation_id_ctx, order_id_ctx
from mpt_extension_sdk.services.mpt_api_service import MPTAPIService

import auditbox
from auditbox import AuditHandler, AuditTrail, audit_context, audited, bind

audit = auditbox.configure(
    AuditTrail.from_env(
        token=os.environ.get("MPT_API_TOKEN") or os.environ.get("SDK_EXTENSION_API_KEY"),
        extension="shop",
        events={
            "order.approved": "Order approved",
            "order.shipped": "Order shipped",
            "order.processed": "Order processed",
        },
    )
)


class NoServices(MPTAPIService):
    """Leave this out: only this example has no Marketplace to ask for an account's token."""

    @classmethod
    async def from_auth_context(cls, **_: Any) -> Any:
        """None, and none is needed."""

    @classmethod
    async def from_vendor_account(cls, **_: Any) -> Any:
        """None, and none is needed."""


ext_app = ExtensionApp(mpt_api_service_type=NoServices)
api = APIRouter(prefix="/orders")
log = logging.getLogger(__name__)


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


@ext_app.on_startup
def attach_audit_handler() -> None:
    """At startup, since the SDK configures logging after it has imported the extension."""
    handler = AuditHandler()
    handler.addFilter(MarketplaceContext())
    logging.getLogger("shop_extension").addHandler(handler)


def by_the_caller(handler: Callable[..., Awaitable[APIResponse]]) -> Callable[..., Awaitable[APIResponse]]:
    """Whatever is recorded in this handler is the doing of the caller's account."""

    @wraps(handler)
    async def called(*args: Any, ctx: APIContext, **kwargs: Any) -> APIResponse:
        actor = {"id": ctx.auth.account.id}
        with audit_context(actor=actor):
            bind(actor=actor)
            return await handler(*args, ctx=ctx, **kwargs)

    return called


@api.post("/{order_id}/process", name="process")
@by_the_caller
async def process(order_id: str, ctx: APIContext) -> APIResponse:
    """Recorded by a log line, which finds its order in the context variable."""
    order_id_ctx.set(order_id)  # the SDK does this for its events
    log.info("Order processed", extra={"audit": {"event": "order.processed"}})
    return APIResponse.ok(payload={"id": order_id})


@api.post("/{order_id}/approve", name="approve")
@by_the_caller
@audited("order.approved", object="{order_id}")
async def approve(order_id: str, ctx: APIContext) -> APIResponse:
    """Recorded by the decorator."""
    return APIResponse.ok(payload={"id": order_id})


@api.post("/{order_id}/ship", name="ship")
@by_the_caller
async def ship(order_id: str, ctx: APIContext) -> APIResponse:
    """Recorded by the middleware."""
    return APIResponse.ok(payload={"id": order_id})


ext_app.include_router(api)
