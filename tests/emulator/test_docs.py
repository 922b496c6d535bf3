"""The documentation's example of a seed does what it says; tests/test_docs.py runs the snippets."""

import re
from pathlib import Path

import pytest

from auditbox.emulator.seed import load_seed

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page."""
    if not DOCS.exists():
        pytest.skip("the documentation is not part of what is tested here")
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)


def test_the_seed() -> None:
    """The example of a seed is one."""
    import json

    (seed,) = blocks("emulator.md", "json")
    assert load_seed(json.loads(seed), strict=True).directory(strict=True).callers
