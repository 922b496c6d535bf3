"""``auditbox relay``."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from auditbox import AuditTrail
from auditbox.emulator import Emulator
from auditbox.outbox.inspection import Inspection

from .conftest import ORDER, TOKEN, Run, Start, arrived, ended, line_with

Capture = Callable[..., list[str]]


def test_it_delivers_what_other_processes_capture(
    start: Start, run: Run, path: Path, capture: Capture, api: Emulator
) -> None:
    """What was there before, and what is captured while it runs; SIGTERM and it ends with status 0."""
    ids = capture(ORDER)
    relay = start("relay", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN)
    line_with("auditbox: relaying", relay.stderr)
    ids += capture(ORDER, ORDER)
    assert run("flush", "--outbox", path).returncode == 0
    code, _, said = ended(relay)
    assert (code, said.splitlines()[-1]) == (0, "auditbox: stopped; 0 pending")
    assert arrived(api) == ids


def test_an_address_that_was_wrong_is_corrected_where_only_the_command_relays(
    start: Start, run: Run, path: Path, capture: Capture, api: Emulator
) -> None:
    """On request, and only while nothing was delivered; the refusal says how."""
    ids = capture(ORDER)
    wrong = start("relay", "--outbox", path, "--url", "http://127.0.0.1:9", MPT_API_TOKEN=TOKEN)
    line_with("delivery to http://127.0.0.1:9/public/v1 pauses", wrong.stderr)
    ended(wrong)
    right = ("relay", "--outbox", path, "--url", api.url)
    refused = run(*right, MPT_API_TOKEN=TOKEN)
    assert refused.returncode == 2
    assert "--change-destination" in refused.stderr
    relay = start(*right, "--change-destination", MPT_API_TOKEN=TOKEN)
    line_with(f"auditbox: relaying {path} to {api.url}/public/v1", relay.stderr)
    assert run("flush", "--outbox", path).returncode == 0
    ended(relay)
    assert arrived(api) == ids
    elsewhere = run(*wrong.args[3:], "--change-destination", MPT_API_TOKEN=TOKEN)  # type: ignore[index]
    assert elsewhere.returncode == 2
    assert f"belongs to {api.url}" in elsewhere.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_it_deliver_what_is_under_way(
    start: Start, path: Path, capture: Capture, api: Emulator, number: int
) -> None:
    """The drain: what waits behind a slow answer still goes out."""
    ids = capture(*[ORDER] * 3)
    api.script(latency=0.3)
    relay = start("relay", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN)
    line_with("auditbox: relaying", relay.stderr)
    code, _, said = ended(relay, number)
    assert (code, said.splitlines()[-1]) == (0, "auditbox: stopped; 0 pending")
    assert arrived(api) == ids


def test_it_ends_in_time_when_the_sink_is_down(
    start: Start, path: Path, capture: Capture, api: Emulator
) -> None:
    """There is nothing to drain: what is left stays, and the status is 0 all the same."""
    capture(ORDER)
    api.stop()
    relay = start("relay", "--drain", "600", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN)
    line_with(f"delivery to {api.url}/public/v1 pauses", relay.stderr)
    code, _, said = ended(relay)
    assert (code, said.splitlines()[-1]) == (0, "auditbox: stopped; 1 pending")
    assert Inspection(path).status().pending == 1


def test_one_stands_by_until_the_other_is_killed(
    start: Start, run: Run, path: Path, capture: Capture, api: Emulator
) -> None:
    """It says who relays; takes over when that process dies, however it dies; and delivers on."""
    ids = capture(ORDER)
    settings = {"MPT_API_BASE_URL": api.url, "MPT_API_TOKEN": TOKEN}
    first = start("relay", "--outbox", path, **settings)
    line_with("auditbox: relaying", first.stderr)
    second = start("relay", "--outbox", path, **settings)
    assert re.search(rf"process {first.pid} relays .*; standing by", line_with("relays", second.stderr))
    assert run("flush", "--outbox", path).returncode == 0
    first.kill()
    line_with("auditbox: relaying", second.stderr)
    ids += capture(ORDER)
    assert run("flush", "--outbox", path).returncode == 0
    assert arrived(api) == ids
    assert ended(second)[0] == 0


def test_one_that_stands_by_ends_at_once(start: Start, path: Path, capture: Capture, api: Emulator) -> None:
    """What another process delivers is not waited for."""
    capture(ORDER)
    api.script({"action": "status", "status": 429, "retryAfter": "3600"})
    settings = {"MPT_API_BASE_URL": api.url, "MPT_API_TOKEN": TOKEN}
    first = start("relay", "--outbox", path, **settings)
    line_with("auditbox: relaying", first.stderr)
    second = start("relay", "--drain", "600", "--outbox", path, **settings)
    line_with("standing by", second.stderr)
    assert ended(second)[0] == 0


def test_it_can_wait_for_the_first_capture(start: Start, run: Run, path: Path, api: Emulator) -> None:
    """It never makes an outbox itself; with --wait it may be started before the application."""
    relay = start("relay", "--wait", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN)
    trail = AuditTrail(path, extension="shop")
    id = trail.record("order.approved", object=ORDER)
    trail.close()
    line_with("auditbox: relaying", relay.stderr)
    assert run("flush", "--outbox", path).returncode == 0
    assert arrived(api) == [id]
    assert ended(relay)[0] == 0


def test_waiting_can_be_ended(start: Start, path: Path, api: Emulator) -> None:
    """SIGTERM before there is an outbox: status 0, and still none."""
    relay = start("relay", "--wait", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN)
    line_with("waits for", relay.stderr)
    assert ended(relay)[0] == 0
    assert not path.exists()


def test_without_a_token_it_does_not_start(run: Run, path: Path, capture: Capture, api: Emulator) -> None:
    """One line that names the variable."""
    capture(ORDER)
    result = run("relay", "--outbox", path, MPT_API_BASE_URL=api.url)
    assert result.returncode == 2
    assert "set MPT_API_TOKEN, or pass --token-file FILE" in result.stderr
    assert "from_env" not in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_token_file_that_is_empty_is_named(run: Run, path: Path, capture: Capture, api: Emulator) -> None:
    """In one line; a secret that was not mounted, say."""
    capture(ORDER)
    empty = path.with_name("empty.tok")
    empty.touch()
    result = run("relay", "--outbox", path, "--token-file", empty, MPT_API_BASE_URL=api.url)
    assert (result.returncode, result.stderr) == (2, f"auditbox: the API token in {empty} is empty\n")


def test_it_never_names_a_process_that_is_gone(
    start: Start, path: Path, capture: Capture, api: Emulator
) -> None:
    """After a kill the outbox still names the dead relay; the next one says only that it relays."""
    capture(ORDER)
    env = {"MPT_API_BASE_URL": api.url, "MPT_API_TOKEN": TOKEN}
    first = start("relay", "--outbox", path, **env)
    line_with("auditbox: relaying", first.stderr)
    second = start("relay", "--outbox", path, **env)
    assert f"process {first.pid} relays" in line_with("standing by", second.stderr)
    first.kill()
    first.wait()
    line_with("auditbox: relaying", second.stderr)
    second.kill()
    second.wait()
    third = start("relay", "--outbox", path, **env)
    said = []
    for line in third.stderr:  # type: ignore[union-attr]
        said += [line] if line.startswith("auditbox:") else []
        if "relaying" in line:
            break
    assert said == [f"auditbox: relaying {path} to {api.url}/public/v1\n"]
