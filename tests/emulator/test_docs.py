"""The documentation's seeds, faults and commands do what it says; tests/test_docs.py runs the Python."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from auditbox.emulator import Emulator
from auditbox.emulator.faults import plan_of
from auditbox.emulator.seed import load_seed

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page."""
    if not DOCS.exists():
        pytest.skip("the documentation is not part of what is tested here")
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)


def test_the_seed() -> None:
    """The example of a seed is one."""
    seed = load_seed(json.loads(blocks("emulator.md", "json")[0]), strict=True)
    assert seed.directory(strict=True).callers
    assert all(getattr(seed, part) for part in ("accounts", "objects", "event_types", "locations"))


@pytest.mark.parametrize(("page", "number"), [("emulator.md", 1), ("testing.md", 0)])
def test_the_faults(page: str, number: int) -> None:
    """The examples of faults are plans."""
    assert len(plan_of(json.loads(blocks(page, "json")[number])).faults) == 2


def test_the_commands(emulator: Emulator) -> None:
    """Every curl command does what is said of it: a record, a list, a plan, its counts, what arrived."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    found = [block.replace("\\\n", "") for block in blocks("emulator.md", "sh")]
    commands = [
        command for block in found for command in re.findall(r"curl (?:'[^']*'|\"[^\"]*\"|[^\n])*", block)
    ]
    made, listed, put, shown, cleared, log = [run(command, emulator) for command in commands]
    assert "201 Created" in made
    assert json.loads(listed)["data"][0]["details"] == "ORD-1208-2301-8479 by TKN-1234-5678"
    assert json.loads(put)["faults"][0]["status"] == json.loads(shown)["faults"][0]["status"] == 503
    assert cleared == ""
    assert [request["status"] for request in json.loads(log)["requests"]] == [201, 200]


def run(command: str, emulator: Emulator) -> str:
    """What a command prints, with the emulator's own address."""
    command = command.replace("http://127.0.0.1:8000", emulator.url).replace("curl ", "curl --silent ", 1)
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout
