"""The command in processes of its own, a real outbox, a real emulator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from auditbox import AuditTrail
from auditbox.emulator import Emulator, running
from auditbox.outbox.base import Dead, Now
from auditbox.outbox.sqlite import SqliteOutbox

TOKEN = "idt:TKN-1234-5678:secret"
ORDER = "ORD-1208-2301-8479"
PROBLEM = {"reason": "400 Bad Request: 'Summary' must not be empty.", "status": 400}
NOW = Now(1000.0, 1000.0, 1000.0)
# A shell that starts the tests in the background has SIGINT ignored, and children inherit that.
_MAIN = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from auditbox.cli import main; sys.exit(main())"
)

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """This one without any setting of auditbox, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MPT_", "AUDITBOX_"))}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs ``python -m auditbox`` to its end."""

    def run(*arguments: object, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "auditbox", *map(str, arguments)]
        return subprocess.run(
            command,
            env=environment(env),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts ``auditbox``; its output is read through pipes, and it is gone after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, *map(str, arguments)],
            env=environment(env),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def line_with(text: str, stream: Any) -> str:
    """Waits for a line that holds this text; fails at the end of the stream."""
    seen = []
    for line in stream:
        if text in line:
            return str(line)
        seen.append(line)
    raise AssertionError(f"no line with {text!r} in {seen}")


def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str, str]:
    """Sends a signal; exit status and what was not read yet of stdout and stderr."""
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the outbox is."""
    return tmp_path / "audit.db"


@pytest.fixture
def capture(path: Path) -> Callable[..., list[str]]:
    """Captures records in this process without a relay, and closes the outbox; returns the ids."""

    def capture(*objects: str, **fields: Any) -> list[str]:
        trail = AuditTrail(path, extension="shop")
        ids = [trail.record("order.approved", object=about, **fields) for about in objects]
        trail.close()
        return ids

    return capture


@pytest.fixture
def bury(path: Path) -> Callable[..., None]:
    """Makes dead letters of these numbers; what else has been captured is delivered or waits behind them."""

    def bury(*numbers: int, reason: str = str(PROBLEM["reason"])) -> None:
        outbox = SqliteOutbox(path)
        epoch = outbox.take_over(NOW, 0)
        claims = outbox.exchange(epoch, [], 16, NOW, 60).claims
        assert set(numbers) <= {claim.entry.seq for claim in claims}
        outbox.exchange(epoch, [Dead(seq, 0.0, {**PROBLEM, "reason": reason}) for seq in numbers], 0, NOW, 60)
        outbox.close()

    return bury


@pytest.fixture
def api() -> Iterator[Emulator]:
    """A running emulator."""
    with running() as emulator:
        yield emulator


def arrived(api: Emulator) -> list[str]:
    """The ids of the entries that have arrived, in the order in which they did."""
    posted = [request for request in api.requests() if request["method"] == "POST"]
    return [request["body"]["documents"]["auditbox"]["id"] for request in posted]
