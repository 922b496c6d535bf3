"""What tests of the outbox share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditbox.outbox.base import Draft
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.uuid7 import uuid7


def draft(lane: str = "ORD-1111-1111", body: bytes = b"{}") -> Draft:
    return Draft(uuid7(), lane, body)


@pytest.fixture(autouse=True)
def _nothing_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests' clocks stand long ago, that of the upkeep's thread does not: on a busy machine it would
    come in time to forget what a test has just delivered."""
    monkeypatch.setitem(SqliteOutbox.__init__.__kwdefaults__, "keep_delivered", 1e12)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., SqliteOutbox]]:
    """Makes outboxes at one path and closes them at the end."""
    made: list[SqliteOutbox] = []

    def make(**options: Any) -> SqliteOutbox:
        made.append(SqliteOutbox(tmp_path / "audit.db", **options))
        return made[-1]

    yield make
    for outbox in made:
        outbox.close()


@pytest.fixture
def outbox(make: Callable[..., SqliteOutbox]) -> SqliteOutbox:
    return make()
