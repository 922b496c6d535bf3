"""A server that is away while much is captured: captures do not notice, and all of it arrives afterwards."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from .figures import quantile, report
from .house import House
from .sizes import PATIENCE, sized

NORMAL = sized(500, 5_000)
CAPTURED = sized(2_500, 100_000)
OUTAGE = float(os.environ.get("AUDITBOX_OUTAGE") or sized(0, 600))
"""Seconds that it lasts at least."""
INTERVAL = 0.5
LATENCY = 0.02
SELDOM = 0.25
"""Seconds between two looks at what has arrived: counting 100,000 records takes as long as storing some."""
LARGEST_WAL = 64 << 20
FLAT = 48
"""MiB by which memory may grow: caches fill; 100,000 records kept would be 200 MiB and more."""


class Watch:
    """The size of the WAL and the program's memory, looked at from outside."""

    def __init__(self, house: House, pid: int) -> None:
        self._wal, self._pid = Path(f"{house.outbox}-wal"), pid
        self.wal = self.memory = 0.0

    def look(self) -> None:
        with suppress(FileNotFoundError):
            self.wal = max(self.wal, os.stat(self._wal).st_size)
        status = Path(f"/proc/{self._pid}/status").read_text()
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        self.memory = max(self.memory, int(resident.split()[1]) / 1024)


@pytest.mark.timeout(PATIENCE * 6 + OUTAGE)
def test_an_outage_costs_captures_nothing_and_all_of_it_arrives(house: House) -> None:
    """One probe an interval, a bounded WAL, flat memory; then everything is delivered once and in order."""
    connections = house.folder / "connections"
    puppet = house.puppet(lanes=sized(200, 2000), interval=INTERVAL, connections=str(connections))
    watch = Watch(house, puppet.process.pid)
    puppet.tell("capture", count=NORMAL, pace=OUTAGE / CAPTURED)  # as during the outage, or caches differ
    puppet.answer(watch.look)
    puppet.ask("flush", timeout=PATIENCE)
    memory = watch.memory
    house.server.kill()
    connections.write_bytes(b"")
    began = time.monotonic()
    for _ in range(10):
        puppet.tell("capture", count=CAPTURED // 10, pace=OUTAGE / CAPTURED)
        assert puppet.answer(watch.look)["refused"] == {}
    house.until(lambda: len(probes_of(connections)) > 4, "probes")
    probes, lasted = probes_of(connections), time.monotonic() - began
    house.server.restart()
    house.server.faults(latency=LATENCY)
    drained = drain(house, watch)
    assert puppet.end() == 0
    verdict = house.assert_flawless()
    assert_one_probe_an_interval(probes)
    assert watch.wal <= LARGEST_WAL
    assert watch.memory <= memory + FLAT
    taken = [ack.end - ack.begin for ack in house.told()]
    normal, outage = quantile(taken[:NORMAL], 0.99), quantile(taken[NORMAL:], 0.99)
    report(
        "3. outage",
        seconds=round(lasted, 1),
        captured=CAPTURED,
        capture_p99_us_normal=round(normal * 1e6),
        capture_p99_us_outage=round(outage * 1e6),
        ratio=round(outage / normal, 2),
        probes=len(probes),
        drained_per_second=round(drained),
        largest_wal_mib=round(watch.wal / 2**20, 1),
        memory_mib_before=round(memory, 1),
        memory_mib_most=round(watch.memory, 1),
        **verdict.figures,
    )


def probes_of(connections: Path) -> list[float]:
    """When a connection was tried, but for those under way when the outage began, which fail at once."""
    tried = [float(line) for line in connections.read_text().split()]
    return [moment for moment in tried if moment > tried[0] + INTERVAL / 2]


def drain(house: House, watch: Watch) -> float:
    """Records a second from the first arrival after the outage until all have arrived."""
    house.until(lambda: house.stored() > NORMAL, "delivery after the outage")
    first, begin = house.stored(), time.monotonic()

    def done() -> bool:
        watch.look()
        return house.stored() >= NORMAL + CAPTURED

    house.until(done, "the end of delivery", every=SELDOM)
    return (NORMAL + CAPTURED - first) / (time.monotonic() - begin)


def assert_one_probe_an_interval(probes: list[float]) -> None:
    gaps = [later - earlier for earlier, later in pairwise(probes)]
    assert min(gaps) >= INTERVAL * 0.95, gaps


@pytest.mark.timeout(PATIENCE * 4)
def test_an_outage_that_answers_503_ends_like_one_that_does_not_answer(house: House) -> None:
    """Each probe is in doubt and is looked up: still once, in order, and no dead letter."""
    puppet = house.puppet(lanes=40, pause=0.3, verify_after=2.0)
    house.server.faults({"action": "status", "status": 503})
    assert puppet.ask("capture", count=sized(200, 5000))["refused"] == {}
    house.until(lambda: len(house.server.requests()) > 5, "probes")
    house.server.faults()
    assert puppet.ask("flush", timeout=PATIENCE) | {"delivered": 0} == {
        "delivered": 0,
        "pending": 0,
        "dead": 0,
    }
    report("3. outage of 503s", **house.assert_flawless().figures)
