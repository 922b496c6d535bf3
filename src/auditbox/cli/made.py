"""Whether the application has made the outbox yet: a command may be started before it."""

from __future__ import annotations

import threading
from pathlib import Path

from auditbox.cli import output

_LOOK = 1.0
"""Seconds between two looks, and for the tables, which come right after the file."""


def is_made(path: Path) -> bool:
    """Whether there is a file that an application has begun to write."""
    path = path.expanduser()
    return path.exists() and path.stat().st_size > 0


def until_made(path: Path, stop: threading.Event) -> bool:
    """Waits until the application has made the outbox; False when stopped before."""
    if not is_made(path):
        output.warn(f"auditbox: waits for {path} to be made")
    while not is_made(path):
        if stop.wait(_LOOK):
            return False
    return not stop.wait(_LOOK)
