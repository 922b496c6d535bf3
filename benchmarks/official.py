"""A Python that has the official client: found, or made once in the user's cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.capture import DOCUMENTS

CLIENT = "mpt-api-client==7.0.0"
LOOP = Path(__file__).with_name("official_loop.py")


class Loop(NamedTuple):
    """What a loop came to."""

    client: str
    rate: float
    """Records a second."""
    seconds: float
    """Processor seconds a record."""


def interpreter() -> str:
    """One with ``mpt-api-client``, which needs Python 3.12; else this one, for the loop that stands in."""
    given = os.environ.get("AUDITBOX_BENCH_OFFICIAL")
    if given:
        return given
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "auditbox-bench" / CLIENT
    python = place / "bin" / "python"
    if python.exists():
        return str(python)
    base = _python_312()
    if base is None or subprocess.run([base, "-m", "venv", str(place)], check=False).returncode:
        return sys.executable
    command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", CLIENT]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        shutil.rmtree(place)
        return sys.executable
    return str(python)


def _python_312() -> str | None:
    if sys.version_info >= (3, 12):
        return sys.executable
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in ("3.12", "3.13"):
        found = shutil.which(f"python{version}")
        for python in ([found] if found else []) + [
            str(path) for path in root.glob(f"{version}.*/bin/python")
        ]:
            if subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0:
                return python
    return None


def loop(python: str, url: str, count: int) -> Loop:
    """Records that go out one by one."""
    ran = subprocess.run(
        [python, str(LOOP), url, str(count)],
        input=json.dumps(DOCUMENTS), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    name, rate, seconds = ran.stdout.split()
    return Loop(name, float(rate), float(seconds))
