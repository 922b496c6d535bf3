"""Clocks that are set, under way and across restarts: nothing waits for a moment that does not come."""

from __future__ import annotations

import pytest

from .figures import report
from .house import House
from .sizes import PATIENCE

JUMPS = {"an hour ahead": 3600.0, "an hour back": -3600.0, "a day back": -86400.0}


@pytest.mark.timeout(PATIENCE * 3)
@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_is_set_stops_no_delivery_and_doubles_nothing(house: House, jump: str) -> None:
    """With retries, look-ups and pauses pending on either side of the jump."""
    house.server.faults(
        {"action": "drop", "method": "POST", "probability": 0.2},
        {"action": "status", "status": 403, "method": "POST", "probability": 0.2},
        {"action": "status", "status": 429, "method": "POST", "probability": 0.1},
        seed=house.seed,
    )
    puppet = house.puppet(lanes=60, verify_after=2.0)
    puppet.ask("capture", count=60)
    house.until(lambda: house.stored() > 5, "some deliveries")
    puppet.ask("clock", jump=JUMPS[jump])
    puppet.ask("capture", count=60)
    house.until(lambda: house.stored() > 40, "deliveries after the jump")
    house.server.faults()
    flushed = puppet.ask("flush", timeout=PATIENCE)
    assert (flushed["pending"], flushed["dead"]) == (0, 0), house.logs()
    assert puppet.end() == 0
    report(f"8. clock {jump}", **house.assert_flawless().figures)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_is_set_between_two_runs_stops_no_delivery(house: House, jump: str) -> None:
    """What a killed program left in the middle of retries is delivered by one with another clock."""
    house.server.faults({"action": "status", "status": 403, "probability": 0.7}, seed=house.seed)
    first = house.puppet("first", lanes=8)
    first.ask("capture", count=30)
    house.until(lambda: len(house.server.requests()) > 20, "refusals")
    first.process.kill()
    first.process.wait()
    house.server.faults()
    second = house.puppet("second", lanes=8, verify_after=2.0)
    second.ask("clock", jump=JUMPS[jump])
    second.ask("capture", count=10)
    flushed = second.ask("flush", timeout=PATIENCE)
    assert (flushed["pending"], flushed["dead"]) == (0, 0), house.logs()
    house.assert_flawless()
