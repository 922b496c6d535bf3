"""One keep-alive connection per thread, each attempt of which can be broken off from outside."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx

_RESET = struct.pack("ii", 1, 0)
"""``SO_LINGER`` on, 0 seconds: close sends a reset, so that the server stops working on the request."""

_IDLE = 4.0
"""Seconds for which an idle connection is used again: less than the 5 s after which the shortest-tempered
common servers close one, because a request that meets the closing is ambiguous and must be looked up."""


class Call(NamedTuple):
    """One HTTP request."""

    method: str
    url: httpx.URL
    headers: list[tuple[bytes, bytes]]
    content: bytes
    expires: float
    """When the whole attempt must be over, in monotonic seconds."""
    longest: int
    """The most bytes of the response's body that are read."""


class Answer(NamedTuple):
    """A response: its status line arrived; its body is whole, or empty where ``flaw`` says why."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    flaw: str | None = None
    torn: bool = False
    """The body did not arrive; otherwise a flawed one is too long."""


@dataclass(frozen=True, slots=True)
class Silence:
    """No response. ``unsent``: not one byte of the request had left."""

    reason: str
    unsent: bool


class _Overdue(Exception):
    """The attempt's time is up."""


class Connection:
    """The connection of one thread.

    Public hooks of httpx tell how far a request is: the ``trace`` extension. From the first byte that is
    sent until the response is closed, the watchdog may shut the socket; never before or after, when the
    descriptor may be another file's.
    """

    def __init__(self, verify: ssl.SSLContext, timeouts: Mapping[str, float]) -> None:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_IDLE)
        self._transport = httpx.HTTPTransport(verify=verify, trust_env=False, limits=limits)
        self._extensions = {"timeout": dict(timeouts), "trace": self._trace}
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._expires = 0.0
        self._under_way = self._first_byte = self._aborted = self._busy = self._closing = False

    def exchange(self, call: Call) -> Answer | Silence:
        """One request and its answer; raises nothing but what is no Exception."""
        self._begin(call.expires)
        try:
            return self._exchange(call)
        except Exception as exc:  # noqa: BLE001 - whatever went wrong, all that counts is whether bytes left
            return Silence(self._why(exc), unsent=not self._first_byte)
        finally:
            self._end()

    def abort_if_overdue(self, now: float) -> None:
        """Shuts the socket under a thread that waits on it beyond its deadline."""
        with self._lock:
            if not self._under_way or now < self._expires or self._socket is None:
                return
            self._aborted, self._under_way = True, False
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown: that pulls the TLS object from under the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes it: now if it is idle, else when its thread is through."""
        with self._lock:
            self._closing = True
            if not self._busy:
                self._transport.close()

    def drop(self) -> None:
        """In a forked child: closes this process's copy of the descriptor and says nothing to the server."""
        if self._socket is not None and (descriptor := socket.socket.detach(self._socket)) >= 0:
            os.close(descriptor)

    def _begin(self, expires: float) -> None:
        with self._lock:
            self._expires, self._busy, self._first_byte, self._aborted = expires, True, False, False

    def _end(self) -> None:
        with self._lock:
            self._under_way = self._busy = False
            if self._closing:
                self._transport.close()

    def _exchange(self, call: Call) -> Answer:
        request = httpx.Request(
            call.method,
            call.url,
            headers=call.headers,
            stream=httpx.ByteStream(call.content),
            extensions=self._extensions,
        )
        response = self._transport.handle_request(request)
        try:
            return self._read(response, call)
        finally:
            response.close()

    def _read(self, response: httpx.Response, call: Call) -> Answer:
        status, headers, body = response.status_code, response.headers, bytearray()
        try:
            for part in _decoded(response):
                body += part
                if len(body) > call.longest:
                    return Answer(status, headers, flaw=f"the body is longer than {call.longest} bytes")
                if time.monotonic() > call.expires:
                    raise _Overdue
        except Exception as exc:  # noqa: BLE001 - the status is known, and part of the outcome
            return Answer(status, headers, flaw=f"the body broke off ({self._why(exc)})", torn=True)
        return Answer(status, headers, bytes(body))

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event == "http11.send_request_headers.started":
            self._start_sending()
        elif event == "http11.response_closed.started":
            with self._lock:
                self._under_way = False
        elif event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")

    def _start_sending(self) -> None:
        with self._lock:
            if time.monotonic() > self._expires:
                raise _Overdue
            self._first_byte = self._under_way = True

    def _why(self, exc: Exception) -> str:
        if self._aborted or isinstance(exc, _Overdue):
            return "the deadline of the attempt passed"
        cause, root = type(exc).__name__, type(_root(exc)).__name__
        return cause if cause == root else f"{cause}, {root}"


def _decoded(response: httpx.Response) -> Iterator[bytes]:
    if "content-encoding" in response.headers:
        return response.iter_bytes()
    assert isinstance(response.stream, httpx.SyncByteStream)
    return iter(response.stream)


def _root(exc: BaseException) -> BaseException:
    seen = {id(exc)}
    while (cause := exc.__cause__ or exc.__context__) is not None and id(cause) not in seen:
        seen.add(id(cause))
        exc = cause
    return exc
