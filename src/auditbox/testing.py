"""What a user's own tests want.

::

    with auditbox.testing.capture() as records:
        approve(order)
    assert records.one("order.approved").object.id == order.id
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, overload

from auditbox.interception import intercepted
from auditbox.outbox.base import Draft
from auditbox.records import AuditObject, AuditRecord


class CapturedRecord(AuditRecord):
    """A record as it was captured: what a trail always sends is never None here; ``id`` is the entry's id."""

    object: AuditObject
    summary: str
    details: str
    documents: dict[str, Any]


class CapturedRecords(Sequence[CapturedRecord]):
    """The records captured so far, oldest first."""

    def __init__(self) -> None:
        self._records: list[CapturedRecord] = []

    def add(self, drafts: Sequence[Draft]) -> None:
        """Called by the trail in place of its outbox."""
        self._records.extend(
            CapturedRecord.model_validate({**json.loads(draft.body), "id": draft.id}) for draft in drafts
        )

    @overload
    def __getitem__(self, index: int) -> CapturedRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[CapturedRecord]: ...
    def __getitem__(self, index: int | slice) -> CapturedRecord | list[CapturedRecord]:
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"<CapturedRecords {[record.event for record in self._records]}>"

    def all(self, event: str | None = None) -> list[CapturedRecord]:
        """The records of an event; its short form will do (``order.approved``)."""
        return [record for record in self._records if event is None or _is(record.event, event)]

    def one(self, event: str | None = None) -> CapturedRecord:
        """The only record of an event; an AssertionError that lists what there is, if it is not one."""
        found = self.all(event)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} records of {event!r}, not one; captured: {self!r}")
        return found[0]

    def clear(self) -> None:
        """Forgets what was captured so far."""
        self._records.clear()


def _is(full: str, event: str) -> bool:
    return full == event or (full.startswith("extensions.") and full.split(".", 2)[2] == event)


@contextmanager
def capture() -> Iterator[CapturedRecords]:
    """Intercepts every trail of this process: nothing is opened, stored or sent inside the block.

    Records are validated, redacted and encoded as ever. Where no trail is configured, captures that need
    the default trail get a stand-in with the extension ``test``.
    """
    captured = CapturedRecords()
    with intercepted(captured.add):
        yield captured
