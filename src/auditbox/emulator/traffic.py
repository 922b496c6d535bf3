"""The layer in front of the API: notes every request and lets the scripted faults strike."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auditbox.emulator.arrivals import Seen, object_id
from auditbox.emulator.faults import Plan
from auditbox.emulator.problem import Problem, respond
from auditbox.emulator.strikes import Ongoing, Strike, reset

MAX_BODY = 30_000_000
KEPT = 10_000
KEPT_BYTES = 32 * 1024 * 1024
_OWN = ("/_emulator", "/docs", "/redoc", "/openapi.json")


@dataclass
class Traffic:
    """What arrived (the newest requests of it, bounded in number and bytes), and the plan of faults."""

    plan: Plan = field(default_factory=Plan)
    seen: deque[Seen] = field(default_factory=deque)
    count: int = 0
    size: int = 0
    max_body: int = MAX_BODY
    held: set[asyncio.Transport] = field(default_factory=set)
    """The connections of requests that hang."""

    def release(self) -> None:
        """Breaks the hanging requests off, for the server to stop."""
        for transport in list(self.held):
            reset(transport)

    def note(self, scope: Scope, body: bytes) -> Seen:
        """Writes a request down."""
        self.count += 1
        query = scope["query_string"].decode("latin-1")
        seen = Seen(self.count, time.time(), scope["method"], scope["path"], query, scope["headers"], body)
        self.seen.append(seen)
        self.size += len(body)
        while len(self.seen) > KEPT or (self.size > KEPT_BYTES and len(self.seen) > 1):
            self.size -= len(self.seen.popleft().body)
        return seen

    def forget(self) -> None:
        """Forgets what arrived; the count goes on."""
        self.seen.clear()
        self.size = 0


class TrafficMiddleware:
    """Notes what is asked of the API, at a wrong address too; the emulator's own pages are left alone."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self.app, self.traffic = app, traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"].startswith(_OWN):
            await self.app(scope, receive, send)
            return
        try:
            body, whole = await read_body(receive, self.traffic.max_body)
        except ClientDisconnect:
            return  # it never was a request
        seen = self.traffic.note(scope, body)
        plan = self.traffic.plan
        fault = plan.choose(seen.method, seen.path, object_id(body) if plan.needs_object else None)
        if plan.latency:
            await asyncio.sleep(plan.latency)
        app = self.app if whole else _too_large
        request = Ongoing(app, scope, _replay(body, receive), send, seen, self.traffic.held)
        if fault is None:
            await request.run(request.send)
        else:
            await Strike(fault, request).run()


async def read_body(receive: Receive, most: int) -> tuple[bytes, bool]:
    """A request's body, and whether that is all of it: of a larger one nothing is kept beyond the limit.

    It is read to its end all the same: a client that still sends does not read the answer.

    Raises:
        ClientDisconnect: the client went away before it had sent all of it.
    """
    parts, length = list[bytes](), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        length += len(part)
        if length <= most:
            parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts), length <= most


async def _too_large(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(Problem(413, "The request's body is too large."))(scope, receive, send)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
