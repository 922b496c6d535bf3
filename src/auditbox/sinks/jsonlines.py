"""Records as lines of a local file: for development, and where something else ships the file."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from auditbox.errors import ConfigurationError
from auditbox.sinks.base import (
    Delivery,
    Later,
    Missing,
    NotSent,
    Problem,
    Rejected,
    SendOutcome,
    Sent,
    Unclear,
    VerifyOutcome,
)
from auditbox.sinks.wire import entry_id, json_object

_BLOCK = 1 << 16
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT


class JsonLinesSink:
    """Appends each record as one line of JSON to a file, which only its owner can read (0600).

    The file is opened for every record, so it may be rotated at any time; a look-up then knows the
    current file only. Processes take turns by an advisory lock. The remote id is the entry's own id.

    Args:
        path: the file; its directory must exist.
        fsync: whether a record must be on the disk, not only with the operating system, to be delivered.

    Raises:
        ConfigurationError: no path.
    """

    deadline = 10.0

    def __init__(self, path: str | Path, *, fsync: bool = False) -> None:
        if not isinstance(path, str | Path) or not str(path) or "\0" in str(path):
            raise ConfigurationError(f"path={path!r}: the file that records are appended to")
        self.path = Path(os.path.abspath(path))
        self.destination = self.path.as_uri()
        self._fsync = fsync

    def __repr__(self) -> str:
        return f"JsonLinesSink({str(self.path)!r})"

    def send(self, delivery: Delivery) -> SendOutcome:
        """Appends the record, whole or not at all."""
        record = json_object(delivery.body)
        if record is None:
            return Rejected(Problem("the entry holds no JSON object"))
        line = delivery.body if b"\n" not in delivery.body else json.dumps(record).encode()
        try:
            with _locked(self.path, _APPEND, fcntl.LOCK_EX) as descriptor:
                return self._append(descriptor, line + b"\n", delivery.id)
        except OSError as exc:
            return NotSent(self._problem(exc))

    def verify(self, delivery: Delivery) -> VerifyOutcome:
        """Looks for the entry's id, from the end of the file to its beginning."""
        needle = json.dumps(delivery.id).encode()
        try:
            with _locked(self.path, os.O_RDONLY, fcntl.LOCK_SH) as descriptor:
                for line in _lines_backwards(descriptor):
                    if needle in line and entry_id(json_object(line) or {}) == delivery.id:
                        return Sent(delivery.id)
        except FileNotFoundError:
            return Missing()
        except OSError as exc:
            return Later(self._problem(exc))
        return Missing()

    def check(self) -> None:
        """Looks whether the file can be written.

        Raises:
            ConfigurationError: it cannot.
        """
        target = self.path if self.path.exists() else self.path.parent
        if not os.access(target, os.W_OK) or self.path.is_dir():
            raise ConfigurationError(f"{self.path}: no such directory, or no right to write there")

    def clock(self) -> float:
        """This machine's time: nothing here depends on it."""
        return time.time()

    def abort_overdue(self) -> None:
        """Nothing waits for long."""

    def close(self) -> None:
        """Nothing is open between two records."""

    def _append(self, descriptor: int, line: bytes, entry: str) -> SendOutcome:
        size = _mend(descriptor)
        try:
            _write(descriptor, line)
            if self._fsync:
                os.fsync(descriptor)
        except OSError as exc:
            return self._take_back(descriptor, size, exc)
        return Sent(entry)

    def _take_back(self, descriptor: int, size: int, failure: OSError) -> SendOutcome:
        try:
            os.ftruncate(descriptor, size)
        except OSError:
            return Unclear(self._problem(failure))
        return NotSent(self._problem(failure))

    def _problem(self, exc: OSError) -> Problem:
        return Problem(f"{self.path}: {exc.strerror or type(exc).__name__}")


@contextmanager
def _locked(path: Path, flags: int, lock: int) -> Iterator[int]:
    # O_NONBLOCK does nothing to a file, and keeps a pipe from waiting for its other end.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a regular file")
        fcntl.flock(descriptor, lock)
        try:
            yield descriptor
        finally:
            # Not left to close: a child forked meanwhile holds a copy, which would keep the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _mend(descriptor: int) -> int:
    """Makes sure that the file ends with a whole line, and returns its size.

    A crash or a power cut can leave the beginning of a record, which is still in the outbox and comes
    again: it is cut off. Whatever else lacks its line end gets one.
    """
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    last = next(_lines_backwards(descriptor))
    if last.startswith(b"{") and json_object(last) is None:
        os.ftruncate(descriptor, size - len(last))
        return size - len(last)
    _write(descriptor, b"\n")
    return size + 1


def _lines_backwards(descriptor: int) -> Iterator[bytes]:
    """The lines from the last to the first; the last is empty where the file ends with a line end."""
    position, first = os.fstat(descriptor).st_size, b""
    while position > 0:
        # As much again as the unfinished line has: a line of any length is joined in linear time.
        step = min(position, max(_BLOCK, len(first)))
        position -= step
        first, *lines = (os.pread(descriptor, step, position) + first).split(b"\n")
        yield from reversed(lines)
    yield first
