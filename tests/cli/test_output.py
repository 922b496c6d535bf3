"""What is printed: texts that cannot steer a terminal, numbers for people, tables with and without rich."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditbox.cli import output
from auditbox.cli.output import _kept_whole

from .conftest import ORDER, environment


@given(st.text())
def test_printable_text_is_one_line_without_control_codes(text: str) -> None:
    """Whatever a record holds, nothing of it moves the cursor or turns the text around."""
    assert all(sign.isprintable() for sign in output.printable(text))


def test_printable_leaves_letters_of_all_languages_alone() -> None:
    """Only what is invisible is escaped."""
    assert output.printable("Größe 注文 ✓") == "Größe 注文 ✓"
    assert output.printable("a\x1b[31m\n\u202eb\x9b") == "a\\u001b[31m\\u000a\\u202eb\\u009b"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_json_is_the_same_value_in_both_forms(value: object) -> None:
    """For programs: ASCII, one line. For people: indented, every visible sign as it is, none that is not."""
    line, text = output.to_json(value), output.pretty_json(value)
    assert json.loads(line) == json.loads(text) == value
    assert line.isascii()
    assert all(sign.isprintable() or sign == "\n" for sign in line + text)


def test_times_are_iso_8601_in_utc() -> None:
    """Milliseconds and a Z, as the API has them."""
    assert output.to_json(datetime(2026, 1, 31, 23, 0, 0, 123456, tzinfo=UTC)) == '"2026-01-31T23:00:00.123Z"'


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.25, "0.2 s"),
        (9.96, "10 s"),
        (59.9, "1 min"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (7384, "2 h 3 min"),
        (86400 * 3 + 3600 * 4 + 59, "3 d 4 h"),
    ],
)
def test_ages_are_for_people(seconds: float, text: str) -> None:
    """The two largest units that are next to each other."""
    assert output.age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3072.0 GiB")],
)
def test_sizes_are_for_people(count: int, text: str) -> None:
    """With one decimal."""
    assert output.size(count) == text


def on_a_terminal(path: Path, script: str) -> str:
    """What ``auditbox dead list`` shows on a terminal, after a script has run in its process."""
    leader, follower = pty.openpty()
    main = f"{script}; from auditbox.cli import main; main(['dead', 'list', '--outbox', {str(path)!r}])"
    subprocess.run(
        [sys.executable, "-c", main],
        env=environment({"TERM": "xterm", "COLUMNS": "250"}),
        stdout=follower,
        stderr=follower,
        check=True,
    )
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 65536):
            shown += piece
    except OSError:  # how Linux says that nobody holds the other end any more
        pass
    os.close(leader)
    return shown.decode()


def test_tables_do_without_rich(
    path: Path, capture: Callable[..., list[str]], bury: Callable[..., None]
) -> None:
    """On a terminal rich draws a line under the headers; without it there are plain columns of the text."""
    capture(ORDER)
    bury(1, reason="400 [bold]no[/bold]")
    rich = on_a_terminal(path, "pass")
    plain = on_a_terminal(path, "import sys; sys.modules['rich'] = None")
    assert "──" in rich
    assert "──" not in plain
    for shown in (rich, plain):
        assert ORDER in shown
        assert "400 [bold]no[/bold]" in shown


@pytest.mark.parametrize(("width", "whole"), [(60, [True, True, False]), (45, [False, False, False])])
def test_ids_are_not_broken_where_there_is_room(width: int, whole: list[bool]) -> None:
    """On a narrow terminal every column gives way: nothing is ever cut off."""
    lines = [["TIME", "N", "SUMMARY"], ["2026-02-03T14:05:12.480Z", "1", "x" * 200]]
    assert _kept_whole(lines, width) == whole
