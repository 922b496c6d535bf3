"""Space set aside beside the outbox, to be let go when the disk is full.

Settling a record, forgetting it and moving the write-ahead log into the file all need space themselves, so
on a full disk nothing could ever make room. Captures may not use what is let go: they wait for space that is
free beyond it, and then the ballast is made again.
"""

from __future__ import annotations

import os
from pathlib import Path

_MOST = 1 << 20
_PART = 32
"""Of the disk, and of max_bytes: the ballast takes no more than this part."""
_PAGE = 4096
_SHORT = 1 << 30


def beside(path: Path) -> Path:
    """Where the ballast of this outbox is. Empty: it was let go."""
    return path.with_name(path.name + ".ballast")


def ensure(path: Path, max_bytes: int) -> bool:
    """Makes the ballast where there is none; False where it was let go and there is no space for it yet."""
    size = _size(path)
    if size:
        return True
    disk = os.statvfs(path.parent)
    wanted = min(_MOST, max_bytes // _PART, disk.f_blocks * disk.f_frsize // _PART) // _PAGE * _PAGE
    made = disk.f_bavail * disk.f_frsize >= 3 * wanted > 0 and _make(path, wanted)
    return made or size is None


def is_short(path: Path) -> bool:
    """Whether the disk may be full soon: then little should be left in the write-ahead log."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:  # the directory is gone: whoever writes next says so
        return False
    return disk.f_bavail * disk.f_frsize < _SHORT


def is_released(path: Path) -> bool:
    """Whether it was let go, and not made again yet."""
    return _size(path) == 0


def release(path: Path) -> bool:
    """Lets the ballast go; False where there was none."""
    there = bool(_size(path))
    try:
        os.close(
            os.open(beside(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        )
    except OSError:
        return False
    return there


def _size(path: Path) -> int | None:
    try:
        return os.stat(beside(path)).st_size
    except OSError:
        return None


def _make(path: Path, size: int) -> bool:
    """Blocks that are really allotted; of two processes at once both are right."""
    try:
        descriptor = os.open(beside(path), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        _allot(descriptor, size)
    except OSError:
        os.ftruncate(descriptor, 0)
        return False
    finally:
        os.close(descriptor)
    return True


def _allot(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    for at in range(0, size, _PAGE):  # macOS
        os.pwrite(descriptor, bytes(_PAGE), at)
