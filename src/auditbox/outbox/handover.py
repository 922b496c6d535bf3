"""What the writers of different processes leave for each other, in the file of the lock between them.

Four words of memory that they share: who wrote last, the newest number, a check of it, and for which files it
holds. So a writer knows without a system call or a query whether what it remembers still counts, and whoever
opens an outbox whose newest part is gone knows how much is missing. Like SQLite's own index of the log it is
the kernel's memory: a kill leaves it as it is, a power cut may not.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from auditbox.outbox.files import FileLock

MARK, NEWEST, CHECK, FILES = range(4)
_WORDS = struct.Struct("=4Q")
_REGION = struct.Struct("@hhqqi4x")
"""``struct flock`` of Linux with 64 bits: kind, whence, start, length, process."""
_HAS_REGIONS = hasattr(fcntl, "F_OFD_SETLK") and sys.platform == "linux" and sys.maxsize > 1 << 32
_NAP = 0.001


class WriterLock(FileLock):
    """The lock between the processes that write to one outbox, and the words in its file.

    Whoever writes clears ``words[FILES]`` before and notes the number after: so what a killed writer leaves
    does not count, and a number that was given is never given again.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.words = memoryview(b"")
        self.mark = self.key = self.files = 0
        self._map: mmap.mmap | None = None
        self.has_joined = self.is_sole = False
        """Whether those who would be sole know of this process, and whether it is sole itself."""

    def _open(self) -> None:
        """Known as open when its memory is there: an exception of a signal handler may come in between."""
        descriptor = self._opened()
        try:
            size = os.fstat(descriptor).st_size
            if size < _WORDS.size:  # really on the disk: memory without a place there would be a SIGBUS
                os.pwrite(descriptor, bytes(_WORDS.size - size), size)
            self._map = mmap.mmap(descriptor, _WORDS.size)
            self.words = memoryview(self._map).cast("Q")
            self.mark = int.from_bytes(os.urandom(8)) | 1
            self.descriptor = descriptor
        except BaseException:
            os.close(descriptor)
            raise

    def describe(self, outbox: str, files: object) -> None:
        """Says which outbox this process has open, and in which files."""
        self.key, self.files = _key(outbox), crc32(repr(files).encode()) | 1 << 32

    def take_over(self) -> int | None:
        """Holding the lock, when somebody else has written: the newest number, if it has the same files.

        None, too, while another process is sole: it may have been held up, and its note come late.
        """
        words = self.words
        words[MARK] = self.mark
        if not self.has_joined:
            words[FILES] = 0
        newest: int = words[NEWEST]
        return newest if words[FILES] == self.files and newest ^ self.key == words[CHECK] else None

    def note(self, newest: int) -> None:
        """Holding the lock: what is committed now ends with this number."""
        words = self.words
        words[NEWEST], words[CHECK], words[FILES] = newest, newest ^ self.key, self.files

    def is_mine(self) -> bool:
        """Whether no other process has held the lock since we did."""
        return bool(self.words) and self.words[MARK] == self.mark

    def unsettle(self) -> None:
        """Holding the lock: whoever writes next looks at the files, and asks for the newest number."""
        self.words[MARK], self.words[FILES] = self.mark, 0

    # -- who has the outbox open: a lock of its own on the same file, shared by all of them --------

    def join(self, bound: float) -> None:
        """Leaves our mark and says that this process has the outbox open; needs no lock.

        Waits for one that is sole to see the mark, no longer than the bound (in seconds).
        """
        if self.descriptor is None:
            self._open()
        self.words[MARK] = self.mark
        deadline = time.monotonic() + bound
        while not self.share() and time.monotonic() < deadline:
            time.sleep(_NAP)
        if self.has_joined:
            self.words[FILES] = 0  # who was sole may have been held up, and noted its number when it was none

    def be_sole(self) -> bool:
        """Holding the lock: whether no other process has the outbox open; none will before :meth:`share`."""
        self.is_sole = self._be(fcntl.F_WRLCK)
        return self.is_sole

    def share(self) -> bool:
        """Lets others open the outbox, too; whether nobody else is sole."""
        if self.is_sole:
            self.words[FILES] = 0  # as in join
            self.is_sole = False
        self.has_joined = self._be(fcntl.F_RDLCK)
        return self.has_joined

    def _be(self, kind: int) -> bool:
        """Of the open file, as ``flock`` is. Where there is no such lock, nobody is ever sole."""
        if self.descriptor is None:
            return False
        if not _HAS_REGIONS:
            return kind == fcntl.F_RDLCK
        try:
            fcntl.fcntl(self.descriptor, fcntl.F_OFD_SETLK, _REGION.pack(kind, os.SEEK_SET, 0, 1, 0))
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a filesystem without
            return kind == fcntl.F_RDLCK
        return True

    def forget(self) -> None:
        """Gives descriptor and memory back; what an interruption leaves of them goes at the next opening."""
        self.has_joined = self.is_sole = False
        super().forget()
        words, self.words = self.words, memoryview(b"")
        words.release()
        memory, self._map = self._map, None  # it has a descriptor of its own
        if memory is not None:
            memory.close()


def noted(path: Path, outbox: str) -> int:
    """The newest number that writers of the outbox at this path have noted; 0 where that is not known."""
    with suppress(OSError, struct.error), open(path.with_name(f"{path.name}.lock"), "rb") as file:
        _, newest, check, _ = _WORDS.unpack(file.read(_WORDS.size))
        if newest ^ _key(outbox) == check:
            return int(newest)
    return 0


def _key(outbox: str) -> int:
    return crc32(outbox.encode()) * 0x1_0000_0001
