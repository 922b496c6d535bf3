"""The comparison: reads the trail once, in order of time, and then looks for what was not in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from auditbox.api import AuditApi, Expression, F
from auditbox.cli.reconcile.compare import differences
from auditbox.cli.reconcile.numbers import Number, Numbers
from auditbox.cli.remote import batches
from auditbox.errors import NotFound, PermissionDenied, ValidationFailed
from auditbox.records import AuditRecord

_SLACK = timedelta(hours=1)
"""By how much the server's clock may be behind; what it stamps even earlier is looked for afterwards."""
_BATCH = 100
_MOST_ASKED = 1000
"""Records that are asked for one by one; beyond that many, the list's word is taken."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be; with ``last`` of all numbers from ``seq`` to it."""

    finding: Literal["missing", "doubled", "altered"]
    seq: int
    last: int | None
    id: str | None
    object: str | None
    remote_id: str | None
    text: str
    fields: list[str] = field(default_factory=list)
    """What differs, where it is altered."""

    @property
    def count(self) -> int:
        """How many numbers it is about."""
        return 1 if self.last is None else self.last - self.seq + 1


def check(numbers: Numbers, api: AuditApi, seen: Callable[[int], None]) -> Iterator[Finding]:
    """Everything that is missing, doubled or altered, as it is found.

    Args:
        numbers: what the outbox knows; what is found is noted there.
        api: where the records are.
        seen: told how many records of this outbox have been read.
    """
    if numbers.oldest is None:
        return
    since = datetime.fromtimestamp(numbers.oldest, UTC).replace(microsecond=0) - _SLACK
    read = _Reading(numbers, api, seen)
    yield from read.all(F.timestamp >= since)
    if not numbers.is_complete():  # a clock may have been wrong, and what is forgotten has no id to ask for
        yield from read.all(F.timestamp < since)
    numbers.place()
    yield from _missing(numbers, api)
    for day in numbers.wrong_days():
        text = (
            f"{day.date}: the Audit API has other numbers and ids than were delivered, by the ledger's digest"
        )
        yield Finding("altered", day.first, day.last, None, None, None, text)


class _Reading:
    """Reads the trail, and compares what came out of this outbox."""

    def __init__(self, numbers: Numbers, api: AuditApi, seen: Callable[[int], None]) -> None:
        self._numbers, self._api, self._seen, self._count = numbers, api, seen, 0

    def all(self, wanted: Expression) -> Iterator[Finding]:
        """What is wrong with the records for which this holds."""
        # Whatever was submitted is an extension's; the platform's own records need not be read.
        submitted = F.event.startswith("extensions.") & wanted
        found = self._api.records.iterate(submitted, select="documents", order="timestamp")
        for batch in batches(found, _BATCH):
            ours = [(seq, record) for record in batch if (seq := self._seq(record)) is not None]
            yield from self._compare(ours)
            self._count += len(ours)
            self._seen(self._count)

    def _seq(self, record: AuditRecord) -> int | None:
        """The entry's number, if the record came out of this outbox."""
        own = record.auditbox
        seq = own.get("seq")
        return seq if own.get("outbox") == self._numbers.outbox and type(seq) is int else None

    def _compare(self, ours: Sequence[tuple[int, AuditRecord]]) -> Iterator[Finding]:
        bodies = self._numbers.bodies({seq for seq, _ in ours})
        for seq, record in ours:
            before = self._numbers.known(seq)
            self._numbers.found(seq, record.id, record.auditbox.get("id"))
            if before is None or self._numbers.known(seq) is None:  # captured since, or not of the period
                continue
            if before.copies:
                text = f"it is there as {before.first} and as {record.id}"
                yield _finding("doubled", before, record.id, text)
            if seq in bodies:
                yield from _altered(self._numbers, before, record, bodies[seq])


def _altered(numbers: Numbers, known: Number, record: AuditRecord, body: Any) -> Iterator[Finding]:
    if body is None:
        text = "the outbox's own copy is damaged, so that nothing can be compared"
        yield _finding("altered", known, record.id, text)
    elif fields := differences(body, record, numbers.outbox, known.seq):
        text = f"{record.id} differs in {', '.join(fields)}"
        yield _finding("altered", known, record.id, text, fields)


def _missing(numbers: Numbers, api: AuditApi) -> Iterator[Finding]:
    asked = 0
    for first, last in _runs(numbers.of_state("delivered", only_absent=True)):
        if not first.kept:
            text = "delivered by the ledger, forgotten here since, and this token is not shown it"
            upto = last.seq if last.seq > first.seq else None
            yield Finding("missing", first.seq, upto, None, None, None, text)
            continue
        record = _asked(api, first.remote_id) if asked < _MOST_ASKED else None
        asked += 1
        if record is None:
            text = f"delivered as {first.remote_id or 'a record without id'}, and this token is not shown it"
            yield _finding("missing", first, first.remote_id, text)
        else:
            numbers.found(first.seq, record.id, first.id)
            if bodies := numbers.bodies({first.seq}):
                yield from _altered(numbers, first, record, bodies[first.seq])


def _runs(absent: Iterable[Number]) -> Iterator[tuple[Number, Number]]:
    """First and last of the forgotten numbers that follow one another; every other number for itself."""
    first: Number | None = None
    last: Number | None = None
    for number in absent:
        if first and last and (number.kept or first.kept or number.seq != last.seq + 1):
            yield first, last
            first = None
        first, last = first or number, number
    if first and last:
        yield first, last


def _asked(api: AuditApi, remote_id: str | None) -> AuditRecord | None:
    """The record itself: a list may lag behind, or be of another time where a clock was wrong."""
    if not remote_id:
        return None
    try:
        return api.records.get(remote_id)
    except (NotFound, PermissionDenied, ValidationFailed):
        return None


def _finding(
    kind: Literal["missing", "doubled", "altered"],
    known: Number,
    remote_id: str | None,
    text: str,
    fields: list[str] | None = None,
) -> Finding:
    return Finding(kind, known.seq, None, known.id, known.lane, remote_id, text, fields or [])
