"""What a response is as it arrives: the usual one can be read at a glance, any by a parser of HTTP.

Nearly every answer to a flight is a 200 or 201 that comes whole in one piece. To read such a one strictly
takes a few microseconds; a parser that is ready for whatever else a server may send takes ten to fifty times
as long.
"""

from __future__ import annotations

import functools
import re
from abc import abstractmethod

from auditbox.sinks.exchange import Answer, decoded, named

LONGEST_HEAD = 100 * 1024
_HEAD = re.compile(rb"HTTP/1\.1 (20[01]) [^\r\n\0]*\r\n((?:[A-Za-z0-9_-]+:[^\r\n\0]*\r\n)*)\r\n")
_FIELD = re.compile(rb"([^:]+):(.*)\r\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")


class NotHttp(Exception):
    """What came is no response of HTTP/1.1."""


class ConnectionClosed(Exception):
    """The server has ended the connection in the middle."""


class Reading:
    """One response, as a parser of HTTP reads it.

    Args:
        longest: the most bytes of the body that are read.
    """

    def __init__(self, longest: int) -> None:
        self.whole = self.surplus = False
        """Whether all of it is there; whether something came after it."""
        self.status: int | None = None
        self._longest, self._size = longest, 0
        self._raw: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []

    def feed(self, data: bytes) -> bool:
        """Takes in what has arrived; True once no more is wanted.

        Raises:
            NotHttp: it is none; what came of the status before is known all the same.
        """
        self._parse(data)
        return self.whole or (self.status is not None and self._size > self._longest)

    def end(self) -> None:
        """The server has closed: the end of the body, where nothing else said where that is.

        Raises:
            ConnectionClosed: something is missing.
        """
        if not self.whole and not self._ends():
            raise ConnectionClosed
        self.whole = self.surplus = True

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request."""
        return self.whole and not self.surplus and self._goes_on()

    def answer(self, flaw: str | None = None) -> Answer:
        """The answer; ``flaw`` says why its body did not arrive."""
        assert self.status is not None
        headers = named(self._raw)
        if flaw is not None:
            return Answer(self.status, headers, flaw=f"the body broke off ({flaw})", torn=True)
        body: bytes | None = b"".join(self._body)
        if self._size > self._longest:
            body = None
        elif "content-encoding" in headers:
            try:
                body = decoded(body or b"", headers["content-encoding"], self._longest)
            except Exception as exc:  # noqa: BLE001 - the status is known, and part of the outcome
                return self.answer(type(exc).__name__)
        if body is None:
            return Answer(self.status, headers, flaw=f"the body is longer than {self._longest} bytes")
        return Answer(self.status, headers, body)

    @abstractmethod
    def _parse(self, data: bytes) -> None:
        """Takes in what has arrived; sets ``status``, ``whole`` and ``surplus``, raises NotHttp."""

    @abstractmethod
    def _ends(self) -> bool:
        """Whether the response may end where the server closes now."""

    @abstractmethod
    def _goes_on(self) -> bool:
        """Whether the server keeps the connection after this response."""

    def _take(self, data: bytes) -> None:
        """Some of the body."""
        self._size += len(data)
        if self._size <= self._longest:
            self._body.append(data)


def at_a_glance(data: bytes, longest: int) -> Answer | None:
    """A success that is whole, with nothing after it and nothing about it that takes thought; None otherwise.

    Of its headers only the date is kept, which is all that a success is asked for.

    Strict, so that whatever two parsers might understand differently is left to one: no field twice, no
    folded lines, no other encoding than chunks (RFC 9112).
    """
    at = data.find(b"\r\n\r\n") + 4
    head = _usual_head(data[:at])
    if head is None:
        return None
    status, length, date = head
    body = _joined(data, at) if length is None else data[at:]
    if body is None or len(body) > longest or length not in (None, len(body)):
        return None
    return Answer(status, {} if date is None else {"date": date}, body)


@functools.lru_cache(16)
def _usual_head(head: bytes) -> tuple[int, int | None, str | None] | None:
    """Status, length (None: in chunks) and date of a success with a usual head; None for any other head.

    Kept, as a server's answers of the same second and length begin alike, where it does not number them.
    """
    found = _HEAD.fullmatch(head)
    if found is None:
        return None
    lines = found[2].lower()
    fields = {name: value.strip(b" \t") for name, value in _FIELD.findall(lines)}
    if len(fields) < lines.count(b"\n") or b"content-encoding" in fields:
        return None
    if fields.get(b"connection", b"keep-alive") != b"keep-alive":
        return None
    date = fields[b"date"].decode("latin-1") if b"date" in fields else None
    length, encoding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if length is None:
        return (int(found[1]), None, date) if encoding == b"chunked" else None
    counted = encoding is None and length.isdigit() and len(length) <= 9
    return (int(found[1]), int(length), date) if counted else None


def _joined(data: bytes, at: int) -> bytes | None:
    """The content of chunks that end where the data ends; None for anything else."""
    parts: list[bytes] = []
    while (size := _CHUNK.match(data, at)) is not None:
        length = int(size[1], 16)
        begin, at = size.end(), size.end() + length + 2
        if data[at - 2 : at] != b"\r\n":
            return None
        if not length:
            return b"".join(parts) if at == len(data) else None
        parts.append(data[begin : at - 2])
    return None
