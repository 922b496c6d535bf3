"""Bodies of requests and answers, where a rule asks for them: bounded, and in a form that can be redacted."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

_FORM = "application/x-www-form-urlencoded"


class Body:
    """The bytes of one body as they pass; forgets them where they are more than may be kept.

    Args:
        size_limit: the bytes that may be kept.
    """

    def __init__(self, size_limit: int) -> None:
        self.size_limit = size_limit
        self._parts: list[bytes] = []
        self.size = 0

    def add(self, part: bytes) -> None:
        """Another part of the body."""
        self.size += len(part)
        if self.size <= self.size_limit:
            self._parts.append(bytes(part))
        else:
            self._parts.clear()

    def document(self, content_type: str, most: int) -> dict[str, Any]:
        """What a record holds of the body: JSON and forms by their keys, texts; never bytes.

        A part of a body is not kept: without its end JSON has no keys to mask secrets by.

        Args:
            content_type: the header that came with it.
            most: the bytes up to which it is kept.
        """
        kind = content_type.partition(";")[0].strip().lower()
        known: dict[str, Any] = {"contentType": kind, "bytes": self.size} if kind else {"bytes": self.size}
        if self.size > most:
            return {**known, "omitted": f"more than {most} bytes"}
        if not self.size:
            return known
        try:
            return {**known, "content": _parsed(b"".join(self._parts), kind)}
        except (ValueError, RecursionError) as error:
            return {**known, "omitted": f"not readable: {type(error).__name__}"}


def _parsed(body: bytes, kind: str) -> Any:
    if kind == "application/json" or kind.endswith("+json"):
        return json.loads(body)
    if kind == _FORM:
        fields = parse_qs(body.decode(), keep_blank_values=True, strict_parsing=True)
        return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
    if kind.startswith("text/"):
        return body.decode()
    raise ValueError("no text")
