"""The connections of a process: whoever is free is taken, the one that was used last first."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Mapping

import httpx

from auditbox.sinks.connection import Connection
from auditbox.sinks.exchange import IDLE, Answer, Call, Silence
from auditbox.sinks.reading import Reading

_inherited: list[Pool] = []
"""A forked child must not free the parent's TLS objects: another thread may have been inside one."""


class Pool:
    """The connections of one process, with the one TLS context that they share.

    Args:
        verify: the TLS context, or None to make one at the first use (it takes some 20 ms).
        timeouts: seconds per phase: ``connect``, ``write``, ``read``, ``pool``.
        reading: reads the answers.
    """

    def __init__(
        self, verify: ssl.SSLContext | None, timeouts: Mapping[str, float], reading: type[Reading]
    ) -> None:
        self._verify, self.timeouts, self.reading = verify, timeouts, reading
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._pid = os.getpid()

    @property
    def foreign(self) -> bool:
        """Whether they were made by another process, before a fork."""
        return self._pid != os.getpid()

    def anew(self) -> Pool:
        """An empty pool with the same settings."""
        return Pool(self._verify, self.timeouts, self.reading)

    def exchange(self, call: Call) -> Answer | Silence:
        """One request and its answer, on an idle connection or a new one."""
        connection = self.take() or self._make()
        try:
            return connection.exchange(call)
        finally:
            self.give(connection)

    def take(self) -> Connection | None:
        """An idle connection that still lives; it must be given back."""
        now = time.monotonic()
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
                self._busy.add(connection)
            if now - connection.idle_since < IDLE and connection.is_quiet():
                return connection
            connection.reusable = False
            self.give(connection)

    def give(self, connection: Connection) -> None:
        """Takes a connection back; closes it where it cannot be used again."""
        with self._lock:
            self._busy.discard(connection)
            if connection.reusable and not connection.retired:
                self._idle.append(connection)
                return
        connection.close()

    def abort_overdue(self) -> None:
        """Breaks off what has outlived its deadline."""
        now = time.monotonic()
        with self._lock:
            busy = list(self._busy)
        for connection in busy:
            connection.abort_if_overdue(now)

    def close(self) -> None:
        """Closes every idle connection, the others when they are given back."""
        with self._lock:
            idle, self._idle = self._idle, []
            for connection in self._busy:
                connection.retired = True
        for connection in idle:
            connection.close()

    def leave_to_parent(self, *, drop: bool) -> None:
        """In a forked child: keeps the objects from being freed, and with ``drop`` closes the descriptors.

        Drop only right after the fork: later their numbers may belong to other files.
        """
        _inherited.append(self)
        for connection in [*self._idle, *self._busy] if drop else ():
            connection.drop()

    def _make(self) -> Connection:
        with self._lock:
            if self._verify is None:
                self._verify = httpx.create_ssl_context(trust_env=False)
            made = Connection(self._verify, self.timeouts, self.reading)
            self._busy.add(made)
        return made
