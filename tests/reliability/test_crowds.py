"""Five hundred threads, and signals that never stop."""

from __future__ import annotations

import pytest

from .figures import quantile, report
from .house import House
from .sizes import PATIENCE, sized


@pytest.mark.timeout(PATIENCE * 4)
def test_five_hundred_threads_lose_nothing(house: House) -> None:
    """Twenty captures each, all at once; the long form delivers them as well, and compares."""
    house.run("crowd", threads=500, count=20, relays=False, lanes=400, url=sized_url(house))
    acks = house.told()
    assert len(acks) == 500 * 20
    stored = {id for (id,) in house.rows("SELECT id FROM entry")}
    assert {ack.id for ack in acks} <= stored
    taken = [ack.end - ack.begin for ack in acks]
    figures = {
        "p50_ms": quantile(taken, 0.5) * 1e3,
        "p99_ms": quantile(taken, 0.99) * 1e3,
        "worst_ms": max(taken) * 1e3,
    }
    delivered = {}
    if sized(0, 1):
        house.drain()
        delivered = house.assert_flawless().figures
    report("8. 500 threads x 20", **{name: round(value, 1) for name, value in figures.items()}, **delivered)


def sized_url(house: House) -> str:
    """The bounded form captures only."""
    return house.server.url if sized(0, 1) else ""


@pytest.mark.timeout(PATIENCE * 3)
def test_a_storm_of_signals_that_capture_loses_nothing_and_ends(house: House) -> None:
    """Captures within captures: no deadlock, no nested transaction, and each arrives once."""
    house.run("storm", signals=sized(150, 3000), lanes=100)
    house.drain()
    report("8. signal storm", **house.assert_flawless().figures)
