"""The ``fast`` transport's connection: prepared bytes on a socket, answers read by llhttp (httptools).

One request at a time, on a blocking socket by whoever calls :meth:`FastConnection.exchange`, or without
blocking by a :class:`~auditbox.sinks.flight.Flight`, which uses the same parts.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Mapping

from httptools import HttpResponseParser

from auditbox.sinks.exchange import Answer, Call, Guard, Overdue, Silence, decoded, named

BLOCK = 1 << 16
_LONGEST_HEAD = 100 * 1024


class NotHttp(Exception):
    """What came is no response of HTTP/1.1."""


class ConnectionClosed(Exception):
    """The server has ended the connection in the middle."""


class Reading:
    """One response as it arrives; llhttp calls the ``on_`` methods."""

    def __init__(self, longest: int) -> None:
        self.whole = self.surplus = False
        """Whether all of it is there; whether something came after it."""
        self.status: int | None = None
        self._longest, self._size = longest, 0
        self._raw: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._interim = False
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> bool:
        """Takes in what has arrived; True once no more is wanted.

        Raises:
            NotHttp: it is none; what came of the status before is known all the same.
        """
        try:
            self._parser.feed_data(data)
        except Exception as exc:
            if not self.whole:
                raise NotHttp from exc
            self.surplus = True
        if self.status is None:
            self._size += len(data)
            if self._size > _LONGEST_HEAD:
                raise NotHttp
        return self.whole or (self.status is not None and self._size > self._longest)

    def end(self) -> None:
        """The server has closed: the end of the body, where nothing else said where that is.

        Raises:
            ConnectionClosed: something is missing.
        """
        if not self.whole and (self.status is None or not self._until_close()):
            raise ConnectionClosed
        self.whole = self.surplus = True

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request."""
        closes = any(b"close" in value.lower() for name, value in self._raw if name.lower() == b"connection")
        return self.whole and not self.surplus and not closes and self._parser.get_http_version() == "1.1"

    def answer(self, flaw: str | None = None) -> Answer:
        """The answer; ``flaw`` says why its body did not arrive."""
        assert self.status is not None
        headers = named(self._raw)
        if flaw is not None:
            return Answer(self.status, headers, flaw=f"the body broke off ({flaw})", torn=True)
        body: bytes | None = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self._size > self._longest:
            body = None
        elif "content-encoding" in headers:
            try:
                body = decoded(body or b"", headers["content-encoding"], self._longest)
            except Exception as exc:  # noqa: BLE001 - the status is known, and part of the outcome
                return self.answer(type(exc).__name__)
        if body is None:
            return Answer(self.status, headers, flaw=f"the body is longer than {self._longest} bytes")
        return Answer(self.status, headers, body)

    def _until_close(self) -> bool:
        told = {name.lower() for name, _ in self._raw}
        return not told & {b"content-length", b"transfer-encoding"}

    # -- llhttp ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.whole:
            self.surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.whole:
            self._raw.append((name, value))

    def on_headers_complete(self) -> None:
        if self.whole:
            return
        status = self._parser.get_status_code()
        self._interim = 100 <= status < 200
        if self._interim:
            self._raw = []
        else:
            self.status, self._size = status, 0

    def on_body(self, data: bytes) -> None:
        if not self.whole:
            self._size += len(data)
            if self._size <= self._longest:
                self._body.append(data)

    def on_message_complete(self) -> None:
        if not self._interim:
            self.whole = True


class FastConnection(Guard):
    """A keep-alive connection; whoever holds it sends one request at a time."""

    def __init__(self, verify: ssl.SSLContext, timeouts: Mapping[str, float]) -> None:
        super().__init__()
        self._verify, self._timeouts = verify, timeouts
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
        """Whether nothing has arrived while it was idle: the end of the connection, most likely."""
        waiting = select.poll()
        waiting.register(self.open_socket, select.POLLIN)
        return not waiting.poll(0)

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
        reading = Reading(call.longest)
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
        self._socket = connection


def prepared(call: Call) -> bytes:
    """A request as it goes over the wire."""
    lines = b"".join([b"%b: %b\r\n" % header for header in call.headers])
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (call.method, call.url.raw_path, lines, call.content)
