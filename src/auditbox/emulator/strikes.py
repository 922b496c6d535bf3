"""What a fault does to the request that it strikes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auditbox.emulator.arrivals import Seen
from auditbox.emulator.faults import Fault
from auditbox.emulator.problem import Problem, respond

TRANSPORT = "auditbox.transport"
"""Where the emulator's server puts the connection, in the scope's extensions."""

_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr>gateway</body></html>"


class Ongoing:
    """A request under way: can be run, answered, or broken off."""

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        seen: Seen,
        held: set[asyncio.Transport],
    ) -> None:
        self.app, self.scope, self.receive, self._send = app, scope, receive, send
        self.seen, self.held = seen, held
        self.transport: asyncio.Transport | None = scope.get("extensions", {}).get(TRANSPORT)

    async def run(self, send: Send) -> None:
        """Lets the API process it."""
        await self.app(self.scope, self.receive, send)

    async def send(self, message: Message) -> None:
        """Sends a part of the answer."""
        if message["type"] == "http.response.start":
            self.seen.status = message["status"]
        await self._send(message)

    async def answer(self, response: Response) -> None:
        """Sends a whole answer."""
        await response(self.scope, self.receive, self.send)

    async def hang(self) -> None:
        """Does nothing until the client has gone or the server stops."""
        if self.transport is not None:
            self.held.add(self.transport)
        try:
            await self._until_gone()
        finally:
            self.held.discard(self.transport)

    async def reset(self) -> None:
        """Breaks the connection with a TCP reset."""
        if self.transport is None:
            raise ConnectionResetError("the emulator broke the connection off")
        reset(self.transport)
        await self._until_gone()

    async def _until_gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


class Strike:
    """A fault that strikes one request."""

    def __init__(self, fault: Fault, request: Ongoing) -> None:
        self.fault, self.request = fault, request
        request.seen.fault = fault.action

    async def run(self) -> None:
        """Processes the request where the fault says so, then does what it says."""
        fault = self.fault
        if fault.delay and fault.action != "slow":
            await asyncio.sleep(fault.delay)
        if fault.action == "delay":
            await self.request.run(self.request.send)
            return
        answer = _Answer()
        if fault.commits:
            await self.request.run(answer)
        await getattr(self, f"_{fault.action}")(answer)

    async def _status(self, _answer: _Answer) -> None:
        await self.request.answer(_scripted(self.fault))

    async def _html(self, _answer: _Answer) -> None:
        name = f"{self.fault.status} Gateway"
        await self.request.answer(HTMLResponse(_PAGE.format(name), self.fault.status, _headers(self.fault)))

    async def _hang(self, _answer: _Answer) -> None:
        await self.request.hang()

    async def _reset(self, _answer: _Answer) -> None:
        await self.request.reset()

    _drop = _reset

    async def _truncated(self, answer: _Answer) -> None:
        await self.request.answer(answer.response(answer.body[: len(answer.body) // 2]))

    async def _empty(self, answer: _Answer) -> None:
        await self.request.answer(answer.response(b""))

    async def _slow(self, answer: _Answer) -> None:
        await self.request.send(answer.start(len(answer.body)))
        pieces = [answer.body[at : at + 1] for at in range(min(10, len(answer.body)))]
        for piece in [*pieces, answer.body[len(pieces) :]]:
            await asyncio.sleep(self.fault.delay / (len(pieces) + 1))
            await self.request.send({"type": "http.response.body", "body": piece, "more_body": True})
        await self.request.send({"type": "http.response.body", "body": b""})


class _Answer:
    """Catches what the API answers."""

    def __init__(self) -> None:
        self.status, self.headers, self.body = 500, list[tuple[bytes, bytes]](), b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")

    def start(self, length: int) -> Message:
        """The answer's head with another length."""
        headers = [pair for pair in self.headers if pair[0].lower() != b"content-length"]
        headers.append((b"content-length", str(length).encode()))
        return {"type": "http.response.start", "status": self.status, "headers": headers}

    def response(self, body: bytes) -> Response:
        """The answer with another body."""
        kept = {name.decode(): value.decode("latin-1") for name, value in self.start(len(body))["headers"]}
        return Response(body, self.status, kept)


def _scripted(fault: Fault) -> Response:
    headers = _headers(fault)
    if fault.body is None and fault.status >= 400:
        return respond(Problem(fault.status, "A scripted fault of the emulator."), headers)
    if isinstance(fault.body, dict | list):
        return JSONResponse(fault.body, fault.status, headers)
    return Response(fault.body or "", fault.status, headers, media_type="text/plain")


def _headers(fault: Fault) -> dict[str, str]:
    wait: Mapping[str, str] = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    return {**wait, **fault.headers}


def reset(transport: asyncio.Transport) -> None:
    """Closes a connection with RST: the peer sees "connection reset", never an orderly end."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
