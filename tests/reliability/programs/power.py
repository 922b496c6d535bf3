"""Captures and delivers with durability "power", while every write and sync is recorded."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from auditbox import AuditTrail
from auditbox.sinks.base import Delivery, Missing, SendOutcome, Sent
from tests.reliability.programs.common import Writer, arguments, make_policy
from tests.reliability.programs.recording import Recorder


class NotedSink:
    """Notes the moment at which each record leaves: from then on it must not be forgotten that it did."""

    destination, deadline = "noted", 1.0

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def send(self, delivery: Delivery) -> SendOutcome:
        self._recorder.note("sent", delivery.id)
        return Sent("R")

    def verify(self, delivery: Delivery) -> Any:
        return Missing()

    def clock(self) -> float:
        return time.time()

    def abort_overdue(self) -> None:
        pass

    def close(self) -> None:
        pass


class NotingWriter(Writer):
    """Notes, in the same sequence as the writes, that a record was said to be safe."""

    recorder: Recorder

    def _tell(self, ids: list[str], numbers: list[int], about: str, begin: float) -> None:
        for id in ids:
            self.recorder.note("safe", id)


def work(writer: NotingWriter, count: int) -> None:
    """One thread."""
    for at in range(count):
        if at % 7 == 6:
            writer.capture_many(3)
        else:
            writer.capture()


given = arguments()
recorder = Recorder()
recorder.install()
trail = AuditTrail(
    given["outbox"],
    sink=NotedSink(recorder),
    extension="proof",
    policy=make_policy(given),
    durability=given.get("durability", "power"),
)
writers = [NotingWriter(given, trail, f"t{at}") for at in range(given["threads"])]
threads = [threading.Thread(target=work, args=(writer, given["count"])) for writer in writers]
for writer in writers:
    writer.recorder = recorder
for thread in threads:
    thread.start()
for at in range(given["checkpoints"]):
    while sum(writer.number for writer in writers) < at * given["count"]:
        time.sleep(0.01)
    trail.outbox.checkpoint()
for thread in threads:
    thread.join()
recorder.save(Path(given["trace"]))
trail.close()
