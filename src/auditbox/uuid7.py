"""Ids that sort by the time at which they were made (RFC 9562, UUID version 7)."""

from __future__ import annotations

import os
import time

_VERSION = 0x7 << 76
_VARIANT = 0x2 << 62
_RANDOM_A = 0xFFF << 64
_RANDOM_B = (1 << 62) - 1


def uuid7() -> str:
    """A new UUIDv7 as its 36-character text."""
    random = int.from_bytes(os.urandom(10), "big")
    milliseconds = time.time_ns() // 1_000_000 & 0xFFFFFFFFFFFF
    value = milliseconds << 80 | _VERSION | (random & _RANDOM_A) | _VARIANT | (random & _RANDOM_B)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
