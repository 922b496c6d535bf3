"""Any value to plain JSON, plain JSON to bytes, and both to a bounded size. Nothing here raises, or swallows
what a signal handler has raised meanwhile.

What cannot be encoded is never silently lost: it is replaced by a text that begins with a mark in brackets
(``[repr]``, ``[recursion]``, ``[too deep]``, ``[too large]``, ``[unreadable]``, ``[base64]``, ``[cut]``).
"""

from __future__ import annotations

from auditbox.encoding.convert import key_text, plain, unused
from auditbox.encoding.cutting import cut
from auditbox.encoding.interruptions import is_interruption
from auditbox.encoding.remembered import remembered
from auditbox.encoding.types import LEAST, MOST, Json
from auditbox.encoding.wire import LONE_SURROGATE, fast_encoder, importing, raw_encoder, to_json

__all__ = [
    "LEAST",
    "LONE_SURROGATE",
    "MOST",
    "Json",
    "cut",
    "fast_encoder",
    "importing",
    "is_interruption",
    "key_text",
    "plain",
    "raw_encoder",
    "remembered",
    "to_json",
    "unused",
]
