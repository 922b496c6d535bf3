"""Ids that sort by the time at which they were made (RFC 9562, UUID version 7)."""

from __future__ import annotations

import os
import random
import time

# Of its own, so that nobody's seed() makes two programs give the same ids; seeded anew after a fork.
_random = random.Random()
os.register_at_fork(after_in_child=_random.seed)


def uuid7() -> str:
    """A new UUIDv7 as its 36-character text."""
    milliseconds = time.time_ns() // 1_000_000
    bits = _random.getrandbits(74)
    return "%08x-%04x-7%03x-%04x-%012x" % (  # noqa: UP031 - twice as fast as an f-string of slices
        milliseconds >> 16,
        milliseconds & 0xFFFF,
        bits >> 62,
        0x8000 | bits >> 48 & 0x3FFF,
        bits & 0xFFFFFFFFFFFF,
    )
