"""A running emulator and clients for it."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from auditbox.emulator import Emulator, running

TOKEN = "idt:TKN-1234-5678:secret"
OPERATIONS = "idt:TKN-0000-0001:operations"
VENDOR = "idt:TKN-1111-1111:vendor"
CLIENT = "idt:TKN-9042-0088:client"
ORDER = "ORD-1208-2301-8479"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A lax emulator in memory."""
    with running() as started:
        yield started


@pytest.fixture
def strict() -> Iterator[Emulator]:
    """A strict emulator with the seed that ships with the package."""
    with running(strict=True) as started:
        yield started


@pytest.fixture(scope="module")
def shared() -> Iterator[httpx.Client]:
    """A plain HTTP client for a lax emulator that the tests of a module share: starting one takes time."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with (
        running() as started,
        httpx.Client(base_url=f"{started.url}/public/v1/audit", headers=headers) as http,
    ):
        yield http


@pytest.fixture
def connect() -> Iterator[Callable[..., httpx.Client]]:
    """Makes plain HTTP clients for an emulator."""
    clients: list[httpx.Client] = []

    def make(emulator: Emulator, token: str | None = TOKEN) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = httpx.Client(base_url=f"{emulator.url}/public/v1/audit", headers=headers, trust_env=False)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def http(emulator: Emulator, connect: Callable[..., httpx.Client]) -> httpx.Client:
    """A plain HTTP client for the lax emulator."""
    return connect(emulator)


def submission(**changes: Any) -> dict[str, Any]:
    """A good submission, but for the changes; a value of None takes the field away."""
    body = {
        "event": "extensions.shop.order.approved",
        "summary": "Order approved",
        "details": "{{order.id}} was approved by {{actor.name}}.",
        "object": {"id": ORDER},
        "documents": {"order": {"id": ORDER, "status": "Approved"}},
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}
