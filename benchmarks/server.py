"""A lean Audit API to deliver to: one thread, one answer a request, nothing checked but what counts.

    python -m benchmarks.server [--latency 0.02]

The emulator does what the platform does, and takes some 300 µs of a core for each record; on a machine with
two cores that would be measured, not the client. This server answers every POST with 201 and the record
itself, as the platform does, and remembers the numbers that auditbox gives: ``GET /`` says how many records
came, how many of them were different, and how much processor time that took.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.request import urlopen

_CREATED = (
    b"HTTP/1.1 201 Created\r\ncontent-type: application/json; charset=utf-8\r\n"
    b"date: %b\r\ncontent-length: %d\r\n\r\n"
)
_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
_LENGTH, _NUMBER = b"\r\ncontent-length: ", b'"seq":'


class Stored(NamedTuple):
    """What a server has taken."""

    received: int
    distinct: int
    seconds: float
    """Processor time of its process."""
    arrivals: list[float]
    """When the latest came, in Unix seconds."""


class Server:
    """The loop."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._later: deque[tuple[float, socket.socket, bytes]] = deque()
        self._half: dict[socket.socket, bytes] = {}
        self._received, self._numbers = 0, set[bytes]()
        self._arrivals: deque[float] = deque(maxlen=100_000)
        self._date, self._dated = b"", 0
        self.port = int(self._listener.getsockname()[1])

    def run(self) -> None:
        """Serves until the process ends."""
        later, clock = self._later, time.monotonic
        while True:
            timeout = max(0.0, later[0][0] - clock()) if later else None
            for key, _ in self._selector.select(timeout):
                if key.data is None:
                    self._accept()
                else:
                    self._read(key.data)
            while later and later[0][0] <= clock():
                _, connection, answer = later.popleft()
                self._send(connection, answer)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ, connection)

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(connection)
            self._half.pop(connection, None)
            connection.close()
            return
        if connection in self._half:
            data = self._half.pop(connection) + data
        while data:
            end = data.find(b"\r\n\r\n") + 4
            head = data[:end].lower()
            at = head.find(_LENGTH)
            size = int(head[at + len(_LENGTH) : head.find(b"\r\n", at + 2)]) if at > 0 else 0
            if end < 4 or len(data) < end + size:
                self._half[connection] = data
                return
            self._answer(connection, head, data[end : end + size])
            data = data[end + size :]

    def _answer(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        if not head.startswith(b"post "):
            self._send(connection, self._state())
            return
        now = time.time()
        self._received += 1
        self._arrivals.append(now)
        at = body.rfind(_NUMBER)
        self._numbers.add(body[at:] if at >= 0 else b"%d" % self._received)
        if int(now) != self._dated:
            self._dated = int(now)
            self._date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now)).encode()
        record = b'{"id":"AUD-%016d","timestamp":"2026-01-31T23:00:00.000Z","type":"Private",%b' % (
            self._received,
            body[1:],
        )
        answer = _CREATED % (self._date, len(record)) + record
        if self._latency:
            self._later.append((time.monotonic() + self._latency, connection, answer))
        else:
            self._send(connection, answer)

    def _send(self, connection: socket.socket, answer: bytes) -> None:
        try:
            connection.send(answer)
        except OSError:
            return  # the reader notices

    def _state(self) -> bytes:
        state = Stored(self._received, len(self._numbers), time.process_time(), list(self._arrivals))
        self._received, self._numbers = 0, set()
        self._arrivals.clear()
        body = json.dumps(state._asdict()).encode()
        return _OK % len(body) + body


class Lean:
    """A running server: where it is, and what it has taken since the last question."""

    def __init__(self, url: str) -> None:
        self.url = url

    def stored(self) -> Stored:
        """Asks, and lets it begin anew."""
        with urlopen(self.url) as answer:
            found: dict[str, Any] = json.load(answer)
        return Stored(**found)


@contextmanager
def lean(latency: float = 0.0) -> Iterator[Lean]:
    """A server in a process of its own."""
    command = [sys.executable, "-m", __name__, "--latency", str(latency)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Lean(process.stdout.readline().strip())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def main() -> None:
    """Serves in the foreground; prints the address first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0)
    server = Server(parser.parse_args().latency)
    print(f"http://127.0.0.1:{server.port}", flush=True)
    server.run()


if __name__ == "__main__":
    main()
