"""The documentation's examples do what they say."""

import re
from pathlib import Path
from typing import Any

import pytest

from auditbox.emulator import Emulator
from auditbox.emulator.seed import load_seed

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page."""
    if not DOCS.exists():
        pytest.skip("the documentation is not part of what is tested here")
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)


def run(code: str, **names: Any) -> None:
    """Runs a block."""
    exec(compile(code, "docs", "exec"), names)


def test_filters() -> None:
    """Every filter of the client's page can be written."""
    (filters,) = (block for block in blocks("api-client.md", "python") if "F.viewers" in block)
    run(filters)


def test_in_tests_and_faults(emulator: Emulator) -> None:
    """The emulator's examples run, and its faults are faults."""
    in_tests, faults = blocks("emulator.md", "python")
    run(in_tests)
    run(faults, emulator=emulator)


def test_the_seed() -> None:
    """The example of a seed is one."""
    import json

    (seed,) = blocks("emulator.md", "json")
    assert load_seed(json.loads(seed), strict=True).directory(strict=True).callers
