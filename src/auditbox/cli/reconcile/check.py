"""The comparison: reads the trail once, in order of time, and then looks for what was not in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from auditbox.api import AuditApi, F
from auditbox.cli.reconcile.compare import differences
from auditbox.cli.reconcile.ledger import Known, Ledger
from auditbox.cli.remote import batches
from auditbox.errors import NotFound, PermissionDenied, ValidationFailed
from auditbox.records import AuditRecord

_SLACK = timedelta(hours=1)
"""By how much the server's clock may be behind; what it stamps even earlier is asked for by its id."""
_BATCH = 100
_MOST_ASKED = 1000
"""Records that are asked for one by one; beyond that many, the list's word is taken."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    finding: Literal["missing", "doubled", "altered"]
    seq: int
    id: str
    object: str
    remote_id: str | None
    text: str
    fields: list[str] = field(default_factory=list)
    """What differs, where it is altered."""


def check(ledger: Ledger, api: AuditApi, seen: Callable[[int], None]) -> Iterator[Finding]:
    """Everything that is missing, doubled or altered, as it is found.

    Args:
        ledger: what the outbox holds; what is found is noted there.
        api: where the records are.
        seen: told how many records of this outbox have been read.
    """
    if ledger.oldest is None:
        return
    since = datetime.fromtimestamp(ledger.oldest, UTC).replace(microsecond=0) - _SLACK
    # Whatever was submitted is an extension's; the platform's own records need not be read.
    wanted = F.event.startswith("extensions.") & (F.timestamp >= since)
    count = 0
    for batch in batches(api.records.iterate(wanted, select="documents", order="timestamp"), _BATCH):
        ours = [(seq, record) for record in batch if (seq := _number(record, ledger.outbox)) is not None]
        yield from _compare(ledger, ours)
        count += len(ours)
        seen(count)
    yield from _missing(ledger, api)


def _number(record: AuditRecord, outbox: str) -> int | None:
    """The entry's number, if the record came out of this outbox."""
    own = record.auditbox
    seq = own.get("seq")
    return seq if own.get("outbox") == outbox and type(seq) is int else None


def _compare(ledger: Ledger, ours: Sequence[tuple[int, AuditRecord]]) -> Iterator[Finding]:
    bodies = ledger.bodies({seq for seq, _ in ours})
    for seq, record in ours:
        known = ledger.known(seq)
        if known is None:  # captured since, or outside the time that was asked for
            continue
        ledger.found(seq, record.id)
        if known.copies:
            yield _finding("doubled", known, record.id, f"it is there as {known.first} and as {record.id}")
        if seq in bodies:
            yield from _altered(ledger, known, record, bodies[seq])


def _altered(ledger: Ledger, known: Known, record: AuditRecord, body: Any) -> Iterator[Finding]:
    if body is None:
        text = "the outbox's own copy is damaged, so that nothing can be compared"
        yield _finding("altered", known, record.id, text)
    elif fields := differences(body, record, ledger.outbox, known.seq):
        yield _finding("altered", known, record.id, f"{record.id} differs in {', '.join(fields)}", fields)


def _missing(ledger: Ledger, api: AuditApi) -> Iterator[Finding]:
    for asked, known in enumerate(ledger.of_state("delivered", only_absent=True)):
        record = _asked(api, known.remote_id) if asked < _MOST_ASKED else None
        if record is None:
            text = f"delivered as {known.remote_id or 'a record without id'}, and this token is not shown it"
            yield _finding("missing", known, known.remote_id, text)
        else:
            ledger.found(known.seq, record.id)
            bodies = ledger.bodies({known.seq})
            if known.seq in bodies:
                yield from _altered(ledger, known, record, bodies[known.seq])


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
    known: Known,
    remote_id: str | None,
    text: str,
    fields: list[str] | None = None,
) -> Finding:
    return Finding(kind, known.seq, known.id, known.lane, remote_id, text, fields or [])
