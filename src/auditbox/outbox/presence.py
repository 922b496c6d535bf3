"""Whether somebody holds a lock, asked without making its file and without taking the lock away."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def is_held(path: Path) -> bool:
    """Whether a process, be it this one, holds the exclusive lock on this file.

    Those who ask share the lock for the moment, so they never take one another for its holder.
    """
    try:
        probe = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(probe)
    return False
