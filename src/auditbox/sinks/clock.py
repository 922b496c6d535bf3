"""The server's clock, as far as its ``Date`` headers tell."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


class ServerClock:
    """Turns this process's monotonic seconds into the server's Unix seconds.

    A ``Date`` header has whole seconds and is a little old when it arrives, so the estimate is never
    ahead of the server by more than its own error: a look-up then reads rather too far back.
    """

    def __init__(self) -> None:
        self._header: str | None = None
        self._offset: float | None = None

    def learn(self, header: str | None) -> None:
        """Takes in a ``Date`` header that has just arrived.

        The same header as before teaches nothing new: only the first answer of a second is worth parsing.
        """
        if header is not None and header != self._header:
            self._header, date = header, http_date(header)
            if date is not None:
                self._offset = date - time.monotonic()

    def now(self) -> float:
        """The server's time; 0 before any answer came: the local clock may be wrong by any amount."""
        return 0.0 if self._offset is None else time.monotonic() + self._offset


def http_date(header: str) -> float | None:
    """An HTTP date in Unix seconds, or None where it is none."""
    try:
        return _seconds(parsedate_to_datetime(header))
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def iso_date(text: object) -> float | None:
    """An ISO 8601 timestamp in Unix seconds, or None where it is none."""
    try:
        return _seconds(datetime.fromisoformat(text)) if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
