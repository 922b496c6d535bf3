"""``auditbox doctor``."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditbox.cli.doctor import _clock
from auditbox.emulator import Emulator
from auditbox.outbox.ballast import release
from auditbox.outbox.checkup import sqlite_version

from .conftest import ORDER, TOKEN, Run, Start, line_with

Capture = Callable[..., list[str]]


def examined(run: Run, path: Path, status: int, **env: str) -> dict[str, dict[str, Any]]:
    """The checks by name."""
    result = run("doctor", "--json", "--outbox", path, **env)
    assert result.returncode == status, result.stdout + result.stderr
    return {check["check"]: check for check in json.loads(result.stdout)}


def test_a_healthy_outbox(run: Run, start: Start, path: Path, capture: Capture, api: Emulator) -> None:
    """Everything is looked at; the relay says since when, and nothing is changed or sent."""
    capture(ORDER)
    env = {"MPT_API_BASE_URL": api.url, "MPT_API_TOKEN": TOKEN}
    relay = start("relay", "--outbox", path, **env)
    line_with("relaying", relay.stderr)
    before = len([request for request in api.requests() if request["method"] == "POST"])
    checks = examined(run, path, 0, **env)
    states = {name: check["state"] for name, check in checks.items()}
    expected = dict.fromkeys(
        [
            "file",
            "permissions",
            "owner",
            "filesystem",
            "log",
            "integrity",
            "checksums",
            "relay",
            "dead letters",
        ],
        "ok",
    )
    assert expected.items() <= states.items()
    assert (states["token"], states["api"], states["clock"]) == ("ok", "ok", "ok")
    assert "is running since 20" in checks["relay"]["found"]
    assert checks["checksums"]["found"] == "1 entry matches"
    assert len([request for request in api.requests() if request["method"] == "POST"]) <= max(before, 1)


def test_what_is_wrong_is_said_with_the_way_out(run: Run, path: Path, capture: Capture) -> None:
    """An altered entry, others that may read it, a disk that was full, and nobody who delivers."""
    capture(ORDER, ORDER)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entry SET body = CAST('{}' AS BLOB) WHERE seq = 2")
    db.close()
    os.chmod(path, 0o644)
    release(path)
    checks = examined(run, path, 1)
    assert (checks["permissions"]["state"], checks["permissions"]["advice"]) == (
        "warning",
        f"chmod 600 {path}",
    )
    assert checks["checksums"]["found"] == "1 of 2 entries are altered: 2"
    assert checks["space"]["state"] == "failed"
    assert "2 entries wait" in checks["relay"]["found"]
    assert "auditbox relay" in checks["relay"]["advice"]
    text = run("doctor", "--outbox", path).stdout
    assert "permissions: chmod 600" in text


def test_a_token_that_is_not_accepted_and_an_address_where_nobody_is(
    run: Run, path: Path, capture: Capture, api: Emulator
) -> None:
    """Each is its own failure."""
    capture(ORDER)
    wrong = {"MPT_API_BASE_URL": api.url, "MPT_API_TOKEN": "nobodys"}
    assert examined(run, path, 1, **wrong)["token"]["state"] == "failed"
    spaced = {"MPT_API_BASE_URL": api.url, "MPT_API_TOKEN": "Bearer token"}
    assert "without" in examined(run, path, 1, **spaced)["token"]["found"]
    nobody = {"MPT_API_BASE_URL": "http://127.0.0.1:9", "MPT_API_TOKEN": TOKEN}
    assert examined(run, path, 1, **nobody)["api"]["state"] == "failed"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_api_in_trouble_is_the_other_sides(
    run: Run, path: Path, capture: Capture, api: Emulator, status: int
) -> None:
    """Nobody is sent to look for a wrong address; and what waits is one entry, not one entries."""
    capture(ORDER)
    api.script({"action": "status", "status": status})
    checks = examined(run, path, 1, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN)
    assert checks["api"]["state"] == "failed"
    assert str(status) in checks["api"]["found"]
    assert checks["api"]["advice"].startswith("nothing to do here, the other side has to")
    assert checks["relay"]["found"] == "none is running, and 1 entry waits"


def test_a_damaged_file_is_examined_all_the_same(run: Run, path: Path, capture: Capture) -> None:
    """It fails the check and not the command."""
    capture(ORDER)
    with path.open("r+b") as file:
        file.write(b"\\0" * 100)
    checks = examined(run, path, 1)
    assert checks["integrity"]["state"] == "failed"
    assert "sets the file aside" in checks["integrity"]["advice"]
    assert (checks["permissions"]["state"], checks["owner"]["state"]) == ("ok", "ok")


def test_what_is_no_outbox_is_not_promised_a_salvage(run: Run, path: Path) -> None:
    """Another program's file is never touched; of a directory nothing else is said."""
    path.write_text("somebody's notes")
    path.chmod(0o600)
    found = examined(run, path, 1)
    for name in ("integrity", "checksums"):
        assert found[name]["advice"].startswith("name the file that the application writes")
    path.unlink()
    path.mkdir()
    found = examined(run, path, 1)
    assert found["file"]["state"] == "failed"
    assert {"permissions", "integrity", "checksums"}.isdisjoint(found)


@pytest.mark.parametrize("kind", ["text", "database"])
def test_nobody_is_told_to_change_a_file_that_is_another_programs(run: Run, path: Path, kind: str) -> None:
    """Who may read it, and who owns it, is not looked at."""
    if kind == "text":
        path.write_text("somebody's notes")
    else:
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE notes (text)")
        db.close()
    path.chmod(0o644)
    found = examined(run, path, 1)
    assert {"permissions", "owner"}.isdisjoint(found)
    assert "is not an auditbox outbox" in found["integrity"]["found"]
    assert "chmod" not in run("doctor", "--outbox", path).stdout


@pytest.mark.parametrize(
    ("theirs", "state"),
    [(0.0, "unknown"), (1e9, "ok"), (1e9 + 299, "ok"), (1e9 + 3600, "warning"), (1e9 - 86400, "warning")],
)
def test_a_clock_that_is_wrong_is_warned_of(theirs: float, state: str) -> None:
    """Against what the API says that the time is; more than five minutes count."""
    assert _clock(theirs, 1e9).state == state


def test_without_an_outbox_it_cannot_be_told(run: Run, path: Path) -> None:
    """Status 2, and no file is made."""
    result = run("doctor", "--outbox", path)
    assert (result.returncode, "there is no outbox" in result.stderr) == (2, True)
    assert not path.exists()


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 40, 1), "warning"), ((3, 51, 2), "warning"), ((3, 51, 3), "ok"), ((3, 53, 0), "ok")],
)
def test_the_wal_reset_bug_is_warned_of(version: tuple[int, ...], state: str) -> None:
    """By the version of SQLite that Python has."""
    found = sqlite_version(version)
    assert found.state == state
    told = "nothing has to be done while only auditbox writes", "3.51.3 and later"
    assert (found.advice is None) == (state == "ok")
    assert found.advice is None or all(text in found.advice for text in told)
