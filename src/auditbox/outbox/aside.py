"""A thread of its own for what would keep an event loop waiting: it never waits for work of the application.

A loop's default executor may have all its threads wait for that very loop. The thread is started when there
is something to do; it ends when there has been nothing for a while, and with the process (see ending).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from auditbox.outbox import ending

Work = Callable[[], None]

_IDLE = 10.0
"""Seconds without work after which the thread ends."""


class Aside:
    """Does one piece of work after the other, on a daemon thread. Used by one thread at a time.

    It has no lock, which the exception of a signal handler could leave locked. The price is that there may be
    two threads for a moment; only one of them finds what was given. Not for use after a fork.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, work: Work) -> bool:
        """Has it done, soon; False where there can be no thread any more. It must not raise."""
        if ending.has_begun():
            return False
        self._work.put(work)
        return self._thread is not None or self._start()

    def end(self) -> None:
        """Waits until all is done, within the time that is left at the end of a process; the thread ends."""
        thread = self._thread
        if thread is not None and thread.ident and thread is not threading.current_thread():
            self._work.put(None)
            thread.join(ending.remaining())

    def _start(self) -> bool:
        thread = self._thread = threading.Thread(target=self._run, name="auditbox-aside", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no further thread is to be had
            self._thread = None
            with suppress(Empty):
                while self._work.get_nowait() is None:
                    pass
                return False
            # Otherwise a thread that was about to end has taken it.
        return True

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()
            del work

    def _next(self) -> Work | None:
        with suppress(Empty):
            if (work := self._work.get(timeout=_IDLE)) is not None:
                return work
        self._thread = None  # before the last look: whoever comes from now on starts another thread
        with suppress(Empty):
            while True:
                if (work := self._work.get_nowait()) is not None:
                    self._thread = threading.current_thread()
                    return work
        return None
