"""A program that does what it is told, line by line: JSON commands on stdin, JSON answers on stdout."""

from __future__ import annotations

import json
import os
import random
import resource
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from auditbox import AuditTrail
from auditbox.backoff import Backoff
from auditbox.errors import AuditboxError
from auditbox.relay.policy import Policy
from tests.reliability.programs.common import TOKEN, Writer, arguments, make_policy, make_sink


@dataclass(frozen=True, slots=True)
class Steady(Backoff):
    """Always the longest wait, so that an interval can be recognised from outside."""

    def wait(self, attempt: int) -> float:
        return self.longest


class Puppet:
    """One trail and what may be done with it."""

    def __init__(self, given: dict[str, Any]) -> None:
        policy = make_policy(given)
        if "interval" in given:
            pause = Steady(first=given["interval"], longest=given["interval"])
            policy = Policy(backoff=policy.backoff, pause=pause, verify_after=policy.verify_after)
        names = ("durability", "keep_delivered", "max_bytes", "busy_timeout")
        options = {name: given[name] for name in names if name in given}
        sink = make_sink(given, token_of(given)) if given.get("url") else None
        self.trail = AuditTrail(given["outbox"], sink=sink, extension="proof", policy=policy, **options)
        self.writer = Writer(given, self.trail, given["writer"])

    def capture(
        self, count: int, lane: int | None = None, pace: float = 0.0, lanes: tuple[int, int] | None = None
    ) -> dict[str, Any]:
        """Captures; what cannot be stored is counted by its error."""
        refused: Counter[str] = Counter()
        slowest = 0.0
        for _ in range(count):
            begin = time.monotonic()
            try:
                self.writer.capture(lane if lanes is None else random.randrange(*lanes))
            except AuditboxError as error:
                refused[type(error).__name__] += 1
                print(f"refused: {error!r}", file=sys.stderr, flush=True)
                slowest = max(slowest, time.monotonic() - begin)
            if pace:
                time.sleep(pace)
        return {"safe": count - refused.total(), "refused": dict(refused), "slowest_refusal": slowest}

    def flush(self, timeout: float) -> dict[str, Any]:
        """Delivers."""
        return self.trail.flush(timeout)._asdict()

    def status(self) -> dict[str, Any]:
        """What the trail says of itself."""
        return self.trail.status()

    def close(self, timeout: float) -> dict[str, Any]:
        """Closes the trail; a later capture opens it again."""
        return self.trail.close(timeout)._asdict()

    def clock(self, jump: float) -> dict[str, Any]:
        """The wall clock is set, by this many seconds."""
        before = time.time
        time.time = lambda: before() + jump
        return {}

    def peak(self) -> dict[str, Any]:
        """The most memory that it has had, in MiB."""
        return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def token_of(given: dict[str, Any]) -> Any:
    """The token as it is; from a file; or by a callable that raises while the file says so."""
    from pathlib import Path

    file = Path(given.get("token_file", "/nowhere"))

    def ask() -> str:
        said = file.read_text()
        if said == "raise":
            raise RuntimeError("the vault is closed")
        return said

    return {"file": file, "callable": ask}.get(given.get("token", ""), TOKEN)


def log_connections(path: str) -> None:
    """Notes the moment of each connection that is tried."""
    connect = socket.create_connection
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def noted(*arguments: Any, **options: Any) -> socket.socket:
        os.write(file, f"{time.monotonic():.6f}\n".encode())
        return connect(*arguments, **options)

    socket.create_connection = noted


def main() -> None:
    """Until stdin ends."""
    given = arguments()
    if "connections" in given:
        log_connections(given["connections"])
    puppet = Puppet(given)
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        action: Callable[..., dict[str, Any]] = getattr(puppet, command.pop("do"))
        print(json.dumps(action(**command)), flush=True)


if __name__ == "__main__":
    main()
