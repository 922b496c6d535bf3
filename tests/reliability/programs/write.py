"""A writer: captures and relays until it has done its work, is told to stop, or is killed.

``die_at`` names the step at which it kills itself (see steps.py); ``burst`` captures, one in ten of them of
``many`` records at once, and then a rest, again and again, until ``count``.
"""

from __future__ import annotations

import random
import signal
import threading

from auditbox.errors import OutboxError
from tests.reliability.programs import steps
from tests.reliability.programs.common import Writer, arguments, make_trail

given = arguments()
steps.arm(given.get("die_at"))
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
trail = make_trail(given, relays=given.get("relays", True))
writer = Writer(given, trail, given["writer"])
chance = random.Random(f"{given['seed']}/{given['writer']}/pace")
while writer.number < given["count"] and not stop.is_set():
    for _ in range(given.get("burst", 20)):
        try:
            if chance.random() < 0.1:
                writer.capture_many(given.get("many", 3))
            else:
                writer.capture()
        except OutboxError as error:
            print(f"refused: {error!r}", flush=True)  # it was not told to be safe
        if stop.wait(given.get("pace", 0.0)):
            break
    stop.wait(given.get("rest", 0.0))
trail.close(timeout=given.get("close", 0.2))
