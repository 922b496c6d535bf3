"""A connection: prepared bytes on a socket, and a parser for the answers.

One request at a time, on a blocking socket by whoever calls :meth:`Connection.exchange`, or without
blocking by a :class:`~auditbox.sinks.flight.Flight`, which uses the same parts.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Mapping

from auditbox.sinks.exchange import Answer, Call, Guard, Overdue, Silence
from auditbox.sinks.reading import Reading

BLOCK = 1 << 16


class Connection(Guard):
    """A keep-alive connection; whoever holds it sends one request at a time."""

    def __init__(self, verify: ssl.SSLContext, timeouts: Mapping[str, float], reading: type[Reading]) -> None:
        super().__init__()
        self._verify, self._timeouts, self._reading = verify, timeouts, reading
        self._arrivals = select.poll()
        self.idle_since = 0.0
        self.reusable = self.retired = False

    def exchange(self, call: Call) -> Answer | Silence:
        """One request and its answer, waiting for both; raises nothing but what is no Exception."""
        self._begin(call.expires)
        self.reusable = False
        try:
            return self._exchange(call)
        except Exception as exc:  # noqa: BLE001 - whatever went wrong, all that counts is whether bytes left
            return Silence(self._why(exc), unsent=not self._first_byte)
        finally:
            self._out_of_reach()
            self.idle_since = time.monotonic()
            if not self.reusable:
                self.close()

    def close(self) -> None:
        """Closes it."""
        self._out_of_reach()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()

    @property
    def open_socket(self) -> socket.socket:
        """The socket, once it is connected."""
        assert self._socket is not None
        return self._socket

    def is_quiet(self) -> bool:
        """Whether nothing has arrived while it was idle: the end of the connection, most likely.

        Over TLS it may as well be a session ticket, which is not for us to see (RFC 8446, section 4.6.1).
        """
        if not self._arrivals.poll(0):
            return True
        connection = self.open_socket
        if isinstance(connection, ssl.SSLSocket):
            connection.settimeout(0.0)
            with contextlib.suppress(OSError):
                try:
                    connection.recv(1)
                except ssl.SSLWantReadError:
                    return True
        return False

    def _exchange(self, call: Call) -> Answer:
        if self._socket is None:
            self._connect(call)
        connection = self.open_socket
        connection.settimeout(self._timeouts["write"])
        self._start_sending()
        broken: OSError | None = None
        try:
            connection.sendall(prepared(call))
        except (BrokenPipeError, ConnectionResetError) as exc:
            broken = exc  # a server may refuse by the headers alone and close: its answer is read
        connection.settimeout(self._timeouts["read"])
        reading = self._reading(call.longest)
        try:
            self._read(connection, reading, call.expires)
        except Exception as exc:
            if reading.status is not None:  # which is part of the outcome
                return reading.answer(self._why(exc))
            if broken is not None:
                raise broken from exc
            raise
        self.reusable = reading.reusable and broken is None
        return reading.answer()

    def _read(self, connection: socket.socket, reading: Reading, expires: float) -> None:
        while True:
            data = connection.recv(BLOCK)
            if not data:
                return reading.end()
            if reading.feed(data):
                return None
            if time.monotonic() > expires:
                raise Overdue

    def _connect(self, call: Call) -> None:
        url = call.url
        port = url.port or {"https": 443, "http": 80}[url.scheme]
        patience = self._timeouts["connect"]
        plain = socket.create_connection((url.raw_host.decode("ascii"), port), patience)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = plain
            if url.scheme == "https":
                connection = self._verify.wrap_socket(plain, server_hostname=url.raw_host.decode("ascii"))
        except BaseException:
            plain.close()
            raise
        self._arrivals.register(connection, select.POLLIN)
        self._socket = connection


def prepared(call: Call) -> bytes:
    """A request as it goes over the wire."""
    lines = b"".join([b"%b: %b\r\n" % header for header in call.headers])
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (call.method, call.url.raw_path, lines, call.content)
