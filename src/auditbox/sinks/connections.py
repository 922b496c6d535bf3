"""The connections of all threads of a process: made when needed, watched, closed, left behind by a fork."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Mapping

import httpx

from auditbox.sinks.connection import Connection
from auditbox.sinks.exchange import Answer, Call, Silence

_inherited: list[Connections] = []
"""A forked child must not free the parent's TLS objects: another thread may have been inside one."""


class Connections:
    """The connections of all threads of one process, with the one TLS context that they share.

    Args:
        verify: the TLS context, or None to make one at the first use (it takes some 20 ms).
        timeouts: seconds per phase: ``connect``, ``write``, ``read``, ``pool``.
    """

    def __init__(self, verify: ssl.SSLContext | None, timeouts: Mapping[str, float]) -> None:
        self._verify = verify
        self._timeouts = timeouts
        self._lock = threading.Lock()
        self._by_thread: dict[int, Connection] = {}
        self._pid = os.getpid()

    @property
    def foreign(self) -> bool:
        """Whether they were made by another process, before a fork."""
        return self._pid != os.getpid()

    def anew(self) -> Connections:
        """An empty set with the same settings."""
        return Connections(self._verify, self._timeouts)

    def exchange(self, call: Call) -> Answer | Silence:
        """One request and its answer, on the calling thread's connection."""
        thread = threading.get_ident()
        return (self._by_thread.get(thread) or self._make(thread)).exchange(call)

    def abort_overdue(self) -> None:
        """Breaks off what has outlived its deadline."""
        now = time.monotonic()
        for connection in self._all():
            connection.abort_if_overdue(now)

    def close(self) -> None:
        """Closes every connection; each thread makes a new one at its next call."""
        with self._lock:
            connections, self._by_thread = list(self._by_thread.values()), {}
        for connection in connections:
            connection.close()

    def leave_to_parent(self, *, drop: bool) -> None:
        """In a forked child: keeps the objects from being freed, and with ``drop`` closes the descriptors.

        Drop only right after the fork: later their numbers may belong to other files.
        """
        _inherited.append(self)
        for connection in list(self._by_thread.values()) if drop else ():
            connection.drop()

    def _all(self) -> list[Connection]:
        with self._lock:
            return list(self._by_thread.values())

    def _make(self, thread: int) -> Connection:
        with self._lock:
            if self._verify is None:
                self._verify = httpx.create_ssl_context(trust_env=False)
            self._by_thread[thread] = made = Connection(self._verify, self._timeouts)
            alive = {known.ident for known in threading.enumerate()} | {thread}
            ended = [self._by_thread.pop(ident) for ident in self._by_thread.keys() - alive]
        for connection in ended:
            connection.close()
        return made
