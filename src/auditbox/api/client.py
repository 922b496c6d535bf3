"""The typed client of the Audit API: :class:`AuditApi` and its awaiting sister."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import httpx

from auditbox.api.address import api_root
from auditbox.api.drivers import AsyncDriver, Driver, user_agent
from auditbox.api.resources import AsyncEventTypes, AsyncRecords, EventTypes, Records
from auditbox.api.steps import Retries
from auditbox.api.tokens import Token, TokenSource
from auditbox.errors import ConfigurationError

TIMEOUT = 30.0


class AuditApi:
    """The whole Audit API, typed. Threads may share one; use it as a context manager, or close it.

    ::

        with AuditApi("https://api.platform.softwareone.com", token=...) as api:
            for record in api.records.iterate(F.object.id == "ORD-1208-2301-8479"):
                print(record.timestamp, record.summary)

    Args:
        base_url: the API's host, ``…/public`` or ``…/public/v1``.
        token: the token, a file that holds it, or a callable that gives it; after a 401 it is asked for
            once more.
        timeout: seconds for each phase: connecting, sending, each read, waiting for a connection.
        retries: how reads are repeated; writes never are.
        transport: an ``httpx`` transport, for tests.

    Raises:
        ConfigurationError: the address or the token cannot be used.

    Attributes:
        records: audit records.
        event_types: event types.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: TokenSource,
        timeout: float = TIMEOUT,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._client = httpx.Client(transport=transport, **_options(timeout))
        self._driver = Driver(api_root(base_url), Token(token), self._client)
        self.records = Records(self._driver, retries or Retries())
        self.event_types = EventTypes(self._driver, retries or Retries())

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def __enter__(self) -> AuditApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"AuditApi({self._driver.root!r}, token={self._driver.token!r})"


class AsyncAuditApi:
    """As :class:`AuditApi`, with ``await`` and ``async for``."""

    def __init__(
        self,
        base_url: str,
        *,
        token: TokenSource,
        timeout: float = TIMEOUT,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = httpx.AsyncClient(transport=transport, **_options(timeout))
        self._driver = AsyncDriver(api_root(base_url), Token(token), self._client)
        self.records = AsyncRecords(self._driver, retries or Retries())
        self.event_types = AsyncEventTypes(self._driver, retries or Retries())

    async def aclose(self) -> None:
        """Closes its connections."""
        await self._client.aclose()

    async def __aenter__(self) -> AsyncAuditApi:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncAuditApi({self._driver.root!r}, token={self._driver.token!r})"


def _options(timeout: float) -> dict[str, Any]:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < 1e6:
        raise ConfigurationError(f"timeout={timeout!r}: seconds, more than 0")
    # No proxies or credentials from the environment, no redirects: the token goes to this address alone.
    return {
        "timeout": httpx.Timeout(timeout),
        "trust_env": False,
        "follow_redirects": False,
        "headers": {"User-Agent": user_agent()},
    }
