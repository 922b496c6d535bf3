"""One request and what came back, whichever transport carries it; and the guard that a deadline has."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import httpx

_RESET = struct.pack("ii", 1, 0)
"""``SO_LINGER`` on, 0 seconds: close sends a reset, so that the server stops working on the request."""

IDLE = 4.0
"""Seconds for which an idle connection is used again: less than the 5 s after which the shortest-tempered
common servers close one, because a request that meets the closing is ambiguous and must be looked up."""


class Call(NamedTuple):
    """One HTTP request."""

    method: bytes
    url: httpx.URL
    headers: list[tuple[bytes, bytes]]
    content: bytes
    expires: float
    """When the whole attempt must be over, in monotonic seconds."""
    longest: int
    """The most bytes of the response's body that are read."""


class Request(NamedTuple):
    """A request as it goes over the wire, and the token in it."""

    data: bytes
    token: str


class Answer(NamedTuple):
    """A response: its status line arrived; its body is whole, or empty where ``flaw`` says why."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes = b""
    flaw: str | None = None
    torn: bool = False
    """The body did not arrive; otherwise a flawed one is too long."""


@dataclass(frozen=True, slots=True)
class Silence:
    """No response. ``unsent``: not one byte of the request had left."""

    reason: str
    unsent: bool


class Overdue(Exception):
    """The attempt's time is up."""


class Guard:
    """What every connection has: how far its request is, and a way to break it off from outside.

    From the first byte that is sent until the response is read, the watchdog may shut the socket; never
    before or after, when the descriptor may be another file's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._expires = 0.0
        self._under_way = self._first_byte = self._aborted = False

    def abort_if_overdue(self, now: float) -> None:
        """Shuts the socket under a thread that waits on it beyond its deadline."""
        with self._lock:
            if not self._under_way or now < self._expires or self._socket is None:
                return
            self._aborted, self._under_way = True, False
            reset_on_close(self._socket)
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown: that pulls the TLS object from under the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def drop(self) -> None:
        """In a forked child: closes this process's copy of the descriptor and says nothing to the server."""
        if self._socket is not None and (descriptor := socket.socket.detach(self._socket)) >= 0:
            os.close(descriptor)

    def _begin(self, expires: float) -> None:
        with self._lock:
            self._expires, self._first_byte, self._aborted = expires, False, False

    def _start_sending(self) -> None:
        """Right before the first byte of a request leaves.

        Raises:
            Overdue: it is too late for that.
        """
        with self._lock:
            if time.monotonic() > self._expires:
                raise Overdue
            self._first_byte = self._under_way = True

    def _out_of_reach(self) -> None:
        """Right before the socket may be closed."""
        with self._lock:
            self._under_way = False

    def _why(self, exc: Exception) -> str:
        if self._aborted or isinstance(exc, Overdue):
            return "the deadline of the attempt passed"
        cause, root = type(exc).__name__, type(_root(exc)).__name__
        return cause if cause == root else f"{cause}, {root}"


def reset_on_close(connection: socket.socket) -> None:
    """The end of this socket is a reset."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def named(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by their names in lower case; what is given twice is joined (RFC 9110, section 5.3)."""
    found: dict[str, str] = {}
    for raw_name, raw in headers:
        name, value = raw_name.decode("latin-1").lower(), raw.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def decoded(body: bytes, encoding: str, longest: int) -> bytes | None:
    """A body that was compressed unasked; None where it is longer than the most that is read."""
    response = httpx.Response(200, headers={"content-encoding": encoding}, stream=httpx.ByteStream(body))
    whole = bytearray()
    for part in response.iter_bytes(1 << 16):
        whole += part
        if len(whole) > longest:
            return None
    return bytes(whole)


def _root(exc: BaseException) -> BaseException:
    seen = {id(exc)}
    while (cause := exc.__cause__ or exc.__context__) is not None and id(cause) not in seen:
        seen.add(id(cause))
        exc = cause
    return exc
