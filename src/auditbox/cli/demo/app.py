"""The application of the demo: orders that are approved, shipped and cancelled, each captured another way.

``python -m auditbox.cli.demo.app --outbox FILE --api URL --port N`` serves it with uvicorn and prints its
address. It ends when its standard input does, so it never outlives the demo.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from auditbox import AuditHandler, AuditMiddleware, AuditTrail, Backoff, Policy, audited, bind, configure
from auditbox.sinks.audit_api import AuditApiSink

TOKEN = "idt:TKN-1234-5678:demo"
EVENTS = {
    "order.approved": "Order approved",
    "order.shipped": "Order shipped",
    "order.cancelled": "Order cancelled",
}
logger = logging.getLogger("orders")


def make_trail(outbox: str, api: str) -> AuditTrail:
    """The trail of the application.

    The emulator answers at once, so an attempt may last 3 s here, and what may have arrived is looked up
    4 s after it: the demo need not wait for the 65 s that suit an API far away. Nor for pauses between
    probes of half a minute.
    """
    return AuditTrail(
        outbox,
        sink=AuditApiSink(api, TOKEN, deadline=3),
        policy=Policy(verify_after=4, pause=Backoff(0.2, longest=1)),
        extension="demo",
        events=EVENTS,
    )


@audited("order.shipped", object="{order_id}", documents={"parcel": {"carrier": "{carrier}"}})
def hand_over(order_id: str, carrier: str) -> str:
    """Captured by the decorator."""
    return f"{order_id} is with {carrier}"


def create_app(trail: AuditTrail, ready: Callable[[], None]) -> FastAPI:
    """The web application; every POST that is answered with 2xx has one record on disk."""
    configure(trail)
    logger.addHandler(AuditHandler())
    logger.setLevel(logging.INFO)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Delivery starts with the process, not with its first capture: something may be left from before.
        async with trail:
            ready()
            yield

    app = FastAPI(title="Orders", lifespan=lifespan)

    @app.post("/orders/{order_id}/approve")
    def approve(order_id: str) -> dict[str, str]:
        """Captured through ``logging``, by the line that an application writes anyway."""
        bind(actor={"id": "USR-0556-8733"})
        audit = {"event": "order.approved", "object": order_id}
        logger.info("Order %s approved", order_id, extra={"audit": audit})
        return {"id": order_id, "status": "Processing"}

    @app.post("/orders/{order_id}/ship")
    def ship(order_id: str) -> dict[str, str]:
        """Captured by the decorator of what it calls."""
        bind(actor={"id": "USR-4410-2087"})
        return {"id": order_id, "status": hand_over(order_id, "Alpine Post")}

    @app.post("/orders/{order_id}/cancel")
    async def cancel(order_id: str) -> dict[str, str]:
        """Captured by the middleware, which knows the route."""
        return {"id": order_id, "status": "Cancelled"}

    # Binds each request's id (X-Request-Id) to whatever is captured inside it.
    app.add_middleware(
        AuditMiddleware,
        routes={"POST /orders/{order_id}/cancel": {"event": "order.cancelled", "object": "{order_id}"}},
    )
    return app


def main() -> int:
    """Serves until SIGTERM, and prints the address as soon as requests are accepted."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--outbox", "--api"):
        parser.add_argument(option, required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    # With its protocol named: asyncio sets TCP_NODELAY on no other, and each answer would wait 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", options.port))
    listener.listen()
    threading.Thread(target=_follow_parent, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = create_app(make_trail(options.outbox, options.api), lambda: print(url, flush=True))
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _follow_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
