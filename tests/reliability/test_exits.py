"""Every way in which a program ends, on every Python of the machine that can run it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from .figures import report
from .house import ROOT, SOURCES, House
from .sizes import PATIENCE

STATUS = {
    "return": {0},
    "exception": {1},
    "SIGTERM": {-signal.SIGTERM},
    "SIGTERM, handled": {15},
    # Either, by chance: CPython forgets the reason when another thread, here one that imports, runs exec().
    "SIGINT": {1, -signal.SIGINT},
    "os._exit": {7},
    "atexit": {0},
    "atexit, registered later": {0},
    "a daemon thread": {0},
    "a finalizer": {0},
    "close, then more": {0},
}
LATE = ("atexit", "atexit, registered later", "a finalizer")
VERSIONS = [(3, minor) for minor in range(11, 16)]


@cache
def python_of(version: tuple[int, int]) -> str | None:
    """A Python of this version that can import what the programs need; None where there is none."""
    if sys.version_info[:2] == version:
        return sys.executable
    name = "python{}.{}".format(*version)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    here = [Path(path) for path in os.environ.get("AUDITBOX_PYTHONS", "").split(os.pathsep) if path]
    here += [Path(found)] if (found := shutil.which(name)) else []
    here += sorted(pyenv.glob("{}.{}.*/bin/python".format(*version)))
    return next((str(python) for python in here if _usable(python, version)), None)


def _usable(python: Path, version: tuple[int, int]) -> bool:
    code = "import sys, auditbox.sinks.audit_api, sqlite_utils; print(*sys.version_info[:2])"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{SOURCES}"}
    try:
        ended = subprocess.run(
            [str(python), "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except OSError:
        return False
    return ended.stdout.split() == [str(part) for part in version]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: "python{}.{}".format(*version))
def test_however_a_program_ends_what_was_safe_arrives(house: House, version: tuple[int, int]) -> None:
    """At its exit or at the next start; never with a traceback of ours, and never not at all."""
    python = python_of(version)
    if python is None:
        pytest.skip("no Python {}.{} that can import auditbox: name one in AUDITBOX_PYTHONS".format(*version))
    for number, (how, status) in enumerate(STATUS.items()):
        own = House(house.folder / f"exit-{number}", house.server, house.seed)
        try:
            delay = own.random.choice((0.0, 0.0, 0.05, 0.3)) * own.random.random()
            program = own.start("exits", how=how, count=20, delay=delay, python=python)
            assert own.wait(program, f"{how} after {delay} s") in status, own.logs()
            tracebacks = re.findall(r"^Traceback", own.said(), re.MULTILINE)
            assert len(tracebacks) == (how in ("exception", "SIGINT")), own.logs()
            own.drain(python=python)
            own.assert_flawless()
            assert len(own.told()) >= 20 + 5 * (how in LATE)
        finally:
            own.end()
    report(f"8. exits on Python {version[0]}.{version[1]}", ways=len(STATUS), lost=0, doubled=0)
