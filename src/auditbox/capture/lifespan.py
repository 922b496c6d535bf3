"""The start of an ASGI application: a server refuses to serve what would not be recorded, and says why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from auditbox.errors import ConfigurationError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Lifespan:
    """One run of an application's lifespan, with a check before it starts and one when it has.

    A trail may be made in the application's own startup, so that only the second check knows all. It raises
    through the application, whose lifespan then cleans up.

    Args:
        check: raises a ConfigurationError; ``started`` says whether the application has started.
        receive: the server's.
        send: the server's.
    """

    def __init__(self, check: Callable[[bool], None], receive: Receive, send: Send) -> None:
        self._check, self._receive, self._send = check, receive, send
        self._wrong: ConfigurationError | None = None

    async def run(self, app: Callable[..., Awaitable[None]], asgi: MutableMapping[str, Any]) -> None:
        """Starts and stops the application.

        Raises:
            ConfigurationError: as the checks; the server has been told.
        """
        try:
            self._find_out(started=False)
        except ConfigurationError:
            await self._receive()
        else:
            await self._inside(app, asgi)
        if self._wrong is not None:
            await self._send(
                {"type": "lifespan.startup.failed", "message": f"AuditMiddleware: {self._wrong}"}
            )
            raise self._wrong

    async def _inside(self, app: Callable[..., Awaitable[None]], asgi: MutableMapping[str, Any]) -> None:
        try:
            await app(asgi, self._receive, self._send_if_right)
        except Exception:
            if self._wrong is None:
                raise

    async def _send_if_right(self, message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            self._find_out(started=True)
        if self._wrong is None:
            await self._send(message)

    def _find_out(self, *, started: bool) -> None:
        try:
            self._check(started)
        except ConfigurationError as error:
            self._wrong = error
            raise
