"""Responses read by llhttp (httptools, in C): for the ``fast`` transport."""

from __future__ import annotations

from httptools import HttpResponseParser

from auditbox.sinks.reading import LONGEST_HEAD, NotHttp, Reading


class LlhttpReading(Reading):
    """llhttp calls the ``on_`` methods."""

    def __init__(self, longest: int) -> None:
        super().__init__(longest)
        self._interim = False
        self._parser: HttpResponseParser | None = None

    def _parse(self, data: bytes) -> None:
        if self._parser is None:
            self._parser = HttpResponseParser(self)
        try:
            self._parser.feed_data(data)
        except Exception as exc:
            if not self.whole:
                raise NotHttp from exc
            self.surplus = True
        if self.status is None:
            self._size += len(data)
            if self._size > LONGEST_HEAD:
                raise NotHttp

    def _ends(self) -> bool:
        told = {name.lower() for name, _ in self._raw}
        return self.status is not None and not told & {b"content-length", b"transfer-encoding"}

    def _goes_on(self) -> bool:
        closes = any(b"close" in value.lower() for name, value in self._raw if name.lower() == b"connection")
        return not closes and self._parser is not None and self._parser.get_http_version() == "1.1"

    # -- llhttp ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.whole:
            self.surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.whole:
            self._raw.append((name, value))

    def on_headers_complete(self) -> None:
        if self.whole or self._parser is None:
            return
        status = self._parser.get_status_code()
        self._interim = 100 <= status < 200
        if self._interim:
            self._raw = []
        else:
            self.status, self._size = status, 0

    def on_body(self, data: bytes) -> None:
        if not self.whole:
            self._take(data)

    def on_message_complete(self) -> None:
        if not self._interim:
            self.whole = True
