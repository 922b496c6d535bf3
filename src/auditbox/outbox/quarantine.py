"""Setting a damaged outbox aside, so that a crash in between leaves either it or its successor.

The successor is written beside it, closed, and renamed to ``<file>.salvaged``: from then on it is the outbox,
and whoever opens the outbox next finishes what is left to do. The caller holds the lock between processes.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from auditbox.outbox import torn

_UNFINISHED, _FINISHED = ".salvaging", ".salvaged"


def workplace(path: Path) -> Path:
    """Where the successor is written; empty, whatever an interrupted attempt has left there."""
    place = _beside(path, _UNFINISHED)
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(f"{place}{suffix}")
    return place


def replace(path: Path) -> Path:
    """Puts the finished successor in the place of the damaged outbox; returns where that is kept."""
    os.rename(_beside(path, _UNFINISHED), _beside(path, _FINISHED))
    return adopt(path)


def adopt(path: Path) -> Path:
    """Finishes what :func:`replace` has begun; returns where the damaged one is kept."""
    finished = _beside(path, _FINISHED)
    try:
        begun = os.stat(finished).st_mtime
    except FileNotFoundError:
        return path
    target = _beside(path, f".damaged-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(begun))}")
    torn.set_aside(path, target)
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{target}{suffix}")
    os.rename(finished, path)
    return target


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
