"""The official client from PyPI, unchanged, against the emulator."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from auditbox.emulator import running, shipped_seed
from tests.emulator.conftest import ORDER

PACKAGE = "mpt-api-client==7.0.0"
SCRIPT = Path(__file__).with_name("official_client.py")


def interpreter() -> str | None:
    """A Python of at least 3.12, which the official client needs."""
    if sys.version_info >= (3, 12):
        return sys.executable
    places = [*map(str, Path.home().glob(".pyenv/versions/3.1[23].*/bin")), *os.get_exec_path()]
    names = [Path(place) / name for place in places for name in ("python3.12", "python3.13")]
    return next((str(name) for name in names if name.exists() and works(name)), None)


def works(python: Path) -> bool:
    """Whether it is an interpreter; a version manager's shim may be none."""
    return subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a virtual environment that has the official client."""
    base = interpreter()
    if base is None:
        pytest.skip("the official client needs Python 3.12, and there is none here")
    folder = tmp_path_factory.mktemp("official") / "venv"
    subprocess.run([base, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{PACKAGE} could not be installed: {done.stderr.strip().splitlines()[-1]}")
    return python


def many_records() -> list[dict[str, Any]]:
    """All but one of 2,500 records, as a seed has them."""
    viewers = [{"id": "ACC-1111-1111", "type": "Vendor"}]
    return [
        {"id": f"AUD-0000-0000-0000-{number:04}", "event": f"extensions.e2e.e{number % 5}", "details": "d",
         "summary": f"Summary {number}", "object": {"id": ORDER}, "type": "Public", "viewers": viewers,
         "timestamp": "2026-01-31T09:00:00Z"}
        for number in range(1, 2500)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("strict", "token", "seeded"),
    [(False, "idt:TKN-1234-5678:secret", 0), (True, "idt:TKN-1111-1111:vendor", 2)],
)
def test_it_cannot_tell_the_difference(python: str, strict: bool, token: str, seeded: int) -> None:
    """Every audit operation of the official client does what it should, and its errors are right."""
    seed = shipped_seed().model_dump(mode="json", by_alias=True, exclude_none=True) if strict else {}
    seed["records"] = [*seed.get("records", []), *many_records()]
    with running(process=True, strict=strict, seed=seed) as emulator:
        command = [python, "-W", "ignore", str(SCRIPT), emulator.url, token]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    assert results.pop("created").startswith("AUD-")
    assert results.pop("rendered").startswith("ORD-1208-2301-8479 by ")
    many = 2500 + seeded
    ones = [n for n in range(1, 2500) if n % 5 == 1 and str(n).startswith("1")]
    assert results == {
        "got": 'it\'s "a & b" + 50% é',
        "ids": many,
        "page": [5, many, 5],
        "selected": ["ORD-1208-2301-8479", False],
        "and": len(ones),
        "or": 2,
        "not": 1 + seeded,
        "in": 1000,
        "ilike": 1,
        "any": 1,
        "since": many,
        "null": 1,
        "streamed": many,
        "envelope": many,
        "few": [many, 0, 7],
        "updated": "D",
        "awaited": ["s", True, True, "N", [404, "Not Found"]],
        "errors": [[404, "Not Found"], [404, "Not Found"], [400, "Bad Request"], [400, "Bad Request"]],
    }


STREAM = """
import sys
from mpt_api_client import MPTClient
from mpt_api_client.auth import BearerTokenAuthentication
from mpt_api_client.exceptions import MPTError

client = MPTClient.from_config(BearerTokenAuthentication(sys.argv[2]), sys.argv[1])
try:
    print(sum(1 for _ in client.audit.event_types.stream()))
except MPTError as error:
    print(type(error).__name__, error.status_code)
"""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "3"),
        ({"streaming": False}, "MPTStreamingNotSupportedError 501"),
        ({"max_stream": 2}, "MPTStreamingOverCapError 413"),
        ({"max_stream": 3}, "3"),
    ],
)
def test_it_knows_why_there_is_no_stream(python: str, options: dict[str, Any], said: str) -> None:
    """A resource that does not stream and one that is too long for it are errors of their own to it."""
    with running(process=True, strict=True, **options) as emulator:
        url = f"{emulator.url}/public/v1"  # it takes that as well
        command = [python, "-W", "ignore", "-c", STREAM, url, "idt:TKN-1111-1111:vendor"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, said), done.stderr
