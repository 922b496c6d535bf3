"""Power cuts: what is on the disk is what was synced, and of the rest any part, torn anywhere."""

from __future__ import annotations

import pickle
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from auditbox.outbox.base import Draft, Now
from auditbox.outbox.sqlite import SqliteOutbox

from .figures import report
from .house import House
from .programs.recording import Event
from .sizes import PATIENCE, sized

SECTOR = 512
COMMITS = sized(2, 40)
STATES = sized(300, 1000)


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder for many short-lived files."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


def entries(path: Path) -> list[str]:
    """The ids that SQLite finds in an outbox, in their order."""
    db = sqlite3.connect(path)
    try:
        return [id for (id,) in db.execute("SELECT id FROM entry ORDER BY seq")]
    finally:
        db.close()


@pytest.mark.timeout(PATIENCE * 10)
def test_a_wal_cut_at_any_byte_holds_exactly_a_committed_prefix(tmp_path: Path) -> None:
    """Nothing of a transaction that is not whole, and all of those before it."""
    source = tmp_path / "audit.db"
    outbox = SqliteOutbox(source)
    outbox.append([Draft("first", "A", b"{}")])
    outbox.close()  # the next append begins a WAL
    wal = Path(f"{source}-wal")
    sizes, expected = [0], [entries_of_copy(source, tmp_path)]
    for number in range(COMMITS):
        many = [Draft(f"{number}-{at}", "A", b"x" * 700) for at in range(1 + number % 3)]
        outbox.append(many)
        sizes.append(used(wal))
        expected.append([*expected[-1], *(draft.id for draft in many)])
    content, database = wal.read_bytes(), source.read_bytes()
    outbox.close()
    wrong = []
    with memory_folder() as folder:
        for cut in range(sizes[-1] + 1):
            (folder / "a.db").write_bytes(database)
            (folder / "a.db-wal").write_bytes(content[:cut])
            whole = max(at for at, size in enumerate(sizes) if size <= cut)
            if entries(folder / "a.db") != expected[whole]:
                wrong.append(cut)
            (folder / "a.db-shm").unlink(missing_ok=True)
    assert wrong == []
    report("9. WAL cut at every byte", cuts=sizes[-1] + 1, commits=COMMITS, wrong=len(wrong))


def entries_of_copy(source: Path, folder: Path) -> list[str]:
    shutil.copy(source, folder / "copy.db")
    return entries(folder / "copy.db")


def used(wal: Path) -> int:
    return wal.stat().st_size


class Crash:
    """The files after a power cut: a recorded sequence of writes, cut off at one moment."""

    def __init__(self, events: list[Event], upto: int, chance: random.Random) -> None:
        self._events, self._upto, self._chance = events, upto, chance
        self.files: dict[str, bytearray] = {}
        synced: dict[str, int] = {}
        for event in events[:upto]:
            if event.kind == "sync":
                synced[event.file] = event.offset  # all that had been asked of the file when it began
        # SQLite's first sync of a new WAL syncs the directory as well (os_unix.c, UNIXFILE_DIRSYNC).
        directory = next((e.offset for e in events[:upto] if e.kind == "sync" and e.file.endswith("-wal")), 0)
        for at, event in enumerate(events[:upto]):
            known = directory if event.kind == "delete" else synced.get(event.file, 0)
            self._apply(event, durable=at < known)

    def _apply(self, event: Event, *, durable: bool) -> None:
        if event.kind == "write":
            self._write(event, durable)
        elif event.kind == "truncate" and (durable or self._chance.random() < 0.5):
            content = self.files.setdefault(event.file, bytearray())
            del content[event.offset :]
        elif event.kind == "delete" and (durable or self._chance.random() < 0.5):
            self.files.pop(event.file, None)

    def _write(self, event: Event, durable: bool) -> None:
        """All of it, none of it, or any of its sectors."""
        fate = "all" if durable else self._chance.choice(["all", "none", "torn"])
        for at in range(0, len(event.data), SECTOR):
            if fate == "all" or (fate == "torn" and self._chance.random() < 0.5):
                self._put(event.file, event.offset + at, event.data[at : at + SECTOR])

    def _put(self, file: str, offset: int, data: bytes) -> None:
        content = self.files.setdefault(file, bytearray())
        if len(content) < offset + len(data):
            content.extend(bytes(offset + len(data) - len(content)))
        content[offset : offset + len(data)] = data

    def known(self, kind: str) -> set[str]:
        """What had been said to be safe, or had been sent, when the power failed."""
        return {event.file for event in self._events[: self._upto] if event.kind == kind}


UNSENT = """
SELECT e.id FROM entry e WHERE e.seq > (SELECT cursor FROM relay)
UNION SELECT e.id FROM entry e JOIN open o USING (seq)
WHERE o.maybe_sent = 0 AND o.state NOT IN ('sending', 'verify')
"""
"""What the outbox takes for never sent, once a relay has taken over: that would send it without a look."""


@pytest.mark.timeout(PATIENCE * 10)
def test_with_durability_power_no_power_cut_loses_what_was_safe_or_forgets_what_was_sent(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand crash states out of a recorded sequence of writes and syncs."""
    trace = house.folder / "trace"
    house.run("power", threads=4, count=sized(40, 150), checkpoints=3, trace=str(trace))
    events = [Event(*event) for event in pickle.loads(trace.read_bytes())]
    moments = [at for at, event in enumerate(events) if event.kind == "safe"]
    assert any(event.kind == "sync" for event in events), "nothing was recorded"
    lost, forgotten, opened = 0, 0, 0
    for _ in range(STATES):
        upto = house.random.randrange(moments[0] + 1, len(events) + 1)
        crash = Crash(events, upto, house.random)
        with memory_folder() as folder:
            found, unsent = recovered(crash, folder)
        opened += 1
        lost += len(crash.known("safe") - found)
        forgotten += len(crash.known("sent") & unsent)
    report(
        "9. power cuts, durability power", states=opened, lost=lost, forgotten=forgotten, events=len(events)
    )
    assert (lost, forgotten) == (0, 0), f"seed {house.seed}"
    damaged = [record for record in caplog.records if "damaged" in record.getMessage()]
    assert damaged == [], "a power cut is no damage"


def recovered(crash: Crash, folder: Path) -> tuple[set[str], set[str]]:
    """The ids that the outbox holds after the power is back, and those that it takes for never sent."""
    for name, content in crash.files.items():
        (folder / name).write_bytes(content)
    outbox = SqliteOutbox(folder / "audit.db")
    try:
        outbox.append([Draft("after", "AFTER", b"{}")])  # it must be usable as well
        outbox.take_over(Now(0.0, 0.0, 0.0), 0.0)
    finally:
        outbox.close()
    db = sqlite3.connect(folder / "audit.db")
    try:
        found = {id for (id,) in db.execute("SELECT id FROM entry")}
        return found, {id for (id,) in db.execute(UNSENT)}
    finally:
        db.close()
