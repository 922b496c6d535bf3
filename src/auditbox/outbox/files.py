"""The files of an outbox: made safely, and never ``open()``ed once SQLite has them.

Closing any descriptor of a database file drops the locks that SQLite holds on it (sqlite.org, "How To Corrupt
An SQLite Database File"), so an existing outbox is only ever looked at with ``stat``.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

from auditbox.errors import NotAnOutbox, OutboxBusy, OutboxUnusable

logger = logging.getLogger("auditbox.outbox")

NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "fuse.sshfs",
    "afs",
    "ceph",
    "glusterfs",
    "fuse.glusterfs",
}
FLEETING = {"tmpfs": "its content is gone after a reboot", "overlay": "its content goes with the container"}
_SHORTEST_NAP, _LONGEST_NAP = 0.00002, 0.001
"""Seconds of a nap at the lock. In between it is half of the wait so far: a short wait ends soon after the
lock is free; whoever waits long is among many, and would take the processor from those who have the lock."""
LOCK_NOW = fcntl.LOCK_EX | fcntl.LOCK_NB


def prepare_directory(path: Path, *, create: bool) -> None:
    """Makes sure that the directory of an outbox can be used; called before any file is made in it.

    Raises:
        OutboxUnusable: it cannot be written, is on a network, or holds no outbox where ``create`` is False.
    """
    if os.name == "nt":
        raise OutboxUnusable("auditbox is not tested on Windows yet: use Linux, macOS or WSL")
    if not create and not path.is_file():
        raise OutboxUnusable(f"there is no outbox at {path}: name the file that the application writes")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise unusable(path, error) from error
    _check_filesystem(path.parent)


def prepare_file(path: Path) -> None:
    """Makes sure that a private file of ours stands at this path, empty where it is new.

    Raises:
        OutboxUnusable: it cannot be made, or is somebody else's.
        NotAnOutbox: something else stands there.
    """
    try:
        _check_or_make(path)
    except OSError as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: Exception) -> OutboxUnusable:
    """An error of the system, with the way out."""
    reason = getattr(error, "strerror", None) or str(error)
    return OutboxUnusable(
        f"outbox {path}: {reason}; choose a directory on a local disk that this process may write"
    )


def _check_or_make(path: Path) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        return
    if stat.S_ISLNK(found.st_mode):
        raise OutboxUnusable(f"outbox {path} is a symbolic link: give the path of the file itself")
    if not stat.S_ISREG(found.st_mode):
        raise NotAnOutbox(f"outbox {path} is not a regular file: choose another path")
    if found.st_uid != os.geteuid() and os.geteuid() != 0:
        raise OutboxUnusable(
            f"outbox {path} belongs to user {found.st_uid}: run as that user or choose another path"
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise OutboxUnusable(
            f"outbox {path} cannot be read and written by this process: check its permissions"
        )


def _check_filesystem(directory: Path) -> None:
    kind = filesystem_of(directory)
    if kind in NETWORK:
        raise OutboxUnusable(
            f"outbox directory {directory} is on a network filesystem ({kind}), where SQLite's locks do not "
            "hold: choose a directory on a local disk"
        )
    if kind in FLEETING:
        logger.info("outbox directory %s is on %s: %s", directory, kind, FLEETING[kind])


def filesystem_of(directory: Path) -> str | None:
    """The type of the filesystem that holds a directory, as Linux names it; None where that is unknown."""
    if sys.platform != "linux":
        return None
    try:
        device = os.stat(directory).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        # The name open is gone where a finalizer captures while the interpreter goes down.
        with io.open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:  # noqa: UP020
            for line in mounts:
                head, _, tail = line.partition(" - ")
                if head.split()[2] == wanted:
                    return tail.split()[0]
    except (OSError, IndexError):
        return None
    return None


class FileLock:
    """An operating-system lock on a file beside the outbox (``flock``); the kernel frees it when we die.

    Between processes it stands in front of SQLite's own lock, whose busy handler is not fair. A child of a
    fork must :meth:`forget` it: unlocking would unlock the parent, who shares the descriptor. One that is
    dropped gives its descriptor back, too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor: int | None = None

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """As :meth:`forget`, also where the interpreter has let go of the modules already."""
        descriptor, self.descriptor = self.descriptor, None
        if descriptor is not None:
            try:  # noqa: SIM105 - suppress is a module's name, and may be gone
                close(descriptor)
            except OSError:  # a program that became a daemon has closed it
                pass

    def try_acquire(self) -> bool:
        """Takes the lock if it is free."""
        if self.descriptor is None:
            self._open()
        try:
            fcntl.flock(self.descriptor, LOCK_NOW)  # type: ignore[arg-type]
        except BlockingIOError:
            return False
        return True

    def _open(self) -> None:
        self.descriptor = self._opened()

    def _opened(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def in_place(self) -> bool:
        """Whether the file that is locked is the one that others find; or none could be made there."""
        if (descriptor := self.descriptor) is None:
            return False
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(descriptor))
        except OSError:
            return not self.path.parent.is_dir()

    def acquire(self, bound: float) -> None:
        """Takes the lock, waiting up to ``bound`` seconds.

        Raises:
            OutboxBusy: another process held it for that long.
        """
        began = time.monotonic()
        while not self.try_acquire():
            waited = time.monotonic() - began
            if waited >= bound:
                raise OutboxBusy(f"{self.path} was held by another process for {bound:g} s")
            time.sleep(min(max(waited / 2, _SHORTEST_NAP), _LONGEST_NAP))

    def release(self) -> None:
        """Lets go of the lock and keeps its file open."""
        if self.descriptor is not None:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def forget(self) -> None:
        """Closes our copy of the descriptor; the lock itself goes when the last copy does."""
        if self.descriptor is not None:
            descriptor, self.descriptor = self.descriptor, None
            os.close(descriptor)
