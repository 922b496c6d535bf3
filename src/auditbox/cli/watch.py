"""What is new in the trail: asked for again and again, each record once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from auditbox.cli import output
from auditbox.errors import ApiConnectionError, ApiError, RateLimited, ServerError
from auditbox.records import AuditRecord

_OVERLAP = timedelta(seconds=10)
"""How far each look reaches back: a server may show a record after one with a later timestamp."""

Read = Callable[[datetime | None, str, int | None], Iterable[AuditRecord]]
"""The records since a time (None: all), in an order, and how many at most (None: all)."""


class Watch:
    """Yields records that were not there before.

    Remembers the ids of the last seconds only, by the server's own timestamps; so neither clock matters here,
    and memory does not grow.

    Args:
        read: asks the API.
        from_start: what is there at the beginning counts as new, too.
    """

    def __init__(self, read: Read, *, from_start: bool) -> None:
        self._read, self._from_start = read, from_start
        self._newest: datetime | None = None
        self._seen: dict[str, datetime | None] = {}

    def begin(self) -> None:
        """Asks for the first time. Whatever is there now is not new, unless it was said so.

        Raises:
            ApiError: the question, the token or the address is wrong.
        """
        for newest in self._read(None, "-timestamp", 1):
            if not self._from_start:
                self._note(newest)
                for _ in self.look():
                    pass

    def follow(self, interval: float) -> Iterator[AuditRecord]:
        """New records, for ever; failures that pass are waited for.

        Raises:
            ApiError: the token is not accepted any more, or the like.
        """
        said = ""
        while True:
            try:
                yield from self.look()
                if said:
                    output.warn("auditbox: the Audit API is back")
                said = ""
            except (ApiConnectionError, RateLimited, ServerError) as error:
                said = _once(error, said)
            time.sleep(interval)

    def look(self) -> Iterator[AuditRecord]:
        """What is new since the last look, oldest first."""
        edge = None if self._newest is None else self._newest - _OVERLAP
        for record in self._read(edge, "timestamp", None):
            if record.id not in self._seen:
                self._note(record)
                yield record
        self._forget()

    def _note(self, record: AuditRecord) -> None:
        at = record.timestamp
        self._seen[record.id] = at
        if at is not None and (self._newest is None or at > self._newest):
            self._newest = at

    def _forget(self) -> None:
        if self._newest is not None:
            edge = self._newest - _OVERLAP
            self._seen = {id: at for id, at in self._seen.items() if at is None or at >= edge}


def _once(error: ApiError, said: str) -> str:
    text = f"auditbox: {error}; trying again"
    if text != said:
        output.warn(text)
    return text
