"""The records of the programs under test: what they hold follows from who wrote them and when."""

from __future__ import annotations

import hashlib
from typing import Any


def text_of(writer: str, number: int) -> str:
    """The text of a writer's n-th record: a few words up to some kilobytes."""
    digest = hashlib.sha256(f"{writer}/{number}".encode()).digest()
    words = " ".join(f"w{byte}" for byte in digest)
    return words * (1 + digest[0] % 3 + 20 * (digest[1] < 8))


def document_of(writer: str, number: int, lane: str) -> dict[str, Any]:
    """The document that the oracle compares."""
    return {"writer": writer, "number": number, "lane": lane, "text": text_of(writer, number)}


def lane_of(house: str, lane: int) -> str:
    """The id of a lane's object."""
    return f"ORD-{house}-{lane:04d}"
