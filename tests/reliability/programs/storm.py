"""Signals that arrive all the time; their handler captures, whatever it has interrupted."""

from __future__ import annotations

import signal

from tests.reliability.programs.common import Writer, arguments, make_trail

given = arguments()
trail = make_trail(given)
trail.ready()
main, storm = Writer(given, trail, "main"), Writer(given, trail, "storm")
inside = False


def handle(*_: object) -> None:
    """A capture, unless one of the handler's own is under way."""
    global inside
    if not inside and storm.number < given["signals"]:
        inside = True
        try:
            storm.capture()
        finally:
            inside = False


signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
while storm.number < given["signals"]:
    main.capture()
signal.setitimer(signal.ITIMER_REAL, 0)
trail.close(timeout=5.0)
