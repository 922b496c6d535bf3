"""A full disk: captures say so at once, delivery goes on, and captures do when there is space."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auditbox import AuditTrail
from auditbox.emulator import Emulator, running
from auditbox.errors import OutboxFull
from auditbox.outbox import ballast
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.relay.policy import Policy
from auditbox.relay.worker import Worker
from auditbox.sinks.audit_api import AuditApiSink

TOKEN = "idt:TKN-1234-5678:secret"
TEXT = {"order": {"text": "x" * 500}}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB of its own."""
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.fixture
def api() -> Iterator[Emulator]:
    with running() as emulator:
        yield emulator


@pytest.fixture
def relay(disk: Path, api: Emulator) -> Iterator[Callable[[], Worker]]:
    """A relay as it runs in a process that captures nothing."""
    made: list[Worker] = []

    def relay() -> Worker:
        outbox = SqliteOutbox(disk / "audit.db", create=False)
        made.append(Worker(outbox, AuditApiSink(api.url, TOKEN), Policy(), concurrency=16))
        made[-1].start()
        return made[-1]

    yield relay
    for worker in made:
        worker.close(0.0)


def fill(disk: Path) -> Path:
    """Something else takes every byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * 4096)
            except OSError:
                return filler


def arrived(api: Emulator) -> list[str]:
    posted = [request for request in api.requests() if request["method"] == "POST"]
    return sorted(request["body"]["documents"]["auditbox"]["id"] for request in posted)


def capture(trail: AuditTrail, count: int) -> tuple[list[str], int]:
    """The ids of what was stored, and how many captures were refused."""
    ids: list[str] = []
    refused = 0
    for number in range(count):
        try:
            ids.append(trail.record("order.approved", object=f"ORD-0000-{number % 50:04}", documents=TEXT))
        except OutboxFull as error:
            assert "free some space" in str(error)  # noqa: PT017
            refused += 1
    return ids, refused


def test_a_full_disk_stops_captures_and_nothing_else(
    disk: Path, api: Emulator, relay: Callable[[], Worker]
) -> None:
    """Captures are refused aloud, what was stored is delivered all the same, and later nothing is missing."""
    with AuditTrail(disk / "audit.db", extension="shop") as trail:
        stored, refused = capture(trail, 300)
        assert not refused
        assert ballast.beside(disk / "audit.db").stat().st_size == (8 << 20) // 32
        trail.outbox.checkpoint()  # as its upkeep does within a second
        filler = fill(disk)
        more, refused = capture(trail, 3000)
        assert refused
        worker = relay()
        assert worker.flush(60)
        assert arrived(api) == sorted(stored + more)
        assert ballast.is_released(disk / "audit.db")
        assert capture(trail, 100) == ([], 100), "captures may not use what was set free for delivery"
        filler.unlink()
        again, refused = capture(trail, 100)
        assert not refused
        assert worker.flush(60)
        assert arrived(api) == sorted(stored + more + again)
        assert not ballast.is_released(disk / "audit.db")


def test_a_process_can_start_on_a_full_disk(disk: Path, api: Emulator, relay: Callable[[], Worker]) -> None:
    """To open the outbox takes some space, too."""
    with AuditTrail(disk / "audit.db", extension="shop") as trail:
        stored, _ = capture(trail, 100)
    fill(disk)
    assert relay().flush(60)
    assert arrived(api) == sorted(stored)


def test_a_disk_that_is_too_small_for_a_ballast_is_used_all_the_same(disk: Path) -> None:
    """Where there is no space to set aside, captures go on as long as they can."""
    (disk / "other").write_bytes(b"x" * ((8 << 20) - (600 << 10)))
    with AuditTrail(disk / "audit.db", extension="shop") as trail:
        stored, refused = capture(trail, 20)
        assert (len(stored), refused) == (20, 0)
        assert not ballast.beside(disk / "audit.db").exists()
