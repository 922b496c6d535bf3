"""Sockets to listen on, and the uvicorn server behind them."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from auditbox.emulator.strikes import TRANSPORT
from auditbox.errors import ConfigurationError

_log = logging.getLogger(__name__)


class Protocol(HttpToolsProtocol):
    """Hands the connection to the application, which must be able to break it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        inner = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[TRANSPORT] = self.transport
            await inner(scope, receive, send)

        self.app = app


class Server(uvicorn.Server):
    """A uvicorn server that says when it listens."""

    def __init__(self, app: FastAPI, listener: socket.socket, ready: Callable[[str], None] | None) -> None:
        # access_log costs a third of the throughput; what arrived is under /_emulator/requests.
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,  # the program's own logging stays as it is
            access_log=False,
            proxy_headers=False,  # the API reads them itself, and notes what they are worth
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)
        self.listener, self._ready = listener, ready
        self.url = address_of(listener)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts listening, then tells."""
        await super().startup(sockets)
        if self._ready is not None:
            self._ready(self.url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops; requests that hang on purpose are broken off first."""
        self.config.app.state.traffic.release()  # type: ignore[union-attr]
        await super().shutdown(sockets)

    def serve_forever(self) -> None:
        """Serves until told to stop, then closes the store."""
        try:
            self.run(sockets=[self.listener])
        finally:
            self.listener.close()
            self.config.app.state.service.store.close()  # type: ignore[union-attr]


def listen(host: str, port: int, *, allow_remote: bool = False) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigurationError: it is not loopback and that was not allowed, or it cannot be bound.
    """
    if not is_loopback(host):
        if not allow_remote:
            raise ConfigurationError(f"{host} lets other machines in: allow it explicitly, or use 127.0.0.1")
        _log.warning("listening on %s: other machines can read and write, there is no TLS", host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named: asyncio sets TCP_NODELAY on no other, and each answer would wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as exc:
        listener.close()
        reason = getattr(exc, "strerror", None) or str(exc)
        raise ConfigurationError(f"cannot listen on {host} port {port}: {reason}") from exc
    return listener


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_of(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
