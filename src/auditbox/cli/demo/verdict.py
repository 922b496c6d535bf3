"""What the Audit API holds, against what the clients were told; asked over HTTP by the typed client."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from auditbox.api.client import AuditApi
from auditbox.cli.demo.traffic import Asked
from auditbox.records import AuditRecord

ROUTES = {"approve": "logging", "ship": "decorator", "cancel": "middleware"}
"""Which action of the application is captured by what."""
_EVENTS = {
    "approve": "extensions.demo.order.approved",
    "ship": "extensions.demo.order.shipped",
    "cancel": "extensions.demo.order.cancelled",
}


@dataclass(slots=True)
class Tally:
    """Counts of records."""

    captured: int = 0
    """Requests that were answered with 2xx: each has a record on disk."""
    delivered: int = 0
    """Of these, how many the Audit API has."""
    lost: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    """Records that reached the API before an earlier one about the same object."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Tally)))


@dataclass(slots=True)
class Verdict:
    """What came of the demo."""

    routes: dict[str, Tally]
    unanswered: int
    """Requests that the kill left without an answer."""
    unanswered_delivered: int
    """Of these, how many had been captured: the API has their records."""
    unexpected: int
    """Records that nobody asked for, or about the wrong object."""
    gaps: int
    """Numbers of the outbox that are missing in the trail."""
    seconds: list[float] = field(default_factory=list)
    """From capture to delivery, for every record."""

    @property
    def total(self) -> Tally:
        """All three routes together."""
        return sum(self.routes.values(), Tally())

    @property
    def good(self) -> bool:
        """Nothing was lost, doubled or out of order."""
        total = self.total
        wrong = (total.lost, total.duplicated, total.out_of_order, self.unexpected, self.gaps)
        return not any(wrong) and total.captured > 0

    def to_json(self) -> dict[str, Any]:
        """Stable keys."""
        return {
            **asdict(self.total),
            "unanswered": self.unanswered,
            "unanswered_delivered": self.unanswered_delivered,
            "unexpected": self.unexpected,
            "gaps": self.gaps,
            "seconds_median": round(statistics.median(self.seconds), 3) if self.seconds else None,
            "seconds_worst": round(max(self.seconds), 3) if self.seconds else None,
            "routes": {name: asdict(tally) for name, tally in self.routes.items()},
        }


def read_back(url: str, token: str) -> list[AuditRecord]:
    """Every record that the Audit API has."""
    with AuditApi(url, token=token) as api:
        return list(api.records.iterate(select="+documents", order="timestamp"))


def judge(
    records: Iterable[AuditRecord], acknowledged: Mapping[str, Asked], unanswered: Mapping[str, Asked]
) -> Verdict:
    """Compares what arrived with what clients were told."""
    known = {**acknowledged, **unanswered}
    arrived: defaultdict[str, list[AuditRecord]] = defaultdict(list)
    unexpected = 0
    records = list(records)
    for record in records:
        id = (record.auditbox.get("request") or {}).get("id", "")
        if id in known and _is_of(record, known[id]):
            arrived[id].append(record)
        else:
            unexpected += 1
    return Verdict(
        routes=_tallies(acknowledged, known, arrived),
        unanswered=len(unanswered),
        unanswered_delivered=sum(id in arrived for id in unanswered),
        unexpected=unexpected,
        gaps=_gaps(records),
        seconds=[_seconds(record) for record in records],
    )


def _is_of(record: AuditRecord, asked: Asked) -> bool:
    return (
        record.object is not None
        and record.object.id == asked.order
        and record.event == _EVENTS[asked.action]
    )


def _tallies(
    acknowledged: Mapping[str, Asked], known: Mapping[str, Asked], arrived: Mapping[str, list[AuditRecord]]
) -> dict[str, Tally]:
    tallies = {route: Tally() for route in ROUTES.values()}
    for id, asked in acknowledged.items():
        tally = tallies[ROUTES[asked.action]]
        tally.captured += 1
        tally.delivered += id in arrived
        tally.lost += id not in arrived
    for id, found in arrived.items():
        tallies[ROUTES[known[id].action]].duplicated += len(found) - 1
    for asked in _overtaken(known, arrived):
        tallies[ROUTES[asked.action]].out_of_order += 1
    return tallies


def _overtaken(known: Mapping[str, Asked], arrived: Mapping[str, list[AuditRecord]]) -> list[Asked]:
    """Requests whose record reached the API after that of a later request about the same order."""
    latest: dict[str, datetime] = {}
    overtaken = []
    for asked in sorted(known[id] for id in arrived):
        at = arrived[asked.id][0].timestamp
        assert at is not None
        if asked.order in latest and at < latest[asked.order]:
            overtaken.append(asked)
        latest[asked.order] = max(at, latest.get(asked.order, at))
    return overtaken


def _gaps(records: Iterable[AuditRecord]) -> int:
    numbers = Counter(record.auditbox.get("seq") for record in records)
    present = [number for number in numbers if isinstance(number, int)]
    return max(present, default=0) - len(present)


def _seconds(record: AuditRecord) -> float:
    assert record.timestamp is not None
    return (record.timestamp - datetime.fromisoformat(record.auditbox["occurredAt"])).total_seconds()
