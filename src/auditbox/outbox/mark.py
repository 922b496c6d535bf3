"""Which relay may send, and up to which number it has: two notes in the file of its lock.

A claim that is written here, and not into the outbox, costs a system call and keeps no capture waiting. Both
notes are the kernel's memory: a kill leaves them as they are. A power cut may not, so they count until the
machine starts anew. Then what is reserved counts (see :mod:`auditbox.outbox.recovery`), as it does where a
note is missing, damaged, or not of the relay that is on record as the last one.

Whoever takes over fences first and reads afterwards; whoever sends notes first and looks at the fence
afterwards. So a relay that has been superseded sends nothing that its successor does not know of.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple
from zlib import crc32

from auditbox.outbox import clock

_FENCE, _SENT = 4096, 4160
"""Where in the file: behind the memo (see :mod:`auditbox.outbox.memo`)."""
_EPOCH, _UPTO, _CHECK = struct.Struct("=Q"), struct.Struct("=QQd"), struct.Struct("=I")
_NOBODY = (1 << 64) - 1
"""The epoch of no relay."""


class Sent(NamedTuple):
    """How far a relay has sent what is above the cursor."""

    upto: int
    since: float | None
    """The sink's seconds: nothing of that was sent before; None where it is not known."""


class Mark:
    """The notes beside the outbox at a path, as the relay of one epoch has them."""

    def __init__(self, path: Path, outbox: str, epoch: int = _NOBODY) -> None:
        self._path = path.with_name(f"{path.name}.relay")
        boot = (clock.identity() or "").partition(" ")[0]
        self.knows_the_start = bool(boot)
        """Whether it is known that the machine has not started anew since; only Linux tells."""
        self._whose, self._epoch = f"{outbox} {boot}".encode(), epoch
        self._fence = self._checked(_EPOCH.pack(epoch))
        self._file: IO[bytes] | None = None

    def __del__(self) -> None:
        """As :meth:`close`."""
        self.close()

    def fence(self) -> bool:
        """From now on only the relay of this epoch may send; False: it cannot be said."""
        try:
            self._write(_FENCE, self._fence)
        except OSError:
            return False
        return True

    def sent(self, epoch: int) -> Sent | None:
        """How far the relay of that epoch has sent; None where that is not known."""
        with suppress(OSError), open(self._path, "rb", opener=_opener) as file:
            note = os.pread(file.fileno(), _UPTO.size + _CHECK.size, _SENT)
            if note == self._checked(note[: _UPTO.size]):
                of, upto, since = _UPTO.unpack_from(note)
                return Sent(upto, since) if of == epoch else None
        return None

    def note(self, sent: Sent) -> bool:
        """Notes what is sent next; whether it is on record, and this relay still the one that may.

        Where this is False, nothing of that may be sent.
        """
        try:
            self._write(_SENT, self._checked(_UPTO.pack(self._epoch, sent.upto, sent.since or 0.0)))
        except OSError:
            return False
        return self.holds()

    def holds(self) -> bool:
        """Whether no other relay has taken over, in this file or in one that has taken its place."""
        try:
            file = self._opened()
            in_place = os.path.samestat(os.stat(self._path), os.fstat(file))
            return in_place and os.pread(file, len(self._fence), _FENCE) == self._fence
        except OSError:
            return False

    def close(self) -> None:
        """Gives the file back; a later note opens it again."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _opened(self) -> int:
        if self._file is None:
            self._file = open(self._path, "r+b", buffering=0, opener=_opener)  # noqa: SIM115 - see close()
        return self._file.fileno()

    def _write(self, at: int, note: bytes) -> None:
        if os.pwrite(self._opened(), note, at) != len(note):
            raise OSError

    def _checked(self, note: bytes) -> bytes:
        return note + _CHECK.pack(crc32(note, crc32(self._whose)))


def _opener(path: str, flags: int) -> int:
    made = os.O_CREAT if flags & os.O_RDWR else 0
    return os.open(path, flags | made | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
