"""What WSGI hands around, with an eye on it: headers, the body that comes in, the answer that goes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from auditbox.capture.http_bodies import Body
from auditbox.capture.http_exchange import Exchange

_END: Any = object()


class EnvironHeaders(Mapping[str, str]):
    """The headers of a request by their names in small letters, read from its environment."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        try:
            return str(self._environ[_key(name)])
        except KeyError:
            raise KeyError(name) from None  # as it was asked for

    def get(self, name: str, default: Any = None) -> Any:
        """As every mapping's, without an exception for what is absent."""
        return self._environ.get(_key(name), default)

    def __iter__(self) -> Iterator[str]:
        for key in self._environ:
            if key.startswith("HTTP_"):
                yield key[5:].lower().replace("_", "-")
            elif key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                yield key.lower().replace("_", "-")

    def __len__(self) -> int:
        return sum(1 for _ in self)


@lru_cache(maxsize=256)
def _key(name: str) -> str:
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


class KeptInput:
    """``wsgi.input`` that keeps what is read from it."""

    def __init__(self, stream: Any, body: Body) -> None:
        self._stream, self._body = stream, body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[bytes]:
        for line in self._stream:
            yield self._kept(line)

    def read(self, *size: int) -> bytes:
        """As the stream's."""
        return self._kept(self._stream.read(*size))

    def readline(self, *size: int) -> bytes:
        """As the stream's."""
        return self._kept(self._stream.readline(*size))

    def readlines(self, *hint: int) -> list[bytes]:
        """As the stream's."""
        return [self._kept(line) for line in self._stream.readlines(*hint)]

    def _kept(self, part: bytes) -> bytes:
        self._body.add(part)
        return part


class Answer:
    """An answer that is made bit by bit: each bit within the request's context, and in the server's own.

    The record is made before the first bit that is not empty is handed to the server, which may send
    nothing until then (PEP 3333, "Buffering and Streaming").
    """

    def __init__(self, result: Iterable[bytes], exchange: Exchange) -> None:
        self._result, self._exchange = result, exchange
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> Answer:
        return self

    def __next__(self) -> bytes:
        with self._exchange.scope():
            part = self._part()
        if part is _END:
            raise StopIteration
        return part

    def close(self) -> None:
        """Called by the server in any case, at the end of the answer or where it broke off."""
        exchange = self._exchange
        try:
            if close := getattr(self._result, "close", None):
                with exchange.scope():
                    close()
        finally:
            exchange.finished(complete=exchange.request.method == "HEAD")
            exchange.record()

    def __del__(self) -> None:
        """For middleware around ours that raises and forgets the answer, closing nothing."""
        if not self._exchange.settled:
            self._exchange.finished(complete=False)
            self._exchange.record()

    def _part(self) -> bytes:
        exchange = self._exchange
        try:
            if self._iterator is None:
                self._iterator = iter(self._result)
            part: bytes = next(self._iterator, _END)
        except BaseException as error:
            exchange.failed(error)
            exchange.record()
            raise
        if part is _END:
            exchange.finished()
            exchange.record()
        elif part and not exchange.settled:
            exchange.sending(part)
            exchange.record()
        return part


def is_whole(result: Iterable[bytes], environ: Mapping[str, Any]) -> bool:
    """Whether the answer runs no more of the application: a list, or a file that the server may send."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(result, list | tuple) or (isinstance(wrapper, type) and isinstance(result, wrapper))


def leave_whole(exchange: Exchange, result: Iterable[bytes]) -> None:
    """Records an answer that the server gets as it is."""
    seen = isinstance(result, list | tuple)
    for part in result if seen else ():
        exchange.sending(part)
    exchange.finished(complete=exchange.request.status is not None, counted=seen)
    exchange.record()


def length_of(headers: Iterable[tuple[str, str]]) -> tuple[int | None, str]:
    """What an answer's headers say of its body: the Content-Length or None, and the Content-Type."""
    length, content_type = None, ""
    for name, value in headers:
        lowered = name.lower()
        if lowered == "content-length" and value.isdecimal():
            length = int(value)
        elif lowered == "content-type":
            content_type = value
    return length, content_type
