"""Every snippet of the README and of the docs runs, and type-checks."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditbox.emulator import running

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "integrations").rglob("*.md")),
]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")

DRIVE = """
import asyncio
import httpx

class Order:
    id = "ORD-1208-2301-8479"
    status = "Querying"

assert approve(Order()).status == "Processing"

async def request():
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return await client.post("/orders/ORD-0000-0000-0001/approve")

assert asyncio.run(request()).status_code == 200
events = [record.event for record in everything]
assert events.count("extensions.shop.order.approved") == 4, events
assert everything[-1].auditbox["actor"] == {"id": "USR-0556-8733"}, everything[-1]
"""


def run(code: str, folder: Path) -> None:
    prelude = (
        "from auditbox.testing import capture as _capture\n_all = _capture()\neverything = _all.__enter__()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", prelude + code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"{ended.stderr}\n{code}"


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    with running() as emulator:
        yield emulator.url


def test_the_readmes_snippets_run_one_after_the_other(tmp_path: Path) -> None:
    """As a newcomer would type them; each of the four ways of capture leaves its record."""
    snippets = FENCE.findall((ROOT / "README.md").read_text())
    assert len(snippets) >= 5
    # The last one shows capture(): inside it the records are its own.
    run("\n".join(snippets) + DRIVE, tmp_path)


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: str(page.relative_to(ROOT)))
def test_the_snippets_of_the_docs_run(page: Path, tmp_path: Path, api: str) -> None:
    """Each page by itself, against the emulator instead of the real address."""
    if snippets := FENCE.findall(page.read_text()):
        code = "\n".join(snippets).replace("https://api.platform.softwareone.com", api)
        run(code.replace(':…"', ':secret"'), tmp_path)


def test_the_readmes_snippets_type_check(tmp_path: Path) -> None:
    """The annotations fit the way that is shown."""
    snippets = "\n".join(FENCE.findall((ROOT / "README.md").read_text()))
    (tmp_path / "snippets.py").write_text(snippets)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", "--no-incremental", "snippets.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """No page points to a file that is not there."""
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target
