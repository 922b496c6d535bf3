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
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from auditbox.outbox.files import FileLock

MARK, NEWEST, CHECK, FILES = range(4)
_WORDS = struct.Struct("=4Q")
_REGION = struct.Struct("@hhqqi4x")
"""``struct flock`` of Linux with 64 bits: kind, whence, start, length, process."""
_IS_KNOWN = sys.platform == "linux" and sys.maxsize > 1 << 32


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

    def _open(self) -> None:
        """Known as open when its memory is there: an exception of a signal handler may come in between."""
        descriptor = self._opened()
        try:
            size = os.fstat(descriptor).st_size
            if size < _WORDS.size:  # really on the disk: memory without a place there would be a SIGBUS
                os.pwrite(descriptor, bytes(_WORDS.size - size), size)
            self._map = mmap.mmap(descriptor, _WORDS.size)
            self.words = memoryview(self._map).cast("Q")
            _ask(descriptor, "F_OFD_SETLK", "F_RDLCK")
            self.mark = int.from_bytes(os.urandom(8)) | 1
            self.descriptor = descriptor
        except BaseException:
            os.close(descriptor)
            raise

    def describe(self, outbox: str, files: object) -> None:
        """Says which outbox this process has open, and in which files."""
        self.key, self.files = _key(outbox), crc32(repr(files).encode()) | 1 << 32

    def take_over(self) -> int | None:
        """Holding the lock, when somebody else has written: the newest number, if it has the same files."""
        words = self.words
        words[MARK] = self.mark
        newest: int = words[NEWEST]
        return newest if words[FILES] == self.files and newest ^ self.key == words[CHECK] else None

    def note(self, newest: int) -> None:
        """Holding the lock: what is committed now ends with this number."""
        words = self.words
        words[NEWEST], words[CHECK], words[FILES] = newest, newest ^ self.key, self.files

    def is_alone(self) -> bool:
        """Whether no other process has the file open, nor has another part of this one; False if not known.

        Each shares a lock of its first byte for as long, which belongs to the open file as ``flock`` does.
        It is asked for to keep nobody waiting, and nothing else depends on it.
        """
        kind = None if self.descriptor is None else _ask(self.descriptor, "F_OFD_GETLK", "F_WRLCK")
        return kind == fcntl.F_UNLCK

    def unsettle(self) -> None:
        """Holding the lock: whoever writes next looks at the files, and asks for the newest number."""
        self.words[MARK], self.words[FILES] = self.mark, 0

    def forget(self) -> None:
        """Gives descriptor and memory back; what an interruption leaves of them goes at the next opening."""
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


def _ask(descriptor: int, command: str, kind: str) -> int | None:
    """The kind of lock that the system answers with; None where it, or the filesystem, has no such locks."""
    if not _IS_KNOWN:
        return None
    try:
        region = _REGION.pack(getattr(fcntl, kind), os.SEEK_SET, 0, 1, 0)
        return int(_REGION.unpack(fcntl.fcntl(descriptor, getattr(fcntl, command), region))[0])
    except OSError:
        return None


def _key(outbox: str) -> int:
    return crc32(outbox.encode()) * 0x1_0000_0001
