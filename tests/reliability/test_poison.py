"""Records that the server will never take: they are put aside, and nobody else waits for them."""

from __future__ import annotations

import time

import pytest

from .figures import quantile, report
from .house import House, Puppet
from .oracle import read_delays
from .sizes import PATIENCE, sized
from .work import lane_of

POISONED = 10


@pytest.mark.timeout(PATIENCE * 6)
@pytest.mark.parametrize("status", [400, 403])
def test_only_the_object_of_a_poisoned_record_waits(house: House, status: int) -> None:
    """Rejected for good, or refused again and again: all other objects are delivered as if nothing were."""
    count = sized(250, 10_000)
    puppet = house.puppet(lanes=POISONED + 200)
    poisoned = {lane_of(house.id, lane) for lane in range(POISONED)}
    without = deliver(house, puppet, count)
    house.server.faults(
        *({"action": "status", "status": status, "method": "POST", "object": about} for about in poisoned)
    )
    for lane in range(POISONED):
        puppet.ask("capture", count=1, lane=lane)
    with_poison = deliver(house, puppet, count)
    dead = house.dead()
    assert len(dead) == (POISONED if status == 400 else 0)
    assert poisoned.isdisjoint(one.lane for one in house.arrived())
    house.server.faults()
    puppet.ask("flush", timeout=PATIENCE)
    figures = house.assert_flawless(dead).figures
    report(
        f"5. poison, {status}",
        delivery_p99_seconds_without=round(without, 3),
        delivery_p99_seconds_with=round(with_poison, 3),
        ratio=round(with_poison / without, 2),
        dead=len(dead),
        **figures,
    )


def test_objects_that_are_refused_do_not_keep_others_waiting_when_nothing_else_has_happened(
    house: House,
) -> None:
    """Ten refused in a row look like a wrong token; a healthy object captured then shows that it is none."""
    poisoned = [lane_of(house.id, lane) for lane in range(2 * POISONED)]
    house.server.faults(
        *({"action": "status", "status": 403, "method": "POST", "object": about} for about in poisoned)
    )
    puppet = house.puppet(lanes=100)
    for lane in range(len(poisoned)):
        puppet.ask("capture", count=1, lane=lane)
    house.until(lambda: "refused in a row" in (puppet.ask("status")["waits"] or ""), "a pause")
    puppet.ask("capture", count=30, lanes=[len(poisoned), 100])
    house.until(lambda: house.stored() == 30, "the delivery of what is healthy", patience=30.0)


def deliver(house: House, puppet: Puppet, count: int) -> float:
    """Captures about healthy objects and waits for all of them; the p99 of their way, in seconds."""
    begin, stored = time.time(), house.stored()
    puppet.ask("capture", count=count, lanes=[POISONED, POISONED + 200], pace=0.02)
    house.until(lambda: house.stored() >= stored + count, "the delivery of what is healthy")
    return quantile(read_delays(house.server.database, house.id, begin), 0.99)
