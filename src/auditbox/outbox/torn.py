"""A write-ahead log with a gap: what was committed stands behind a frame that is not what was written.

SQLite takes such a log to end at the gap (sqlite.org/fileformat2.html#the_write_ahead_log), and writes over
the rest. A gap is damage, or a power cut that met the disk out of order; or it is what a writer leaves that
is killed within its commit, when the next one has written over its first frames. What captures have noted
tells: then everything that was told to be safe stands before the gap. The log is the only file of SQLite's
that others may open; it is read before SQLite has the outbox open.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from auditbox.outbox.handover import noted
from auditbox.outbox.statements import SQL

_MAGIC = 0x377F0682
"""Of a log whose checksums read little-endian words; one more for big-endian ones."""
_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_VERSION, _PAGE = 3_007_000, 4096
_MASK = 0xFFFFFFFF

Sum = tuple[int, int]


class Frame(NamedTuple):
    """One page as it was written, and whether its checksum follows from the frame before."""

    at: int
    commits: bool
    checksum: Sum
    linked: bool


class Log:
    """The content of a write-ahead log, as it stands in the file."""

    def __init__(self, path: Path) -> None:
        self.content = path.read_bytes()
        self.magic, _, page, _, *salts, first, second = _HEADER.unpack_from(self.content)
        self._start = first, second
        self.whole = (self.magic & ~1, self._sum((0, 0), self.content[:24])) == (_MAGIC, self._start)
        """Whether the header is what was written; otherwise SQLite takes the log for empty."""
        if not self.whole:
            self.magic, page = _MAGIC | (sys.byteorder == "big"), _PAGE
        self.page = page
        # Behind the frames of this turn there are those of an earlier one, which carry other salts.
        self._salts = tuple(salts) if self.whole else self._fields(_HEADER.size)[2:4]

    def frames(self) -> Iterator[Frame]:
        """Every frame of the log's present turn, the damaged ones included."""
        before, size = self._start, _FRAME.size + self.page
        if not any(self._salts):  # allotted, and not begun
            return
        for at in range(_HEADER.size, len(self.content) - size + 1, size):
            _, pages, *salts, first, second = self._fields(at)
            if tuple(salts) == self._salts:
                text = self.content[at : at + 8] + self.content[at + _FRAME.size : at + size]
                yield Frame(at, pages != 0, (first, second), self._sum(before, text) == (first, second))
            before = first, second

    def gap(self) -> list[Frame] | None:
        """Of a log with a gap, all frames up to its last whole commit; None where it has no gap."""
        found: list[Frame] = []
        reach = _HEADER.size if self.whole else 0
        end = behind = 0
        for frame in self.frames():
            found.append(frame)
            if not frame.linked:
                continue
            if frame.at == reach:
                reach += _FRAME.size + self.page
            else:
                behind += frame.commits
            end = len(found) if frame.commits else end
        return found[:end] if behind else None

    def chained(self, frames: list[Frame]) -> bytes:
        """A log of these frames, with checksums that follow one another."""
        head = struct.pack(">6I", _MAGIC | (sys.byteorder == "big"), 3_007_000, self.page, 0, *self._salts)
        self.magic = _MAGIC | (sys.byteorder == "big")
        total = self._sum((0, 0), head)
        parts = [head, struct.pack(">2I", *total)]
        for frame in frames:
            page = self.content[frame.at + _FRAME.size : frame.at + _FRAME.size + self.page]
            total = self._sum(total, self.content[frame.at : frame.at + 8] + page)
            parts += [self.content[frame.at : frame.at + 16], struct.pack(">2I", *total), page]
        return b"".join(parts)

    def _fields(self, at: int) -> tuple[int, ...]:
        return _FRAME.unpack_from(self.content, at) if len(self.content) >= at + _FRAME.size else (0,) * 6

    def _sum(self, before: Sum, text: bytes) -> Sum:
        """SQLite's checksum over 32-bit words, two at a time."""
        words = array("I", text)
        if (sys.byteorder == "big") != bool(self.magic & 1):
            words.byteswap()
        first, second = before
        pairs = iter(words)
        for one, other in zip(pairs, pairs, strict=True):
            first = (first + one + second) & _MASK
            second = (second + other + first) & _MASK
        return first, second


def has_gap(path: Path) -> bool:
    """Whether the write-ahead log of the outbox at this path, which nobody writes to now, has one."""
    try:
        return Log(_log(path)).gap() is not None
    except (OSError, struct.error):  # none, or no more than a header
        return False


def hides(path: Path, outbox: str) -> bool:
    """Whether the log of this outbox has a gap, and something that was committed stands behind it."""
    return is_kept(path) or (has_gap(path) and not _reaches(path, noted(path, outbox)))


def _reaches(path: Path, known: int) -> bool:
    """Whether all that was noted can be read as SQLite sees it; False where nothing is known."""
    if not known:
        return False
    try:
        db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)  # which leaves the log as it is
        try:
            return bool(db.execute(SQL["newest"]).fetchone()[0] >= known)
        finally:
            db.close()
    except sqlite3.Error:
        return False


def is_kept(path: Path) -> bool:
    """Whether the salvage of a log with a gap was begun, and is not through."""
    return _original(path).exists()


def keep(path: Path, outbox: str) -> bool:
    """Keeps a log with a gap in a file of its own until the salvage is through; False: it has none."""
    if not hides(path, outbox):
        return False
    if is_kept(path):  # a salvage was killed
        _put(_log(path), _original(path).read_bytes())
    else:
        _put(_original(path), _log(path).read_bytes())
    return True


def mend(path: Path, *, flawed: bool) -> None:
    """Puts the log that was kept in place once more, without its gap.

    Args:
        path: the outbox.
        flawed: with the damaged frames as they are, of which all but a bit may be right; else without them.
    """
    log = Log(_original(path))
    _put(_log(path), log.chained([frame for frame in log.gap() or [] if flawed or frame.linked]))


def set_aside(path: Path, target: Path) -> None:
    """The kept log goes with the rest of the damaged outbox: the salvage is through."""
    with suppress(FileNotFoundError):
        os.rename(_original(path), target.with_name(f"{target.name}-wal-before"))


def _put(path: Path, content: bytes) -> None:
    """A file with this content, or as it was."""
    draft = path.with_name(f"{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    os.rename(draft, path)


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _original(path: Path) -> Path:
    return path.with_name(f"{path.name}.torn-wal")
