"""A scripted HTTP server on a real socket: exact bytes, resets, hangs, drips, and a tiny Audit API."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

_RESET = struct.pack("ii", 1, 0)


@dataclass
class Exchange:
    """One request that arrived, and every way to answer it."""

    connection: socket.socket
    number: int
    """Which connection of the server it came on, from 1."""
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    over: bool = False

    @property
    def query(self) -> str:
        """The query string, decoded as a form."""
        return unquote_plus(self.target.partition("?")[2])

    def raw(self, data: bytes) -> None:
        """Sends exactly these bytes."""
        self.connection.sendall(data)

    def reply(self, status: int, body: Any = b"", **headers: str) -> None:
        """A whole response; anything but bytes goes as JSON. ``retry_after="1"`` sets ``retry-after``."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["content-length"] = str(len(data))
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        head = f"HTTP/1.1 {status} Said\r\n{lines}\r\n"
        self.raw(head.encode("latin-1") + (b"" if status in (204, 304) else data))

    def close(self) -> None:
        """Ends the connection in good order."""
        self.over = True

    def reset(self) -> None:
        """Ends the connection with a TCP reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.over = True

    def until_gone(self) -> None:
        """Waits until the client leaves."""
        self.over = True
        with contextlib.suppress(OSError):
            while self.connection.recv(65536):
                pass


Script = Callable[[Exchange], None]


class Server:
    """Answers each request by its script; each connection has a thread."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.script: Script = lambda exchange: exchange.reply(201, {"id": "AUD-1"})
        self.requests: list[Exchange] = []
        self.connections = 0
        self.ended = threading.Semaphore(0)
        """Released once for each connection that is over."""
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket, number: int) -> None:
        connection = plain
        try:
            if self._tls:
                connection = self._tls.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._open.add(connection)
            while (exchange := _receive(connection, number)) is not None:
                with self._lock:
                    self.requests.append(exchange)
                self.script(exchange)
                if exchange.over:
                    break
        except OSError:
            pass
        finally:
            with self._lock:
                self._open -= {plain, connection}
                connection.close()
            self.ended.release()


def _receive(connection: socket.socket, number: int) -> Exchange | None:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (part := connection.recv(65536)):
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        if not (part := connection.recv(65536)):
            return None
        body += part
    method, target, _ = first.split(" ")
    return Exchange(connection, number, method, target, headers, body)


@dataclass
class TinyApi:
    """As much of the Audit API as a sink needs: create, and list by object, event, order and page."""

    largest_page: int = 100
    clock: Callable[[], str] = lambda: "2026-01-31T23:00:00.000Z"
    records: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, exchange: Exchange) -> None:
        if exchange.method == "POST":
            try:
                exchange.reply(201, self.store({**json.loads(exchange.body)}))
            except (ValueError, TypeError, RecursionError):
                exchange.reply(400, {"title": "Bad Request", "detail": "The body is no JSON object."})
        else:
            exchange.reply(200, self.page(exchange.query))

    def store(self, record: dict[str, Any]) -> dict[str, Any]:
        stored = {"id": f"AUD-{len(self.records) + 1:04}", "timestamp": self.clock(), **record}
        self.records.append(stored)
        return stored

    def page(self, query: str) -> dict[str, Any]:
        wanted = dict(re.findall(r"eq\(([\w.]+),['\"](.*?)['\"]\)", query))
        numbers = {name: int(value) for name, value in re.findall(r"(limit|offset)=(\d+)", query)}
        found = [record for record in reversed(self.records) if _matches(record, wanted)]
        limit, offset = min(numbers["limit"], self.largest_page), numbers["offset"]
        pagination = {"offset": offset, "limit": limit, "total": len(found)}
        return {"$meta": {"pagination": pagination}, "data": found[offset : offset + limit]}


def _matches(record: dict[str, Any], wanted: dict[str, str]) -> bool:
    known = {"object.id": record.get("object", {}).get("id"), "event": record.get("event")}
    return all(known[path] == value for path, value in wanted.items())
