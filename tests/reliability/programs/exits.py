"""Ends in the way that it is asked to, with captures just before, and in the handlers of its exit."""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import sys
import threading
import time


def capture_at_exit() -> None:
    """Registered before the library is imported: it runs when that has come to its end."""
    if globals().get("how") == "atexit":
        capture_late(5)


atexit.register(capture_at_exit)

from tests.reliability.programs.common import Writer, arguments, make_trail  # noqa: E402


def capture_late(count: int, pace: float = 0.0) -> None:
    """Captures while the program ends."""
    for _ in range(count):
        late.capture()
        time.sleep(pace)


class Finalizer:
    """Captures when the interpreter lets go of its modules."""

    def __del__(self) -> None:
        capture_late(5)


given = arguments()
faulthandler.dump_traceback_later(0.8 * given["patience"])  # one that never ends says where it stands
how = given["how"]
if how == "atexit, registered later":
    atexit.register(lambda: capture_late(5))
# A shell's background job inherits SIGINT as ignored, and so do these: such a program would never end.
signal.signal(signal.SIGINT, signal.default_int_handler)
trail = make_trail(given)
writer, late = Writer(given, trail, "early"), Writer(given, trail, "late")
if how == "SIGTERM, handled":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
if how == "a finalizer":
    sys.modules["finalizer"] = Finalizer()  # type: ignore[assignment]
if how == "a daemon thread":
    threading.Thread(target=capture_late, args=(10**6, 0.005), daemon=True).start()
for _ in range(given["count"]):
    writer.capture()
time.sleep(given.get("delay", 0.0))
match how:
    case "exception":
        raise ValueError("the program fails")
    case "SIGTERM" | "SIGTERM, handled":
        os.kill(os.getpid(), signal.SIGTERM)
    case "SIGINT":
        os.kill(os.getpid(), signal.SIGINT)
        while True:  # not pause(): a thread that has just started may be the one that takes the signal
            time.sleep(0.01)
    case "os._exit":
        os._exit(7)
    case "close, then more":
        trail.close()
        late.capture()
