"""``auditbox flush``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from auditbox import AuditTrail, Policy
from auditbox.emulator import Emulator
from auditbox.outbox import clock
from auditbox.outbox.base import Now
from auditbox.outbox.inspection import Inspection
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.sinks.audit_api import AuditApiSink

from .conftest import ORDER, TOKEN, Run, arrived

Capture = Callable[..., list[str]]
LANES = [f"ORD-1111-1111-{number:04d}" for number in range(10)]


def test_flush_delivers_when_nobody_else_does(run: Run, path: Path, capture: Capture, api: Emulator) -> None:
    """With an address and a token it is the relay for as long as it takes."""
    ids = capture(*LANES, *LANES)
    result = run("flush", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN)
    assert (result.returncode, result.stdout) == (
        0,
        "20 of 20 delivered or discarded, 0 pending, 0 dead letters\n",
    )
    assert sorted(arrived(api)) == sorted(ids)
    assert Inspection(path).status().destination == f"{api.url}/public/v1"


def test_the_outbox_knows_where_it_delivers_to(run: Run, path: Path, capture: Capture, api: Emulator) -> None:
    """Once it belongs to a destination a token will do; a file may hold it."""
    trail = AuditTrail(path, sink=AuditApiSink(api.url, TOKEN), extension="shop")
    trail.check()
    trail.close()
    ids = capture(ORDER)
    token = path.with_name("token")
    token.write_text(f"{TOKEN}\n")
    assert run("flush", "--outbox", path, "--token-file", token).returncode == 0
    assert arrived(api) == ids


def test_nothing_to_deliver_is_all_delivered(run: Run, path: Path, capture: Capture, api: Emulator) -> None:
    """Neither a token nor a relay is needed then."""
    capture(ORDER)
    run("flush", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN)
    result = run("flush", "--outbox", path)
    assert (result.returncode, result.stderr) == (0, "")


def test_without_a_relay_and_a_token_it_says_so_at_once(run: Run, path: Path, capture: Capture) -> None:
    """Nobody would deliver: the timeout is not waited for."""
    capture(ORDER)
    result = run("flush", "--timeout", "600", "--outbox", path, timeout=30)
    assert result.returncode == 1
    assert "0 of 1 delivered or discarded, 1 pending" in result.stdout
    assert "no relay is running" in result.stderr
    assert "MPT_API_TOKEN" in result.stderr


def test_a_sink_that_is_down_is_status_1(run: Run, path: Path, capture: Capture, api: Emulator) -> None:
    """After the timeout, with the reason; nothing is lost."""
    capture(ORDER)
    api.stop()
    result = run("flush", "--timeout", "1", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN)
    assert result.returncode == 1
    assert "auditbox: it waits: " in result.stderr
    assert "no relay" not in result.stderr
    assert Inspection(path).status().pending == 1


def test_what_a_kill_left_in_doubt_is_why_it_waits(
    run: Run, path: Path, capture: Capture, api: Emulator
) -> None:
    """Longer than its timeout: the relay was this command, and what it waited for is the look-up."""
    capture(ORDER)
    outbox = SqliteOutbox(path)
    now = Now(time.time(), time.monotonic(), time.time())
    killed = outbox.take_over(now, 6500.0, clock.identity())
    assert len(outbox.exchange(killed, [], 16, now, 60).claims) == 1
    outbox.take_over(now, 6500.0, clock.identity())
    outbox.close()
    result = run("flush", "--timeout", "1", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN)
    assert result.returncode == 1
    assert "it waits: 1 record is in doubt after a kill: looked up in " in result.stderr


def test_a_dead_letter_is_not_delivered(run: Run, path: Path, capture: Capture, api: Emulator) -> None:
    """What the API rejects is settled but not delivered: status 1."""
    capture(*LANES[:3])
    api.script({"action": "status", "status": 400, "object": LANES[1]})
    result = run("flush", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN)
    assert result.returncode == 1
    assert "2 of 3 delivered or discarded, 0 pending, 1 dead letter" in result.stdout
    assert "auditbox dead list" in result.stderr


def test_it_waits_for_the_relay_that_runs_elsewhere(
    run: Run, path: Path, capture: Capture, api: Emulator
) -> None:
    """Without a token it waits until the application has delivered; the application stays the relay."""
    api.script({"action": "status", "status": 429, "retryAfter": "1", "count": 1})
    sink = AuditApiSink(api.url, TOKEN)
    with AuditTrail(path, sink=sink, extension="shop", policy=Policy()) as trail:
        trail.record("order.approved", object=ORDER)
        result = run("flush", "--outbox", path)
        assert result.returncode == 0, result
        assert trail.status()["relay_alive"]


def test_another_destination_is_refused(run: Run, path: Path, capture: Capture, api: Emulator) -> None:
    """An outbox belongs to one; records never go astray because of an environment variable."""
    trail = AuditTrail(path, sink=AuditApiSink("http://127.0.0.1:9", TOKEN), extension="shop")
    trail.check()
    trail.close()
    capture(ORDER)
    result = run("flush", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN)
    assert result.returncode == 2
    assert "belongs to http://127.0.0.1:9/public/v1" in result.stderr
    assert arrived(api) == []


def test_a_token_without_an_address_is_bad_input(run: Run, path: Path, capture: Capture) -> None:
    """Where the outbox does not know it either; both ways to give it are named."""
    capture(ORDER)
    for command in ("flush", "relay", "reconcile"):
        result = run(command, "--outbox", path, MPT_API_TOKEN=TOKEN)
        assert result.returncode == 2
        assert "set MPT_API_BASE_URL, or pass --url" in result.stderr


def test_a_token_never_reaches_the_screen(run: Run, path: Path, capture: Capture, api: Emulator) -> None:
    """Neither a good one nor one that cannot be used."""
    capture(ORDER)
    for token in ("idt:TKN-1234-5678:s3cret value", "idt:TKN-1234-5678:s3cretvalue"):
        result = run("flush", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=token)
        assert "s3cret" not in result.stdout + result.stderr
