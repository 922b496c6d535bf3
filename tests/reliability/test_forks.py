"""Every way in which Python programs fork: no child loses its commits, and nobody waits for ever."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import httpx
import pytest

from .figures import report
from .house import ROOT, SOURCES, House
from .sizes import PATIENCE, sized

WAYS = ["os.fork", "multiprocessing, fork", "multiprocessing, spawn", "fork during a commit"]


@pytest.mark.timeout(PATIENCE * 3)
@pytest.mark.parametrize("how", WAYS)
def test_parent_and_children_lose_nothing_and_nobody_waits_for_ever(house: House, how: str) -> None:
    """What any of them was told is safe arrives once; all of them end."""
    house.run("forks", how=how, children=sized(6, 40), count=sized(15, 100), lanes=40)
    house.drain()
    report(f"6. {how}", deadlocks=0, **house.assert_flawless().figures)


@pytest.mark.timeout(PATIENCE * 3)
def test_gunicorn_with_preload_loses_nothing_when_workers_and_the_master_are_killed(house: House) -> None:
    """Four workers of one preloaded trail; SIGKILL for two of them, then for the master, then for all."""
    if importlib.util.find_spec("gunicorn") is None:
        pytest.skip("gunicorn is not installed here")
    process, url = gunicorn(house)
    try:
        pids = serve(url, sized(120, 2000))
        for pid in sorted(pids)[:2]:
            os.kill(pid, signal.SIGKILL)
        pids |= serve(url, sized(120, 2000))
        process.send_signal(signal.SIGKILL)
        pids |= serve(url, sized(30, 200), lenient=True)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    house.drain()
    assert len(pids) >= 2
    report("6. gunicorn --preload", deadlocks=0, **house.assert_flawless().figures)


def gunicorn(house: House) -> tuple[subprocess.Popen[bytes], str]:
    """The server on a socket of ours, so that nobody takes its port meanwhile."""
    listener = socket.create_server(("127.0.0.1", 0))
    given = {
        "outbox": str(house.outbox), "url": house.server.url, "acks": str(house.acks), "house": house.id,
        "lanes": 40, "seed": house.seed,
    }  # fmt: skip
    environment = {**os.environ, "PROOF": json.dumps(given), "PYTHONPATH": f"{ROOT}{os.pathsep}{SOURCES}"}
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "4", "--graceful-timeout", "2"]
    command += ["--bind", f"fd://{listener.fileno()}", "tests.reliability.programs.shop:app"]
    with (house.folder / "gunicorn.log").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            pass_fds=[listener.fileno()], start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    return process, url


def serve(url: str, count: int, *, lenient: bool = False) -> set[int]:
    """Requests, each on a connection of its own; the processes that answered."""
    pids = set()
    for _ in range(count):
        try:
            answer = httpx.get(url, timeout=PATIENCE)
        except httpx.TransportError:
            continue  # its worker was killed; what it was told is safe stands in its file
        assert answer.status_code == 200, answer.text
        pids.add(int(answer.text.split()[0]))
    assert pids or lenient
    return pids
