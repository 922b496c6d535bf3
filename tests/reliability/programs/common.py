"""What the programs under test share: a trail with short waits, and captures that are told outside."""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import time
from typing import Any

from auditbox import AuditTrail
from auditbox.backoff import Backoff
from auditbox.relay.policy import Policy
from auditbox.sinks.audit_api import AuditApiSink, Timeouts
from tests.reliability.work import document_of, lane_of

TOKEN = "idt:TKN-1234-5678:proof"
EVENT = "work.done"


def arguments() -> dict[str, Any]:
    """What the parent asks for."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given


def make_trail(given: dict[str, Any], *, relays: bool = True, **options: Any) -> AuditTrail:
    """The trail that the arguments describe; ``relays=False`` captures only."""
    for name in ("durability", "keep_delivered", "max_bytes", "busy_timeout", "concurrency"):
        if name in given:
            options.setdefault(name, given[name])
    sink = make_sink(given) if relays and given.get("url") else None
    return AuditTrail(given["outbox"], sink=sink, extension="proof", policy=make_policy(given), **options)


def make_sink(given: dict[str, Any], token: Any = TOKEN) -> AuditApiSink:
    """The Audit API with a short deadline."""
    deadline = given.get("deadline", 3.0)
    timeout = Timeouts(connect=2.0, write=2.0, read=deadline, pool=2.0)
    transport = given.get("transport", "httpx")
    return AuditApiSink(given["url"], token, timeout=timeout, deadline=deadline, transport=transport)


def make_policy(given: dict[str, Any]) -> Policy:
    """Short waits, and the settle window as it is asked for."""
    longest = given.get("pause", 0.5)
    return Policy(
        backoff=Backoff(first=0.05, longest=0.5),
        pause=Backoff(first=min(0.05, longest), longest=longest),
        verify_after=given.get("verify_after", 4.0),
        **given.get("policy", {}),
    )


class Writer:
    """Captures records and tells of each, in a file of its own, that it is safe."""

    def __init__(self, given: dict[str, Any], trail: AuditTrail, name: str) -> None:
        self.trail, self.name, self.number = trail, name, 0
        self._house, self._lanes = given["house"], given["lanes"]
        self._random = random.Random(f"{given['seed']}/{name}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._acks = os.open(os.path.join(given["acks"], f"{name}.acks"), flags, 0o600)

    def capture(self, lane: int | None = None) -> str:
        """One record, about this lane or any."""
        lane = self._random.randrange(self._lanes) if lane is None else lane
        self.number += 1
        number, about = self.number, lane_of(self._house, lane)
        work = document_of(self.name, number, about)
        begin = time.monotonic()
        id = self.trail.record(EVENT, object=about, documents={"work": work})
        self._tell([id], [number], about, begin)
        return id

    def capture_many(self, count: int) -> list[str]:
        """Several records of one lane in one transaction."""
        about = lane_of(self._house, self._random.randrange(self._lanes))
        numbers = [self.number + 1 + at for at in range(count)]
        self.number = numbers[-1]
        works = [document_of(self.name, number, about) for number in numbers]
        begin = time.monotonic()
        ids = self.trail.record_many(
            {"event": EVENT, "object": about, "documents": {"work": work}} for work in works
        )
        self._tell(ids, numbers, about, begin)
        return ids

    def _tell(self, ids: list[str], numbers: list[int], about: str, begin: float) -> None:
        end = time.monotonic()
        lines = [
            f"{id} {about} {self.name} {number} {begin:.6f} {end:.6f}\n"
            for id, number in zip(ids, numbers, strict=True)
        ]
        os.write(self._acks, "".join(lines).encode())
