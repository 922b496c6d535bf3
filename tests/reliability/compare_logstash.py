"""The same three days for python-logstash-async 4.1 and for auditbox, side by side.

    python -m tests.reliability.compare_logstash

kill -9 right after the last capture returned; four processes on one file while the server answers 40 % of the
requests with an error; one record that the server never takes. Prints what arrived of what callers were told.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .house import ROOT, House, Server
from .sizes import new_seed

QUIET = 15.0
"""Seconds in which nothing has arrived, after which the rest counts as lost."""
POISON = "poison-0"


class Collector:
    """An HTTP server for batches of log events: stores what it accepts."""

    def __init__(self, refuse: Callable[[list[str]], bool]) -> None:
        self.stored: Counter[str] = Counter()
        self.last = time.monotonic()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                ids = [event["message"] for event in body]
                refused = refuse(ids)
                if not refused:
                    collector.stored.update(ids)
                    collector.last = time.monotonic()
                self.send_response(500 if refused else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def settle(self, expected: int) -> None:
        """Waits until all of them are there, or nothing has come for a while."""
        begin = time.monotonic()
        while len(self.stored) < expected and time.monotonic() - max(self.last, begin) < QUIET:
            time.sleep(0.1)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def peer(refuse: Callable[[list[str]], bool]) -> Any:
    """A collector, and a function that starts a program of the peer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        collector = Collector(refuse)

        def start(writer: str, **options: Any) -> subprocess.Popen[bytes]:
            given = {
                "port": collector.port, "database": str(folder / "queue.db"), "writer": writer,
                "acks": str(folder / f"{writer}.acks"), **options,
            }  # fmt: skip
            command = [sys.executable, "-m", "tests.reliability.programs.shipper", json.dumps(given)]
            return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)

        def result() -> dict[str, int]:
            safe = {id for file in folder.glob("*.acks") for id in file.read_text().split()} - {POISON}
            collector.settle(len(safe))
            doubled = sum(count - 1 for id, count in collector.stored.items() if id in safe)
            return {"told safe": len(safe), "lost": len(safe - set(collector.stored)), "doubled": doubled}

        try:
            yield start, result
        finally:
            collector.stop()


def peer_killed() -> dict[str, int]:
    """1,000 events and SIGKILL; then a second program on the same file, which sends what is left."""
    with peer(lambda ids: False) as (start, result):
        start("one", count=1000, kill=True).wait()
        second = start("two", count=1, linger=QUIET)
        found = result()
        second.wait()
        return dict(found)


def peer_errors(seed: int) -> dict[str, int]:
    """Four processes, 250 events each, and a server that answers 40 % of the requests with an error."""
    chance = random.Random(seed)
    with peer(lambda ids: chance.random() < 0.4) as (start, result):
        running = [start(f"w{at}", count=250, pace=0.005, linger=30.0) for at in range(4)]
        for process in running:
            process.wait()
        return dict(result())


def peer_poison() -> dict[str, int]:
    """One event that the server never takes, and 500 behind it."""
    with peer(lambda ids: POISON in ids) as (start, result):
        first = start("poison", count=1, linger=30.0)
        second = start("w", count=500, pace=0.001, linger=30.0)
        first.wait()
        second.wait()
        return dict(result())


@contextmanager
def own(seed: int, *faults: dict[str, Any]) -> Any:
    """A house of ours with a server that has these faults."""
    with tempfile.TemporaryDirectory() as name:
        server = Server(Path(name))
        house = House(Path(name) / "house", server, seed)
        server.faults(*faults, seed=seed)
        try:
            yield house
        finally:
            house.end()
            server.stop()


def figures(house: House) -> dict[str, int]:
    house.drain()
    verdict = house.verdict(house.dead())
    return {"told safe": verdict.safe, "lost": len(verdict.lost), "doubled": len(verdict.doubled)}


def own_killed(seed: int) -> dict[str, int]:
    with own(seed) as house:
        house.run("write", writer="one", count=1000, die_at="capture.after:700", lanes=100, status=-9)
        return figures(house)


def own_errors(seed: int) -> dict[str, int]:
    errors = {"action": "status", "status": 500, "probability": 0.4, "method": "POST"}
    with own(seed, errors) as house:
        running = [
            house.start(
                "write",
                writer=f"w{at}",
                count=250,
                pace=0.005,
                lanes=250,
                verify_after=1.0,
                policy={"max_attempts": 100},
            )
            for at in range(4)
        ]
        for process in running:
            house.wait(process, "a writer")
        house.drain(policy={"max_attempts": 100}, verify_after=1.0)
        return figures(house)


def own_poison(seed: int) -> dict[str, int]:
    with own(seed) as house:
        house.server.faults({"action": "status", "status": 400, "method": "POST", "count": 1})
        house.run("write", writer="w", count=501, lanes=100)
        return figures(house)


def main() -> None:
    seed = new_seed()
    print(f"AUDITBOX_SEED={seed}")
    rows = {
        "kill -9 right after the last call": (peer_killed, own_killed),
        "four processes, 40 % errors": (lambda: peer_errors(seed), own_errors),
        "one record that is never taken": (peer_poison, own_poison),
    }
    for name, (theirs, ours) in rows.items():
        print(f"{name}: python-logstash-async {theirs()}, auditbox {ours(seed)}", flush=True)


if __name__ == "__main__":
    main()
