"""Tokens that expire, rotate or cannot be had, servers that refuse everything: nothing is dead-lettered."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .figures import report
from .house import House, Puppet
from .sizes import PATIENCE

GOOD = "idt:TKN-1234-5678:proof"
OLD = "idt:TKN-9999-0000:old"
HELD = {"delivered": 0, "pending": 30, "dead": 0}
GONE = {"delivered": 0, "pending": 0, "dead": 0}


def hold(house: House, puppet: Puppet, count: int = 30) -> None:
    """Captures while nothing can be delivered, long enough to be refused more than once."""
    assert puppet.ask("capture", count=count)["refused"] == {}
    house.until(lambda: puppet.ask("status")["waits"], "a pause")
    assert puppet.ask("status")["dead"] == 0


def recovers(house: House, puppet: Puppet, name: str) -> None:
    """From now on everything can be delivered, and is."""
    begin = time.monotonic()
    house.until(house.arrived, "the first delivery")
    seconds = time.monotonic() - begin
    assert puppet.ask("flush", timeout=PATIENCE) | {"delivered": 0} == GONE
    report(name, recovered_after_seconds=round(seconds, 2), dead=0, **house.assert_flawless().figures)


def test_a_token_that_is_rotated_is_read_again(house: House) -> None:
    """The file held a token that the server does not accept any more; delivery goes on with the new one."""
    file = house.folder / "token"
    file.write_text("idt:expired")
    puppet = house.puppet(token="file", token_file=str(file))
    hold(house, puppet)
    file.write_text(GOOD)
    recovers(house, puppet, "4. rotated token")


def test_a_token_that_expires_under_way_is_asked_for_anew(house: House) -> None:
    """The server refuses a token that it accepted before; the next one is asked for at once."""
    file = house.folder / "token"
    file.write_text(OLD)
    puppet = house.puppet(token="callable", token_file=str(file))
    puppet.ask("capture", count=10)
    assert puppet.ask("flush", timeout=PATIENCE)["pending"] == 0
    house.server.faults({"action": "status", "status": 401, "method": "POST"})
    hold(house, puppet)
    file.write_text(GOOD)
    house.server.faults()
    house.until(lambda: len(house.arrived()) > 10, "delivery after the renewal")
    recovers(house, puppet, "4. expired token")


def test_a_token_callable_that_raises_holds_delivery_until_it_does_not(house: House) -> None:
    """The vault is closed: captures go on, nothing is dead-lettered, and delivery follows when it opens."""
    file = house.folder / "token"
    file.write_text("raise")
    puppet = house.puppet(token="callable", token_file=str(file))
    hold(house, puppet)
    file.write_text(GOOD)
    recovers(house, puppet, "4. token callable that raises")


EVERYWHERE: dict[str, dict[str, Any]] = {
    "a wrong base URL, 404 everywhere": {"action": "status", "status": 404},
    "a wrong base URL, a gateway's 404": {
        "action": "status", "status": 404, "body": {"statusCode": 404, "message": "Resource not found"},
    },
    "a client's token, 403 everywhere": {"action": "status", "status": 403},
    "a gateway's page with 400": {"action": "html", "status": 400},
    "a gateway's page with 403": {"action": "html", "status": 403},
    "a gateway's page with 404": {"action": "html", "status": 404},
    "a gateway's page with 422": {"action": "html", "status": 422},
    "a redirect": {"action": "status", "status": 302, "headers": {"Location": "/elsewhere"}},
}  # fmt: skip


@pytest.mark.parametrize("what", EVERYWHERE)
def test_what_refuses_every_record_alike_makes_no_dead_letter(house: House, what: str) -> None:
    """However long a record may be refused by itself: when all are, the address or the token is to blame."""
    house.server.faults(EVERYWHERE[what])
    puppet = house.puppet(lanes=30, pause=0.1, policy={"give_up_after": 0.2})
    for lane in range(30):
        puppet.ask("capture", count=1, lane=lane)
    house.until(lambda: len(house.server.requests()) >= 45, "attempts")
    assert puppet.ask("status")["dead"] == 0
    assert house.arrived() == []
    house.server.faults()
    recovers(house, puppet, f"4. {what}")


def test_a_base_url_that_leads_past_the_api_makes_no_dead_letter(house: House) -> None:
    """A path that is not there: whatever answers, it is not about the records."""
    puppet = house.puppet(url=f"{house.server.url}/nowhere", lanes=30, policy={"give_up_after": 0.2})
    puppet.ask("capture", count=30)
    house.until(lambda: len(house.server.requests()) >= 5, "attempts")
    assert puppet.ask("status")["dead"] == 0
