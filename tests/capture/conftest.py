"""A trail whose captures are intercepted, and a real web server."""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from auditbox.compose import SHARES
from auditbox.testing import CapturedRecords, capture
from auditbox.trail import AuditTrail

ORDER = "ORD-1208-2301-8479"
OTHER = "ORD-0000-0000-0002"
BOUND = 60.0
"""Seconds that an answer may take; nothing is measured by it."""
get, post = functools.partial(httpx.get, timeout=BOUND), functools.partial(httpx.post, timeout=BOUND)


@pytest.fixture
def trail(tmp_path: Path) -> AuditTrail:
    """A trail that shares whatever it knows, so that tests see it."""
    return AuditTrail(tmp_path / "audit.db", extension="shop", share=SHARES)


@pytest.fixture
def records() -> Iterator[CapturedRecords]:
    """What any trail of this process captures."""
    with capture() as captured:
        yield captured


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def served(app: Any, **config: Any) -> Iterator[str]:
    """The application on a real uvicorn, in a thread; gives its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = _Server(uvicorn.Config(app, log_config=None, lifespan="off", **config))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert server.ready.wait(30)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


@pytest.fixture
def serve() -> Callable[..., AbstractContextManager[str]]:
    """``with serve(app) as url``: a real server for an ASGI application."""
    return served
