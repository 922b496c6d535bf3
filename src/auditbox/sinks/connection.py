"""The default transport: one keep-alive connection per thread, on httpx's own (httpcore), without its client.

A pool, a client and their request objects would cost as much again as the connection itself.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Mapping
from typing import Any

import httpcore

from auditbox.sinks.exchange import IDLE, Answer, Call, Guard, Overdue, Silence, decoded, named


class Connection(Guard):
    """The connection of one thread.

    Its network stream tells how far a request is; that costs less than httpcore's trace.
    """

    def __init__(self, verify: ssl.SSLContext, timeouts: Mapping[str, float]) -> None:
        super().__init__()
        self._verify = verify
        self._extensions = {"timeout": dict(timeouts)}
        self._http: httpcore.HTTPConnection | None = None
        self._busy = self._closing = False

    def exchange(self, call: Call) -> Answer | Silence:
        """One request and its answer; raises nothing but what is no Exception."""
        self._begin(call.expires)
        self._busy = True
        try:
            return self._exchange(call)
        except Exception as exc:  # noqa: BLE001 - whatever went wrong, all that counts is whether bytes left
            return Silence(self._why(exc), unsent=not self._first_byte)
        finally:
            self._end()

    def close(self) -> None:
        """Closes it: now if it is idle, else when its thread is through."""
        with self._lock:
            self._closing = True
            idle, self._http = (None, self._http) if self._busy else (self._http, None)
        if idle is not None:
            idle.close()

    def _end(self) -> None:
        with self._lock:
            self._under_way = self._busy = False
            ended = self._http
            if ended is None or (ended.is_idle() and not self._closing):
                return
            self._http = None
        with contextlib.suppress(Exception):
            ended.close()

    def _exchange(self, call: Call) -> Answer:
        url = call.url
        where = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        request = httpcore.Request(
            call.method, where, headers=call.headers, content=call.content, extensions=self._extensions
        )
        response = self._open(where).handle_request(request)
        try:
            return self._read(response, call)
        finally:
            response.close()

    def _open(self, where: httpcore.URL) -> httpcore.HTTPConnection:
        http = self._http
        if http is None or http.has_expired():
            if http is not None:
                http.close()
            http = httpcore.HTTPConnection(
                where.origin,
                ssl_context=self._verify,
                keepalive_expiry=IDLE,
                network_backend=_Backend(self),
            )
            with self._lock:
                self._http = http
        return http

    def _read(self, response: httpcore.Response, call: Call) -> Answer:
        status, headers, body = response.status, named(response.headers), bytearray()
        try:
            for part in response.iter_stream():
                body += part
                if len(body) > call.longest:
                    return Answer(status, headers, flaw=f"the body is longer than {call.longest} bytes")
                if time.monotonic() > call.expires:
                    raise Overdue
            whole: bytes | None = bytes(body)
            if "content-encoding" in headers:
                whole = decoded(bytes(body), headers["content-encoding"], call.longest)
        except Exception as exc:  # noqa: BLE001 - the status is known, and part of the outcome
            return Answer(status, headers, flaw=f"the body broke off ({self._why(exc)})", torn=True)
        if whole is None:
            return Answer(status, headers, flaw=f"the body is longer than {call.longest} bytes")
        return Answer(status, headers, whole)


class _Backend(httpcore.SyncBackend):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(*args, **kwargs), self._connection)


class _Stream(httpcore.NetworkStream):
    """A stream that tells its connection when the first byte leaves, and what to shut."""

    def __init__(self, inner: httpcore.NetworkStream, connection: Connection) -> None:
        self._inner, self._connection = inner, connection
        self.read, self.get_extra_info = inner.read, inner.get_extra_info  # type: ignore[method-assign]
        connection._socket = inner.get_extra_info("socket")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not self._connection._first_byte:
            self._connection._start_sending()
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._connection._out_of_reach()
        self._inner.close()

    def start_tls(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(*args, **kwargs), self._connection)
