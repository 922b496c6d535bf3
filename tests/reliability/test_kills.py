"""SIGKILL at random moments and at every named step: nothing is lost, doubled, altered or out of order."""

from __future__ import annotations

import signal
import subprocess
from functools import partial
from typing import Any

import pytest

from .figures import report
from .house import House
from .sizes import PATIENCE, SOAK, sized

MIX: list[dict[str, Any]] = [
    {"action": "drop", "method": "POST", "probability": 0.02},
    {"action": "reset", "method": "POST", "probability": 0.02},
    {"action": "truncated", "method": "POST", "probability": 0.01},
    {"action": "empty", "method": "POST", "probability": 0.01},
    {"action": "status", "status": 500, "method": "POST", "probability": 0.01, "commit": True},
    {"action": "status", "status": 502, "method": "POST", "probability": 0.01},
    {"action": "html", "status": 504, "method": "POST", "probability": 0.01, "commit": True},
    {"action": "status", "status": 429, "probability": 0.02, "retryAfter": 0},
    {"action": "html", "status": 404, "probability": 0.005},
    {"action": "delay", "delay": 0.3, "method": "POST", "probability": 0.02},
    {"action": "hang", "method": "POST", "probability": 0.002, "commit": True},
    {"action": "reset", "method": "GET", "probability": 0.05},
]
FAULTS = {"a healthy server": [], "a mix of faults": MIX}

FRESH = ["create.before", "create.after", "create.commit.before", "create.commit.after"]
STEPS = [
    "capture.before", "capture.after", "capture.commit.before", "capture.commit.after",
    "takeover.before", "takeover.commit.before", "takeover.commit.after",
    "claim.before", "claim.after",
    "send.before", "send.after",
    "settle.before", "settle.after", "settle.commit.before", "settle.commit.after",
    "verify.before", "verify.after",
    "sync.before", "sync.after",
]  # fmt: skip
IDLE = [
    "delete.before", "delete.after", "delete.commit.before", "delete.commit.after",
    "checkpoint.before", "checkpoint.after",
]  # fmt: skip

FAULTY = ["claim.commit.before", "claim.commit.after"]
"""While all goes well, claims are notes beside the outbox."""

SELDOM = {"takeover", "verify", "sync"}
"""A program may come by these only once."""


def kill_at_random(house: House, kills: int) -> None:
    """Four writers that relay; one of them, any, is killed at any moment, and started again."""
    launched = 0

    def launch() -> subprocess.Popen[bytes]:
        nonlocal launched
        launched += 1
        return house.start("write", writer=f"w{launched}", lanes=40, count=60, burst=5, pace=0.01, rest=0.2)

    running = [launch() for _ in range(4)]
    for _ in range(kills):
        victim = house.random.randrange(4)
        try:
            running[victim].wait(house.random.uniform(0.0, 1.2))  # a moment, or its own end
        except subprocess.TimeoutExpired:
            running[victim].send_signal(signal.SIGKILL)
            running[victim].wait()
        running[victim] = launch()
    house.terminate(*running)


@pytest.mark.timeout(PATIENCE * 4)
@pytest.mark.parametrize("faults", FAULTS)
def test_what_was_safe_arrives_once_and_in_order_after_kills_at_random_moments(
    house: House, faults: str
) -> None:
    """Four writers on one outbox, each of them killed whenever it pleases, relays included."""
    kills = sized(16, 200)
    house.server.faults(*FAULTS[faults], seed=house.seed)
    kill_at_random(house, kills)
    house.drain()
    report(f"1. SIGKILL at random moments, {faults}", kills=kills, **house.assert_flawless().figures)


@pytest.mark.timeout(PATIENCE * 4)
@pytest.mark.parametrize("faults", FAULTS)
def test_what_was_safe_arrives_once_and_in_order_after_a_kill_at_every_named_step(
    house: House, faults: str
) -> None:
    """The relay dies before and after each commit, claim, send, settlement, deletion and checkpoint."""
    house.server.faults(*FAULTS[faults], seed=house.seed)
    steps = [
        f"{step}:{count}" for step in STEPS + (FAULTY if FAULTS[faults] else []) for count in counts(step)
    ]
    idle = [f"{step}:1" for step in IDLE]  # while nobody else writes
    for at, step in enumerate(FRESH):
        die(house, step, f"fresh{at}")
    others = [
        house.start("write", writer=f"other{at}", relays=False, lanes=300, count=10**6, pace=0.1)
        for at in range(3)
    ]
    for at, step in enumerate(steps):
        die(house, step, f"doomed{at}")
    house.terminate(*others)
    for at, step in enumerate(idle):
        die(house, step, f"idle{at}")
    house.drain()
    verdict = house.assert_flawless()
    report(f"1. SIGKILL at named steps, {faults}", kills=len(FRESH + steps + idle), **verdict.figures)


def counts(step: str) -> tuple[int, ...]:
    """At which times that a program comes by this step it dies."""
    if step.partition(".")[0] in SELDOM:
        return (1,)
    return (1, 2, 7) if SOAK else (2,)


def die(house: House, step: str, writer: str) -> None:
    """A relaying writer that must reach this step, and ends there."""
    many = 80 if step.startswith("capture.commit") else 3  # up to 64 at once are one statement
    process = house.start(
        "write", writer=writer, die_at=step, lanes=300, count=10**6, burst=40, many=many,
        pace=0.005, rest=2.5, keep_delivered=0.0, verify_after=2.0,
    )  # fmt: skip
    ended = house.wait(process, f"a program that was to die at {step}")
    assert ended == -signal.SIGKILL, f"{step} was never reached\n{house.logs()}"


def more(house: House, writer: subprocess.Popen[bytes], enough: int) -> bool:
    """Whether that many have arrived, or no more are to come."""
    return house.stored() >= enough or writer.poll() is not None


def test_a_killed_server_loses_and_doubles_nothing(house: House) -> None:
    """The server dies in the middle of its requests and comes back with what it had stored."""
    writer = house.start("write", writer="w", lanes=40, count=sized(150, 2000), burst=10, pace=0.005)
    for _ in range(sized(3, 20)):
        enough = house.stored() + 6
        house.until(partial(more, house, writer, enough), "more")
        house.server.kill()
        house.server.restart()
    assert house.wait(writer, "the writer") == 0
    house.drain()
    report("1. SIGKILL of the server", **house.assert_flawless().figures)
