"""An event that a signal handler may set, even one that has interrupted the setting of it."""

from __future__ import annotations

import queue
from collections.abc import Callable


class Wake:
    """As ``threading.Event``, for one waiting thread; ``set`` is re-entrant, as ``SimpleQueue.put`` is."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.also: Callable[[], None] | None = None
        """Called after it was set: wakes a thread that waits on something else."""

    def set(self) -> None:
        """Lets the waiting thread go on."""
        if self._queue.empty():
            self._queue.put(None)
            if self.also is not None:
                self.also()

    def is_set(self) -> bool:
        """Whether it was set since it was last cleared or waited for."""
        return not self._queue.empty()

    def clear(self) -> None:
        """Forgets that it was set."""
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            return

    def wait(self, timeout: float) -> None:
        """Returns when it is set, or after ``timeout`` seconds; leaves it set."""
        try:
            self._queue.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return
        self._queue.put(None)
