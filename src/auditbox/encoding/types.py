"""What JSON can hold."""

from __future__ import annotations

from typing import TypeAlias, Union

Json: TypeAlias = Union[bool, int, float, str, "list[Json]", "dict[str, Json]", None]

LEAST, MOST = -(2**63), 2**64 - 1
"""The integers that stay numbers: what a signed or an unsigned 64-bit integer holds."""
