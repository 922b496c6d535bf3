"""Ids that sort by the time at which they were made (RFC 9562, UUID version 7)."""

from __future__ import annotations

import os
import random
import time

# Of our own, so that nobody's seed() makes two programs give the same ids; seeded anew after a fork.
_random = random.Random()
_bits = _random.getrandbits
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The two bits that say which kind of UUID it is, in front of two of the random ones."""


def uuid7(milliseconds: int | None = None) -> str:
    """A new UUIDv7 as its 36-character text.

    Args:
        milliseconds: the Unix time that it begins with; now where none is given.
    """
    if milliseconds is None:
        milliseconds = time.time_ns() // 1_000_000
    text = (milliseconds << 80 | _bits(80)).to_bytes(16, "big").hex()  # a third of what formatting costs
    return f"{text[:8]}-{text[8:12]}-7{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)
