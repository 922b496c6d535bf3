"""What every process that writes does besides: syncs the WAL once a second, checkpoints, retention.

One daemon thread per outbox, started by the first write and asleep while nothing is written. No guarantee of
durability ``"crash"`` against kill -9 depends on it; ``"none"`` writes through it.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from auditbox.errors import AuditboxError
from auditbox.outbox import ending
from auditbox.outbox.wake import Wake

if TYPE_CHECKING:
    from auditbox.outbox.base import Draft

logger = logging.getLogger("auditbox.outbox")

PERIOD = 1.0
LOOKS = 20
"""How often in a period it is looked whether the files are in place and the WAL is small."""
BEHIND_PERIOD = 0.005
MOST_BEHIND = 10_000


class Kept(Protocol):
    """The outbox, as its upkeep sees it."""

    durability: str

    def sync(self) -> None: ...
    def is_wal_large(self) -> bool: ...
    def checkpoint(self) -> None: ...
    def retain(self) -> int: ...
    def look_at_disk(self) -> None: ...
    def append_now(self, drafts: Sequence[Draft]) -> None: ...


class Upkeep:
    """The thread and what it is told."""

    def __init__(self, outbox: Kept, glance: Callable[[], None]) -> None:
        self._outbox, self._glance = weakref.ref(outbox), glance
        self.reset()

    def reset(self) -> None:
        """As new: no thread, nothing to do."""
        self._thread: threading.Thread | None = None
        self._wake, self._stopped = Wake(), threading.Event()
        self.dirty = self._has_moved = False
        self._behind: deque[Draft] = deque()
        self._behind_lock = threading.Lock()
        self._start_lock = threading.Lock()

    def before_fork(self) -> None:
        """Commits what is written behind, or both sides would."""
        with suppress(AuditboxError):
            self.flush_behind()

    def after_fork_in_parent(self) -> None:
        """The thread goes on here."""

    def after_fork_in_child(self) -> None:
        """The thread did not survive; the next write starts one."""
        self.reset()

    def written(self) -> None:
        """Something was committed: sync it within a second. Cheap when that is known already."""
        if not self.dirty:
            self.dirty = True
            self._wake.set()
            if self._thread is None:
                self._start()

    def write_behind(self, drafts: Sequence[Draft]) -> bool:
        """Takes drafts to be committed within milliseconds; False when too many wait, or nobody will."""
        if len(self._behind) + len(drafts) > MOST_BEHIND or ending.has_begun():
            return False
        self._behind.extend(drafts)
        self.written()
        return True

    def flush_behind(self) -> None:
        """Commits what is written behind; what cannot be committed stays for the next time."""
        with self._behind_lock:
            drafts = list(self._behind)
            outbox = self._outbox()
            if drafts and outbox is not None:
                outbox.append_now(drafts)
                for _ in drafts:
                    self._behind.popleft()

    def stop(self) -> None:
        """Ends the thread; commits what is written behind, and syncs what nobody else will."""
        thread = self._thread
        self._stopped.set()
        self._wake.set()
        if thread is not None and thread.ident and thread is not threading.current_thread():
            thread.join(timeout=2 * PERIOD)
        self.flush_behind()
        self._sync()
        self._thread, self.dirty = None, False
        self._stopped.clear()

    def _start(self) -> None:
        if ending.has_begun() or not self._start_lock.acquire(blocking=False):
            return  # whoever has the lock is starting it, perhaps this very thread under a signal handler
        try:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_run, args=(weakref.ref(self),), name="auditbox-upkeep", daemon=True
                )
                self._thread.start()
        except RuntimeError:  # the interpreter is going down: the next start syncs and checkpoints
            self._thread = None
        finally:
            self._start_lock.release()

    def tick(self) -> bool:
        """One round; True while there is more to look after soon."""
        outbox = self._outbox()
        if outbox is None:
            for _ in range(2):  # of which the second one finds no capture since
                self._guarded("glance", self._glance)
            self._stopped.set()
            return False
        dirty = self.dirty
        self._guarded("write behind", self.flush_behind)
        self._sync()
        self._guarded("ballast", outbox.look_at_disk)
        if not dirty:
            self._guarded("checkpoint", outbox.checkpoint)
            # What was given back is in the write-ahead log: the file shrinks with the next checkpoint.
            return bool(self._guarded("retention", outbox.retain))
        self.look()
        if self._has_moved:
            self._has_moved = False
            self._guarded("retention", outbox.retain)
        return True

    def _sync(self) -> None:
        outbox = self._outbox()
        dirty, self.dirty = self.dirty, False
        if dirty and outbox is not None and outbox.durability == "crash":
            self._guarded("sync", outbox.sync)

    def look(self) -> None:
        """Looks after the files while something is written, and keeps the WAL small."""
        outbox = self._outbox()
        if outbox is None or outbox.durability != "none":  # there nobody else commits
            self._guarded("glance", self._glance)
        if outbox is not None and self._guarded("checkpoint", outbox.is_wal_large):
            self._guarded("checkpoint", outbox.checkpoint)
            self._has_moved = True

    def _guarded(self, what: str, action: Callable[[], object]) -> object:
        try:
            return action()
        except (AuditboxError, OSError) as error:
            logger.warning("outbox upkeep: %s failed: %s", what, error)
        except Exception:
            logger.exception("outbox upkeep: %s failed", what)
        return None

    def nap(self, busy: bool) -> None:
        """Until something is written; then for a period, in which the WAL is kept small."""
        if not busy:
            self._wake.wait(timeout=60 * PERIOD)
        self._wake.clear()
        outbox = self._outbox()
        behind = outbox is not None and outbox.durability == "none"
        del outbox
        if behind:
            self._stopped.wait(timeout=BEHIND_PERIOD)
            return
        for _ in range(LOOKS):
            if self._stopped.wait(timeout=PERIOD / LOOKS):
                return
            self.look()

    @property
    def stopped(self) -> bool:
        """Whether the thread should end."""
        return self._stopped.is_set()


def _run(reference: weakref.ref[Upkeep]) -> None:
    """Rounds, until it is stopped or the outbox is gone: only weak references are held in between."""
    busy = True
    while (upkeep := reference()) is not None and not upkeep.stopped:
        upkeep.nap(busy)
        busy = upkeep.tick()
        del upkeep
