"""The command as a whole: help, errors, signals, pipes."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import auditbox

from .conftest import ORDER, Run, Start, ended, environment, line_with

ON_AN_OUTBOX = [
    ("status",),
    ("tail",),
    ("flush",),
    ("relay", "--url", "http://127.0.0.1:1"),
    ("dead", "list"),
    ("dead", "show", "1"),
    ("dead", "replay", "1"),
    ("dead", "discard", "1", "--reason", "x"),
]


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    """What it said on stderr, which is one line and no traceback."""
    assert result.stderr.startswith("auditbox: "), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stdout == ""
    return result.stderr


def test_help_lists_every_command(run: Run) -> None:
    """Without arguments, too."""
    for arguments in ((), ("--help",)):
        result = run(*arguments)
        assert result.returncode == 0
        for name in ("status", "tail", "flush", "relay", "dead", "emulator", "demo"):
            assert f"\n  {name} " in result.stdout


def test_help_imports_no_command() -> None:
    """What only a command needs is imported when it is called: no web framework, no rich, no sqlite-utils."""
    script = (
        "import sys; from auditbox.cli import main; main(['--help']);"
        "print([name for name in ('fastapi', 'uvicorn', 'rich', 'sqlite_utils', 'auditbox.cli.status')"
        " if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment({}), capture_output=True, text=True, check=True
    )
    assert result.stderr == "[]\n"


def test_version(run: Run) -> None:
    """The library's."""
    assert auditbox.__version__ in run("--version").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("status", "--no-such-option"),
        ("status",),
        ("flush", "--timeout", "soon"),
        ("flush", "--timeout", "-1"),
        ("dead",),
        ("dead", "bury"),
        ("dead", "show"),
        ("tail", "-n", "-1"),
        ("emulator", "--port", "70000"),
    ],
    ids=" ".join,
)
def test_bad_usage_is_one_line_and_status_2(run: Run, arguments: tuple[str, ...]) -> None:
    """It says what is wrong, and where the help is."""
    result = run(*arguments)
    assert result.returncode == 2
    assert "--help" in one_line(result)


@pytest.mark.parametrize("arguments", ON_AN_OUTBOX, ids=" ".join)
def test_no_command_makes_an_outbox(run: Run, path: Path, arguments: tuple[str, ...]) -> None:
    """Where there is none they say so, and leave nothing behind."""
    result = run(*arguments, "--outbox", path, MPT_API_TOKEN="idt:TKN-1234-5678:x")
    assert result.returncode == 2
    assert "there is no outbox at" in one_line(result)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("arguments", ON_AN_OUTBOX, ids=" ".join)
def test_no_command_touches_what_is_no_outbox(run: Run, path: Path, arguments: tuple[str, ...]) -> None:
    """Another program's database stays as it is."""
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    before = path.read_bytes()
    result = run(*arguments, "--outbox", path, MPT_API_TOKEN="idt:TKN-1234-5678:x")
    assert result.returncode == 2
    assert "is not an auditbox outbox" in one_line(result)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_outbox_may_come_from_the_environment(
    run: Run, path: Path, capture: Callable[..., list[str]]
) -> None:
    """AUDITBOX_OUTBOX; the option wins."""
    capture(ORDER)
    assert run("status", AUDITBOX_OUTBOX=str(path)).returncode == 0
    assert run("status", "--outbox", path, AUDITBOX_OUTBOX="elsewhere.db").returncode == 0


def test_a_missing_outbox_is_told_with_its_variable(run: Run) -> None:
    """Both ways to name it."""
    said = run("status").stderr
    assert said.startswith("auditbox: Missing option '--outbox', or set AUDITBOX_OUTBOX (see ")


def test_a_reader_that_goes_away_is_no_error(path: Path, capture: Callable[..., list[str]]) -> None:
    """``auditbox tail | head -1`` prints one line and nothing on stderr."""
    capture(*[ORDER] * 50, documents={"padding": "x" * 5000})
    command = [sys.executable, "-m", "auditbox", "tail", "-n", "50", "--json", "--outbox", str(path)]
    with subprocess.Popen(
        command, env=environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_ctrl_c_is_quiet(start: Start, path: Path, capture: Callable[..., list[str]]) -> None:
    """Status 130 and no traceback."""
    capture(ORDER)
    process = start("tail", "-f", "--outbox", path)
    line_with(ORDER, process.stdout)
    line_with("each entry is shown once", process.stderr)  # it comes after the entries; now it follows
    assert ended(process, signal.SIGINT) == (130, "", "")
