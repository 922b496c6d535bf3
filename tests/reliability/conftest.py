"""A server of its own process for each worker of the suite, and a house for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .house import House, Server
from .sizes import new_seed


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def server(running_server: Server) -> Iterator[Server]:
    """The server, without faults before and after."""
    running_server.faults()
    yield running_server
    running_server.faults()


@pytest.fixture
def seed() -> int:
    """Printed, so that a run can be repeated: ``AUDITBOX_SEED=… pytest …``."""
    chosen = new_seed()
    print(f"AUDITBOX_SEED={chosen}")
    return chosen


@pytest.fixture
def houses(tmp_path: Path, server: Server, seed: int) -> Iterator[Callable[[], House]]:
    """Makes houses, and ends what they started."""
    made: list[House] = []

    def make() -> House:
        made.append(House(tmp_path / f"house-{len(made)}", server, seed))
        return made[-1]

    yield make
    for house in made:
        house.end()


@pytest.fixture
def house(houses: Callable[[], House]) -> House:
    return houses()
