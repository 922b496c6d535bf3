"""Delivers what an outbox holds, and ends well only if all of it is settled."""

from __future__ import annotations

import sys

from tests.reliability.programs.common import arguments, make_trail

given = arguments()
with make_trail(given) as trail:
    flushed = trail.flush(timeout=given["patience"])
    print(f"flushed: {flushed}", flush=True)
sys.exit(1 if flushed.pending else 0)
