"""The demo's clients: real HTTP requests to the application, and a note of what each of them was told.

That note is the oracle. A request that was answered with 2xx has a record that must arrive, once. One that
got no answer, because the application was killed, may have a record: then that must arrive once, too.
"""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

import httpx

SECONDS = 8.0
"""How long the clients take for all their requests, about, unless they are told to hurry."""
_HELD = 0.02


class Asked(NamedTuple):
    """One request: the ``number``-th, about this order. Numbers of one order grow in the order of time."""

    number: int
    order: str
    action: str

    @property
    def id(self) -> str:
        """The ``X-Request-Id``, by which its record is recognised."""
        return f"demo-{self.number:05d}"


class Traffic:
    """Several clients at once, each with orders of its own, so that many objects are under way.

    Use it as a context manager: it starts the clients, and at the end they have stopped.
    """

    def __init__(
        self, url: str, actions: tuple[str, ...], *, requests: int, clients: int, orders: int
    ) -> None:
        self._url, self._actions, self.total = url, actions, requests
        self._orders = [f"ORD-2025-1122-{number:04d}" for number in range(1, orders + 1)]
        self._clients = clients
        self.acknowledged: dict[str, Asked] = {}
        self.unanswered: dict[str, Asked] = {}
        self.pause = SECONDS * clients / requests
        self.allowed = requests
        """The number at which clients stop, until more are allowed."""
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(clients, thread_name_prefix="client")
        self._running: list[Future[None]] = []

    def __enter__(self) -> Traffic:
        self._running = [self._pool.submit(self._client, index) for index in range(self._clients)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown()

    @property
    def done(self) -> int:
        """How many requests are over, answered or not."""
        return len(self.acknowledged) + len(self.unanswered)

    @property
    def over(self) -> bool:
        """Whether all clients are through; raises what made one fail."""
        return all(client.done() and client.result() is None for client in self._running)

    def _client(self, index: int) -> None:
        choice = random.Random(index)
        mine = self._orders[index :: self._clients]
        with httpx.Client(base_url=self._url, trust_env=False, timeout=10) as http:
            for number in range(index, self.total, self._clients):
                while number >= self.allowed and not self._stop.wait(_HELD):
                    pass
                asked = Asked(number, choice.choice(mine), choice.choice(self._actions))
                self._ask(http, asked)
                if self._stop.wait(choice.uniform(0, 2) * self.pause):
                    return

    def _ask(self, http: httpx.Client, asked: Asked) -> None:
        path, headers = f"/orders/{asked.order}/{asked.action}", {"X-Request-Id": asked.id}
        while not self._stop.is_set():
            try:
                answer = http.post(path, headers=headers)
            except httpx.ConnectError:  # nobody there: it was not sent, so it may be asked again
                self._stop.wait(0.1)
                continue
            except httpx.TransportError:
                self.unanswered[asked.id] = asked
                return
            (self.acknowledged if answer.is_success else self.unanswered)[asked.id] = asked
            return
