"""What is remembered of an outbox beside it, in the file of the relay's lock.

So a file that cannot be read is known to be ours, and an outbox that has lost its newest part is known to
have lost it. Both notes carry a checksum; without them an outbox is taken as it is. (Those of
:mod:`auditbox.outbox.mark` stand behind them.)
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple

_IDENTITY, _PROGRESS = 0, 2048
"""Where in the file: who the outbox is (written by whoever opens it), and how far its relay has come."""
_SLOT = 2048


class Identity(NamedTuple):
    """Whose file it is."""

    inode: int
    outbox: str
    destination: str | None


class Progress(NamedTuple):
    """How far a relay had come when it last claimed something."""

    outbox: str
    newest: int
    claims: int


class Memo:
    """The two notes beside the outbox at a path. Reading a note that is missing or damaged gives None."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.with_name(path.name + ".relay")

    def identity(self) -> Identity | None:
        """Whose file it was when it was last opened, if the file at the path is still that one.

        Filesystems give the number of a deleted file to a new one; only ours are private from the first on.
        """
        found = self._read(_IDENTITY, Identity)
        try:
            now = os.lstat(self._path)
        except OSError:
            return None
        return found if found and (found.inode, 0o100600) == (now.st_ino, now.st_mode) else None

    def identify(self, outbox: str, destination: str | None) -> None:
        """Notes whose file it is, where that is not known yet."""
        identity = Identity(os.stat(self._path).st_ino, outbox, destination)
        if self._read(_IDENTITY, Identity) != identity:
            self._write(_IDENTITY, identity)

    def progress(self, outbox: str) -> Progress | None:
        """How far the relay of this outbox had come."""
        found = self._read(_PROGRESS, Progress)
        return found if found and found.outbox == outbox else None

    def note(self, progress: Progress) -> None:
        """Notes how far the relay has come. Not synced: it is for what happens while the machine runs."""
        self._write(_PROGRESS, progress)

    def _read(self, at: int, kind: type[Any]) -> Any:
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            text, _, checksum = os.pread(descriptor, _SLOT, at).rstrip(b"\0\n").rpartition(b" ")
            return kind(**json.loads(text)) if zlib.crc32(text) == int(checksum) else None
        except (OSError, ValueError, TypeError):
            return None
        finally:
            os.close(descriptor)

    def _write(self, at: int, value: Any) -> None:
        """One small write; a memo that cannot be written is missing, which costs only what it is for."""
        text = json.dumps(value._asdict()).encode()
        line = b"%b %d\n" % (text, zlib.crc32(text))
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.pwrite(descriptor, line.ljust(_SLOT, b"\0"), at)
        except OSError:
            return
        finally:
            os.close(descriptor)
