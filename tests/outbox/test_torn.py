"""A write-ahead log with a gap: what was committed behind it is carried over, and what is lost is told."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from auditbox.outbox import torn
from auditbox.outbox.base import Delivered, Draft, Now
from auditbox.outbox.checkup import Check, examine
from auditbox.outbox.inspection import Inspection
from auditbox.outbox.sqlite import SqliteOutbox

from .conftest import draft

NOW = Now(1000.0, 1000.0, 1000.0)
COUNT = 60
HEADER, FRAME = 32, 24 + 4096


def draft_of(number: int) -> Draft:
    """Every fifth takes pages of its own."""
    return Draft(
        f"id-{number}", f"L{number % 4}", b'{"text":"%s"}' % (b"x" * (9000 if number % 5 == 0 else 90))
    )


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What a killed program has left: sixty captures, of which some were delivered and two are in flight."""
    path = tmp_path / "audit.db"
    if (pid := os.fork()) == 0:
        try:
            fill(path)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    return path


def fill(path: Path) -> None:
    outbox, delivered = SqliteOutbox(path), []
    epoch = outbox.take_over(NOW, 5)
    for number in range(COUNT):
        outbox.append([draft_of(number)])
        if number in (10, 20, 30):
            claims = outbox.exchange(epoch, [], 2, NOW, 60).claims
            delivered += [claim.entry.id for claim in claims]
            outbox.exchange(epoch, [Delivered(claim.entry.seq, "R", 1.0) for claim in claims], 0, NOW, 60)
    outbox.exchange(epoch, [], 2, NOW, 60)
    outbox.append([draft_of(COUNT)])
    path.with_name("delivered").write_text(" ".join(delivered))


def delivered(path: Path) -> set[str]:
    return set(path.with_name("delivered").read_text().split())


def frames(path: Path) -> range:
    """Where the frames of a log begin."""
    return range(HEADER, os.stat(f"{path}-wal").st_size - FRAME + 1, FRAME)


def flip(path: Path, *places: int) -> None:
    """Turns a bit of the log over at each of these bytes."""
    with Path(f"{path}-wal").open("r+b") as file:
        for place in places:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 4]))


def deliver_all(outbox: SqliteOutbox) -> dict[str, bool]:
    """Every id that is claimed, and whether it is looked up first."""
    now = Now(1e6, 1e6, 1e6)
    epoch, seen = outbox.take_over(now, 0), {}
    settled: list[Delivered] = []
    while claims := outbox.exchange(epoch, settled, 16, now, 60).claims:
        seen |= {claim.entry.id: claim.action == "verify" for claim in claims if claim.intact}
        settled = [Delivered(claim.entry.seq, "R", 1.0) for claim in claims]
    return seen


def ids(path: Path) -> set[str]:
    db = sqlite3.connect(path)
    found = {id for (id,) in db.execute("SELECT id FROM entry WHERE id LIKE 'id-%'")}
    db.close()
    return found


def everything() -> set[str]:
    return {draft_of(number).id for number in range(COUNT + 1)}


@pytest.mark.parametrize("part", range(8))
def test_what_was_committed_behind_a_gap_is_carried_over(
    left: Path, caplog: pytest.LogCaptureFixture, part: int
) -> None:
    """Wherever the bit is: what stood there alone is lost, and told; all else is kept."""
    places = frames(left)[:-2]
    flip(left, places[part * len(places) // 8] + 24 + 1000)
    outbox = SqliteOutbox(left)
    outbox.append([draft()])
    assert "has a gap before its last commit" in caplog.text
    missing = everything() - ids(left)
    assert len(missing) <= 2, "more than what stood on that page alone"
    assert f"at least {len(missing)} lost" in caplog.text
    seen = deliver_all(outbox)
    again = delivered(left) & seen.keys()
    assert all(seen[id] for id in again), "sent again without a look"
    assert everything() - missing - delivered(left) <= seen.keys()
    stones = [stone for stone in Inspection(left).tombstones() if stone.reason.startswith("lost")]
    assert sum(stone.last - stone.seq + 1 for stone in stones) == len(missing)
    assert list(left.parent.glob("audit.db.damaged-*-wal-before"))
    assert not list(left.parent.glob("*.torn-wal"))
    outbox.close()


@pytest.mark.parametrize("place", [1, 9, 18, 26])
def test_a_log_whose_header_is_damaged_is_not_taken_for_empty(left: Path, place: int) -> None:
    """Magic, page size, salts, checksum: its frames tell the rest."""
    flip(left, place)
    outbox = SqliteOutbox(left)
    outbox.append([draft()])
    outbox.close()
    assert ids(left) == everything()


def test_several_gaps_lose_no_more_than_what_stood_in_them(left: Path) -> None:
    """Each frame is judged by the one before it."""
    places = frames(left)
    flip(left, *[places[at] + 2000 for at in (20, 21, 50, 90)])
    outbox = SqliteOutbox(left)
    outbox.append([draft()])
    outbox.close()
    assert len(everything() - ids(left)) <= 4


def test_a_log_that_ends_early_has_no_gap(left: Path) -> None:
    """A kill, or a power cut that wrote in order: at whatever byte."""
    log = Path(f"{left}-wal")
    content = log.read_bytes()
    for end in [0, 31, 33, *range(len(content) - 9 * FRAME, len(content), 1009), *frames(left)[::40]]:
        log.write_bytes(content[:end])
        assert not torn.has_gap(left)


def test_what_a_failed_transaction_has_written_is_no_gap(left: Path) -> None:
    """It stands behind the log's end, with the same salts, and was never committed."""
    db = sqlite3.connect(left, isolation_level=None)
    db.execute("PRAGMA cache_size = 1")
    size = os.stat(f"{left}-wal").st_size
    rows = [(1000 + number, "spilled", "L", b"x" * 5000, 0) for number in range(50)]
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO entry (seq, id, lane, body, checksum) VALUES (?, ?, ?, ?, ?)", rows)
    db.execute("ROLLBACK")
    assert os.stat(f"{left}-wal").st_size > size + 10 * FRAME
    assert not torn.has_gap(left)
    db.execute("UPDATE relay SET last_move = 1")
    assert not torn.has_gap(left)
    db.close()


class Killed(BaseException):
    """Stands for a SIGKILL."""


@pytest.mark.parametrize("step", range(10))
def test_a_salvage_that_is_killed_is_done_again(
    left: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Before each of its renames: no entry is lost for it, and none is sent without a look."""
    flip(left, frames(left)[40] + 2000)
    rename, steps = os.rename, iter(range(100))

    def dying(source: str, target: str) -> None:
        if next(steps) == step:
            raise Killed
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("os.rename", dying)
        outbox = SqliteOutbox(left)
        try:
            outbox.append([draft()])
        except Killed:
            pass
        else:
            assert step >= 7, "there are fewer renames than are tried here"
    outbox = SqliteOutbox(left)
    outbox.append([draft()])
    seen = deliver_all(outbox)
    outbox.close()
    assert len(everything() - ids(left)) <= 1
    assert all(seen[id] for id in delivered(left) & seen.keys())


def test_doctor_sees_a_gap_before_anybody_opens_the_outbox(left: Path) -> None:
    """And says who will carry over what stands behind it."""

    def log() -> Check:
        return next(check for check in examine(left) if check.check == "log")

    assert log().state == "ok"
    flip(left, frames(left)[40] + 2000)
    assert log().state == "failed"
    assert "carries over" in str(log().advice)


def killed(path: Path, *drafts: Draft) -> None:
    """A process captures these and is killed."""
    if (pid := os.fork()) == 0:
        try:
            outbox = SqliteOutbox(path)
            for one in drafts:
                outbox.append([one])
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def test_what_a_writer_leaves_that_is_killed_within_its_commit_is_no_gap(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next one writes over its first frames; the rest stands there, and nobody was told of it."""
    path, other = tmp_path / "here" / "audit.db", tmp_path / "there" / "audit.db"
    path.parent.mkdir()
    killed(path, draft("A"), draft("A"))
    shutil.copytree(path.parent, other.parent)
    killed(other, Draft("never", "L", b'{"text":"%s"}' % (b"x" * 30_000)))
    killed(path, draft("B"))
    mine, its = (one.with_name("audit.db-wal").read_bytes() for one in (path, other))
    assert len(its) > len(mine) + FRAME
    with path.with_name("audit.db-wal").open("r+b") as log:
        log.write(mine + its[len(mine) :])
    assert torn.has_gap(path)
    assert all(check.state == "ok" for check in examine(path) if check.check == "log")
    outbox = SqliteOutbox(path)
    outbox.append([draft("C")])
    outbox.close()
    assert caplog.text == ""
    with sqlite3.connect(path) as db:
        assert [lane for (lane,) in db.execute("SELECT lane FROM entry ORDER BY seq")] == ["A", "A", "B", "C"]
    db.close()
