"""The oracle: ids that callers were told are safe, against what the server has stored.

It knows nothing of the library: what was safe stands in files that the programs wrote right after each
capture had returned, and what arrived is read from the server's own database.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from .work import text_of


class Ack(NamedTuple):
    """A capture that returned; ``begin`` and ``end`` are the machine's monotonic seconds."""

    id: str
    lane: str
    writer: str
    number: int
    begin: float
    end: float


class Arrived(NamedTuple):
    """A record on the server, in the order in which it was stored."""

    id: str
    lane: str
    writer: str
    number: int
    outbox: str
    seq: int
    intact: bool


@dataclass
class Verdict:
    """What went wrong; every list is empty where nothing did."""

    safe: int
    stored: int
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    unexplained: list[int] = field(default_factory=list)

    @property
    def flawless(self) -> bool:
        """Whether each record that was safe is in the trail once, as it was, in the order of its object."""
        return not (self.lost or self.doubled or self.altered or self.disordered or self.unexplained)

    @property
    def figures(self) -> dict[str, int]:
        """The counts, for the report."""
        names = ("lost", "doubled", "altered", "disordered", "unexplained")
        return {
            "safe": self.safe,
            "stored": self.stored,
            **{name: len(getattr(self, name)) for name in names},
        }


def read_acks(files: Iterable[Path]) -> list[Ack]:
    """What the programs were told; a line that a kill cut in half was never finished telling."""
    acks = []
    for file in files:
        for line in file.read_bytes().split(b"\n")[:-1]:
            id, lane, writer, number, begin, end = line.decode().split()
            acks.append(Ack(id, lane, writer, int(number), float(begin), float(end)))
    return acks


def read_arrived(database: Path, house: str) -> list[Arrived]:
    """What the server has stored about the objects of one house."""
    db = sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)
    try:
        query = "SELECT object_id, documents FROM record WHERE object_id LIKE ? ORDER BY seq"
        return [_arrived(lane, json.loads(text)) for lane, text in db.execute(query, (f"ORD-{house}-%",))]
    finally:
        db.close()


def _arrived(lane: str, documents: dict[str, dict[str, object]]) -> Arrived:
    work, own = documents["work"], documents["auditbox"]
    writer, number = str(work["writer"]), int(str(work["number"]))
    intact = work["text"] == text_of(writer, number) and work["lane"] == lane
    return Arrived(str(own["id"]), lane, writer, number, str(own["outbox"]), int(str(own["seq"])), intact)


def read_lines(file: Path) -> list[Arrived]:
    """What a sink of JSON lines has written."""
    if not file.exists():
        return []
    records = [json.loads(line) for line in file.read_bytes().splitlines()]
    return [_arrived(record["object"]["id"], record["documents"]) for record in records]


def count_arrived(database: Path, house: str) -> int:
    """How many records about the objects of one house there are."""
    db = sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)
    try:
        query = "SELECT count(*) FROM record WHERE object_id >= ? AND object_id < ?"
        return int(db.execute(query, (f"ORD-{house}-", f"ORD-{house}.")).fetchone()[0])
    finally:
        db.close()


def read_delays(database: Path, house: str, since: float) -> list[float]:
    """Seconds from capture to arrival of what was captured since a moment, by the records' own stamps."""
    db = sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)
    try:
        query = "SELECT timestamp, documents ->> '$.auditbox.occurredAt' FROM record WHERE object_id LIKE ?"
        pairs = [(_moment(at), _moment(captured)) for at, captured in db.execute(query, (f"ORD-{house}-%",))]
    finally:
        db.close()
    return [at - captured for at, captured in pairs if captured >= since]


def _moment(text: str) -> float:
    """Unix seconds of an API timestamp, to the millisecond."""
    return datetime.fromisoformat(f"{text[:23]}+00:00").timestamp()


def judge(acks: Sequence[Ack], arrived: Sequence[Arrived], dead: Iterable[str] = ()) -> Verdict:
    """Compares; ``dead`` are the ids that stand in the outbox as dead letters."""
    counts = Counter(one.id for one in arrived)
    excused = set(dead)
    return Verdict(
        safe=len(acks),
        stored=len(arrived),
        lost=[ack.id for ack in acks if not counts[ack.id] and ack.id not in excused],
        doubled=[id for id, count in counts.items() if count > 1],
        altered=[one.id for one in arrived if not one.intact],
        disordered=list(_disordered(acks, arrived)),
        unexplained=[] if excused else list(_gaps(arrived)),
    )


def _disordered(acks: Sequence[Ack], arrived: Sequence[Arrived]) -> Iterable[str]:
    """Records that came before one of their lane whose capture had returned before theirs began."""
    known = {ack.id: ack for ack in acks}
    latest: dict[str, float] = {}
    numbers: dict[tuple[str, str], int] = {}
    for one in arrived:
        ack = known.get(one.id)
        late = ack is not None and ack.end < latest.get(one.lane, 0.0)
        if late or one.number < numbers.get((one.lane, one.writer), -1):
            yield one.id
        numbers[one.lane, one.writer] = one.number
        if ack is not None:
            latest[one.lane] = max(latest.get(one.lane, 0.0), ack.begin)


def _gaps(arrived: Sequence[Arrived]) -> Iterable[int]:
    """Numbers that no record of an outbox carries, though a later one does."""
    seqs: dict[str, set[int]] = {}
    for one in arrived:
        seqs.setdefault(one.outbox, set()).add(one.seq)
    for found in seqs.values():
        yield from sorted(set(range(1, max(found) + 1)) - found)
