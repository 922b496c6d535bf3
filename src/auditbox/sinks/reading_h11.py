"""Responses read by h11, which is httpx's own parser."""

from __future__ import annotations

import h11

from auditbox.sinks.reading import LONGEST_HEAD, NotHttp, Reading

_REQUEST = h11.Request(method="POST", target="/", headers=[("Host", "h")])


class H11Reading(Reading):
    """h11 is told that a request has gone out; its bytes were ours."""

    def __init__(self, longest: int) -> None:
        super().__init__(longest)
        self._http: h11.Connection | None = None

    def _parse(self, data: bytes) -> None:
        http = self._http
        if http is None:
            self._http = http = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HEAD)
            http.send(_REQUEST)
            http.send(h11.EndOfMessage())
        try:
            http.receive_data(data)
            while not self.whole and (event := http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                self._see(event)
        except h11.ProtocolError as exc:
            raise NotHttp from exc
        self.surplus = self.whole and bool(http.trailing_data[0])

    def _see(self, event: object) -> None:
        if isinstance(event, h11.Response):
            self.status, self._raw = event.status_code, list(event.headers)
        elif isinstance(event, h11.Data):
            self._take(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            self.whole = True
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("closed before the response")

    def _ends(self) -> bool:
        if self._http is None or self.status is None:
            return False
        try:
            self._parse(b"")  # which is what h11 takes for the end
        except NotHttp:
            return False
        return self.whole

    def _goes_on(self) -> bool:
        return self._http is not None and self._http.their_state is h11.DONE
