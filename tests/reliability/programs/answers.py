"""Two records about each object, in order; ends when both are settled."""

from __future__ import annotations

from tests.reliability.programs.common import Writer, arguments, make_trail

given = arguments()
with make_trail(given) as trail:
    writer = Writer(given, trail, given["writer"])
    for lane in range(given["lanes"]):
        writer.capture(lane)  # odd numbers: the fault strikes these
        writer.capture(lane)
    flushed = trail.flush(timeout=given["patience"])
    print(f"flushed: {flushed}", flush=True)
    assert flushed.pending == 0, flushed
