"""What a type checker says about decorated functions."""

from __future__ import annotations

import re
from pathlib import Path

from mypy import api

CASES = Path(__file__).with_name("typing_cases.py")
_EXPECTED = re.compile(r"^(?:reveal_type\(.*\)  # (?P<type>.*)|.*  # error: (?P<error>.*))$")
_SAID = re.compile(
    r'^[^:]+:(?P<line>\d+): (?:note: Revealed type is "(?P<type>.*)"|error: (?P<error>.*?)  \[.*)$'
)


def test_types_survive_the_decorator() -> None:
    """mypy --strict sees the decorated function as it was, and mistakes as mistakes."""
    expected = {
        number: match["type"] or match["error"]
        for number, line in enumerate(CASES.read_text().splitlines(), 1)
        if (match := _EXPECTED.match(line))
    }
    shown, _, _ = api.run(["--strict", "--no-error-summary", "--show-error-codes", str(CASES)])
    said = {int(match["line"]): match for line in shown.splitlines() if (match := _SAID.match(line))}
    for number, words in expected.items():
        assert number in said, f"line {number}: nothing said about {words}\n{shown}"
        match = said.pop(number)
        assert _simple(match["type"] or match["error"]).startswith(words)
    assert not said, shown


def _simple(text: str) -> str:
    """Without the modules that mypy writes before builtins."""
    return text.replace("builtins.", "").replace('\\"', '"')
