"""FastAPI with whatever may go wrong in it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException, Request, Response, WebSocket
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware

from auditbox import AuditMiddleware
from tests.capture.untouched.common import AUDIT, RULES, is_user, saw


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """As the application's own."""
    saw("starts")
    if "FAIL_START" in os.environ:
        raise OSError("no database")
    yield
    saw("ends")


class Breaks:
    """Middleware that raises where a request asks for it by its name."""

    def __init__(self, app: Any, name: str) -> None:
        self.app, self.name = app, name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        asked = headers.get(b"x-break", b"").decode()
        if self.name == "above" and headers:
            saw(f"reached {headers[b'x-request-id'].decode()}")
        if asked == f"{self.name}-before":
            raise RuntimeError(asked)
        await self.app(scope, receive, send)
        if asked == f"{self.name}-after":
            raise RuntimeError(asked)


def by_sync_yield(
    authorization: Annotated[str, Header()], x_fail: Annotated[str, Header()] = ""
) -> Iterator[None]:
    """Authenticates in the thread pool."""
    is_user(authorization)
    try:
        yield
    finally:
        saw("sync dependency ends")
    if x_fail == "dependency":
        raise ValueError("after the view")


async def by_async_yield(authorization: Annotated[str, Header()]) -> AsyncIterator[None]:
    """Authenticates on the event loop."""
    is_user(authorization)
    try:
        yield
    except HTTPException as error:
        saw(f"async dependency sees {error.status_code}")
        raise


async def passing(request: Request, call_next: Any) -> Response:
    """A BaseHTTPMiddleware, which runs what is below it in another task."""
    response: Response = await call_next(request)
    return response


app = FastAPI(lifespan=lifespan)
inner = FastAPI()


@app.api_route("/orders/{order}", methods=["GET", "HEAD"])
def read(order: str) -> dict[str, str]:
    """Also asked for by HEAD."""
    return {"id": order}


@app.post("/orders/{order}")
async def change(order: str, request: Request, response: Response) -> dict[str, Any]:
    """Reads its body in parts."""
    size = 0
    async for part in request.stream():
        size += len(part)
    response.headers.append("set-cookie", "a=1")
    response.headers.append("set-cookie", "b=2")
    return {"id": order, "size": size}


@app.post("/none")
async def none() -> dict[str, str]:
    """No order in the path."""
    return {}


@app.post("/raise/{order}")
def raises(order: str) -> None:
    """An exception that nobody handles."""
    raise ValueError(order)


@app.post("/sync/{order}", dependencies=[Depends(by_sync_yield)])
async def sync(order: str) -> dict[str, str]:
    """Under a sync dependency with an end."""
    return {"id": order}


@app.post("/async/{order}", dependencies=[Depends(by_async_yield)])
def refused(order: str) -> None:
    """Under an async one."""
    raise HTTPException(409, "no stock", {"x-reason": "stock"})


@app.post("/stream/{order}")
def stream(order: str) -> StreamingResponse:
    """Server-sent events."""
    return StreamingResponse((f"data: {n}\n\n" for n in range(3)), media_type="text/event-stream")


@app.post("/torn/{order}")
def torn(order: str) -> StreamingResponse:
    """A stream that breaks off."""

    def parts() -> Iterator[str]:
        yield "first"
        raise OSError("the disk is gone")

    return StreamingResponse(parts())


class Endless(StreamingResponse):
    """Sees its own end: the garbage collector closes a generator whose last part was being sent, some day."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            saw("endless stream ends")


@app.post("/endless/{order}")
async def endless(order: str) -> StreamingResponse:
    """A stream that only the client ends."""

    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0)

    return Endless(parts())


@app.post("/background/{order}")
def background(order: str, tasks: BackgroundTasks) -> dict[str, str]:
    """Goes on after the answer."""
    tasks.add_task(saw, "background task ran")
    return {"id": order}


@app.post("/file/{order}")
def file(order: str) -> FileResponse:
    """From the disk."""
    return FileResponse(__file__)


@app.post("/moved/{order}")
def moved(order: str) -> RedirectResponse:
    """After a form."""
    return RedirectResponse(f"/orders/{order}", 303)


@app.post("/empty/{order}", status_code=204)
def empty(order: str) -> None:
    """No body."""


@app.websocket("/chat/{order}")
async def chat(socket: WebSocket, order: str) -> None:
    """Says everything back once."""
    await socket.accept(headers=[(b"x-room", order.encode())])
    await socket.send_text(await socket.receive_text())
    await socket.close(4000, "enough")


@inner.post("/orders/{order}")
def inner_change(order: str) -> dict[str, str]:
    """In a mounted application."""
    return {"id": order}


app.mount("/tenants/{tenant}", inner)
app.add_middleware(Breaks, name="below")
app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
if AUDIT:
    app.add_middleware(AuditMiddleware, **RULES)
app.add_middleware(Breaks, name="above")
