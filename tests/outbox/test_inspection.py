"""Read-only views of an outbox."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from auditbox.errors import NotAnOutbox, OutboxTooNew, OutboxUnusable
from auditbox.outbox.base import Claim, Dead, Delivered, Draft, Now, Retry
from auditbox.outbox.files import FileLock
from auditbox.outbox.inspection import Inspection
from auditbox.outbox.readonly import ReadOnly
from auditbox.outbox.sqlite import SqliteOutbox

from .conftest import draft

Make = Callable[..., SqliteOutbox]
NOW = Now(1000.0, 1000.0, 1000.0)
PROBLEM = {"reason": "400 Bad Request: no", "status": 400}


def body(summary: str = "Order approved") -> bytes:
    return b'{"event":"extensions.shop.order.approved","summary":"%b"}' % summary.encode()


def claimed(outbox: SqliteOutbox, drafts: list[Draft]) -> tuple[int, list[Claim]]:
    outbox.append(drafts)
    epoch = outbox.take_over(NOW, 0)
    return epoch, outbox.exchange(epoch, [], 16, NOW, 60).claims


@pytest.fixture
def mixed(make: Make) -> tuple[SqliteOutbox, list[Draft]]:
    """1 delivered, 2 dead, 3 discarded, 4 to be tried again, 5 waiting behind it, 6 captured."""
    outbox = make(destination="https://api.example.com/public/v1")
    lanes = ["ORD-1", "ORD-2", "ORD-3", "ORD-4", "ORD-4"]
    drafts = [draft(lane, body(lane)) for lane in lanes]
    epoch, _ = claimed(outbox, drafts)
    later = {"reason": "403 Forbidden: not visible"}
    outbox.exchange(
        epoch,
        [
            Delivered(1, "AUD-1", 990.0),
            Dead(2, 0.0, PROBLEM),
            Dead(3, 0.0, PROBLEM),
            Retry(4, 2000.0, 2000.0, later, refused_at=1000.0),
        ],
        0,
        NOW,
        60,
    )
    outbox.discard([(3, drafts[2].id, "ORD-3")], "agreed with Ann", NOW)
    drafts.append(draft("ORD-5", body()))
    outbox.append(drafts[5:])
    return outbox, drafts


def test_status_counts_every_entry_in_its_place(mixed: tuple[SqliteOutbox, list[Draft]]) -> None:
    """Captured, delivered, dead, discarded and pending add up, and pending is split by state."""
    outbox, _ = mixed
    status = Inspection(outbox.path).status()
    assert (status.captured, status.delivered, status.dead, status.discarded) == (6, 1, 1, 1)
    assert status.pending == 3
    assert status.states == {"captured": 1, "retry": 1, "waiting": 1}
    assert status.destination == "https://api.example.com/public/v1"
    assert status.relay_pid == os.getpid()
    assert status.relay_heartbeat == datetime.fromtimestamp(1000, UTC)
    assert status.file_bytes > 0
    assert status.wal_bytes > 0


def test_status_says_why_the_oldest_waits(mixed: tuple[SqliteOutbox, list[Draft]]) -> None:
    """It is the last answer to the oldest entry under way; a dead letter's does not count."""
    outbox, _ = mixed
    assert Inspection(outbox.path).status().waits == "403 Forbidden: not visible"


def test_the_oldest_age_is_that_of_the_oldest_pending_entry(
    mixed: tuple[SqliteOutbox, list[Draft]],
) -> None:
    """It counts from the capture of entry 4, not from the older ones that are settled."""
    outbox, drafts = mixed
    oldest = int(drafts[3].id[:8] + drafts[3].id[9:13], 16) / 1000
    before = time.time()
    age = Inspection(outbox.path).status().oldest_pending_seconds
    assert age is not None
    assert before - oldest - 0.002 <= age <= time.time() - oldest + 0.002


def test_an_empty_outbox_has_no_age_and_nothing_waits(outbox: SqliteOutbox) -> None:
    """Zeroes and Nones."""
    outbox.ready()
    status = Inspection(outbox.path).status()
    assert (status.captured, status.pending, status.oldest_pending_seconds, status.waits) == (
        0,
        0,
        None,
        None,
    )
    assert status.relay_pid is None
    assert status.relay_heartbeat is None


@pytest.mark.parametrize(
    ("number", "state"),
    [(1, "delivered"), (2, "dead"), (3, "discarded"), (4, "retry"), (5, "waiting"), (6, "captured")],
)
def test_a_story_is_found_by_id_and_by_number(
    mixed: tuple[SqliteOutbox, list[Draft]], number: int, state: str
) -> None:
    """Both find the same entry, in the state that it is in."""
    outbox, drafts = mixed
    story = Inspection(outbox.path).story(drafts[number - 1].id)
    assert story is not None
    assert story == Inspection(outbox.path).story(str(number))
    assert (story.seq, story.lane, story.state, story.intact) == (
        number,
        drafts[number - 1].lane,
        state,
        True,
    )
    assert story.record["event"] == "extensions.shop.order.approved"


def test_a_story_holds_what_became_of_the_entry(mixed: tuple[SqliteOutbox, list[Draft]]) -> None:
    """Remote id and time of a delivery, a dead letter's problem, a tombstone's reason, the next try."""
    delivered, dead, discarded, retried = (Inspection(mixed[0].path).story(str(n)) for n in (1, 2, 3, 4))
    assert delivered is not None
    assert (delivered.remote_id, delivered.settled_at) == ("AUD-1", datetime.fromtimestamp(990, UTC))
    assert dead is not None
    assert dead.problem == PROBLEM
    assert discarded is not None
    assert (discarded.reason or "").startswith("agreed with Ann (it was dead because:")
    assert retried is not None
    assert (retried.due, retried.attempts) == (datetime.fromtimestamp(2000, UTC), 1)
    assert retried.first_refused_at == datetime.fromtimestamp(1000, UTC)


@pytest.mark.parametrize("wanted", ["7", "nonsense", "", "9" * 30, "²", "-1"])
def test_an_unknown_entry_has_no_story(mixed: tuple[SqliteOutbox, list[Draft]], wanted: str) -> None:
    """None, whatever was asked for."""
    assert Inspection(mixed[0].path).story(wanted) is None


def test_dead_letters_are_those_that_nobody_has_decided_on(mixed: tuple[SqliteOutbox, list[Draft]]) -> None:
    """A discarded one is none any more."""
    letters = Inspection(mixed[0].path).dead_letters()
    assert [(letter.seq, letter.problem, letter.event) for letter in letters] == [
        (2, PROBLEM, "extensions.shop.order.approved")
    ]


def test_newest_and_after_come_oldest_first(mixed: tuple[SqliteOutbox, list[Draft]]) -> None:
    """The newest few, and everything above a number."""
    view = Inspection(mixed[0].path)
    assert [story.seq for story in view.newest(2)] == [5, 6]
    assert [story.seq for story in view.newest(0)] == []
    assert [story.seq for story in view.after(4)] == [5, 6]
    assert [story.seq for story in view.after(2, 2)] == [3, 4]
    assert view.after(6) == []
    assert view.last_seq() == 6


def test_unsettled_counts_up_to_a_number(mixed: tuple[SqliteOutbox, list[Draft]]) -> None:
    """Number, pending, dead."""
    view = Inspection(mixed[0].path)
    assert view.unsettled() == (6, 3, 1)
    assert view.unsettled(4) == (4, 1, 1)
    assert view.unsettled(1) == (1, 0, 0)


def test_a_damaged_entry_is_shown_as_such(mixed: tuple[SqliteOutbox, list[Draft]]) -> None:
    """Neither a flipped bit nor a body that is no JSON stops the view."""
    outbox, _ = mixed
    outbox.close()
    with sqlite3.connect(outbox.path) as db:
        db.execute("UPDATE entry SET body = X'00FF' WHERE seq = 2")
        db.execute("UPDATE open SET error = '{' WHERE seq = 2")
        db.execute("UPDATE entry SET lane = CAST(X'FF4F52' AS TEXT) WHERE seq = 6")
    db.close()
    letter, story = Inspection(outbox.path).dead_letters()[0], Inspection(outbox.path).story("6")
    assert (letter.event, letter.problem) == (None, None)
    dead = Inspection(outbox.path).story("2")
    assert dead is not None
    assert (dead.intact, dead.record, dead.problem) == (False, None, None)
    assert story is not None
    assert not story.intact


def test_looking_at_an_outbox_at_rest_leaves_no_trace(mixed: tuple[SqliteOutbox, list[Draft]]) -> None:
    """No -wal, no -shm, no lock file, and the file untouched: a probe may run as another user."""
    outbox, _ = mixed
    outbox.close()
    view, before = Inspection(outbox.path), {path.name for path in outbox.path.parent.iterdir()}
    touched = outbox.path.stat().st_mtime_ns
    assert view.status().captured == 6
    assert len(view.newest(10)) == 6
    assert {path.name for path in outbox.path.parent.iterdir()} == before
    assert outbox.path.stat().st_mtime_ns == touched
    assert not {"audit.db-wal", "audit.db-shm"} & before


def test_what_is_only_in_the_wal_is_seen(outbox: SqliteOutbox) -> None:
    """Each look shows what was committed by then."""
    view = None
    for count in (1, 2, 3):
        outbox.append([draft()])
        view = view or Inspection(outbox.path)
        assert view.last_seq() == count


def test_looking_does_not_disturb_who_writes(outbox: SqliteOutbox) -> None:
    """Looks of the same process between captures drop none of SQLite's locks: every capture stays."""
    for count in range(1, 20):
        outbox.append([draft()])
        assert Inspection(outbox.path).status().captured == count
    outbox.close()
    assert Inspection(outbox.path).last_seq() == 19


def test_a_file_that_is_opened_during_a_look_is_looked_at_again(make: Make, outbox: SqliteOutbox) -> None:
    """What was read of a file at rest does not count once somebody has written to it."""
    outbox.append([draft()])
    outbox.close()
    seen: list[int] = []

    def work(db: object) -> int:
        seen.append(db.execute("SELECT max(seq) FROM entry").fetchone()[0])  # type: ignore[attr-defined]
        if len(seen) == 1:
            outbox.append([draft()])
        return seen[-1]

    assert ReadOnly(outbox.path).look(work) == 2
    assert seen == [1, 2]


def test_the_wal_of_a_killed_process_is_read(tmp_path: Path) -> None:
    """What a process captured before its SIGKILL is there for everybody who looks."""
    path = tmp_path / "audit.db"
    script = (
        "import os, signal, sys\n"
        "from auditbox.outbox.base import Draft\n"
        "from auditbox.outbox.sqlite import SqliteOutbox\n"
        "outbox = SqliteOutbox(sys.argv[1])\n"
        "outbox.append([Draft(str(number), 'ORD-1', b'{}') for number in range(3)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert (tmp_path / "audit.db-wal").stat().st_size > 0
    assert Inspection(path).status().captured == 3


def test_a_relay_is_alive_while_somebody_holds_its_lock(outbox: SqliteOutbox) -> None:
    """And asking does not keep the next one from taking it."""
    outbox.append([draft()])
    view, lock = Inspection(outbox.path), FileLock(outbox.relay_lock)
    assert view.relay() == (False, None)
    assert lock.try_acquire()
    assert view.relay()[0]
    assert view.status().relay_alive
    lock.release()
    assert not view.relay()[0]
    assert lock.try_acquire()
    lock.forget()


@pytest.mark.parametrize("name", ["missing.db", "no/such/folder/audit.db"])
def test_where_there_is_no_outbox_none_is_made(tmp_path: Path, name: str) -> None:
    """The error says so, and the directory stays empty."""
    with pytest.raises(OutboxUnusable, match="there is no outbox at"):
        Inspection(tmp_path / name).status()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_a_dying_process_left_empty_is_no_outbox(tmp_path: Path) -> None:
    """It was made, and nothing was captured."""
    (tmp_path / "audit.db").touch()
    with pytest.raises(OutboxUnusable, match="there is no outbox at"):
        Inspection(tmp_path / "audit.db").newest(1)


def test_something_else_is_not_an_outbox(tmp_path: Path) -> None:
    """A text, a directory, another program's database: each is told from an outbox, and left alone."""
    (tmp_path / "text").write_text("not a database, but long enough to be read as one" * 50)
    (tmp_path / "folder").mkdir()
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE meta (version, destination)")
    other.close()
    for name in ("text", "folder", "other.db"):
        with pytest.raises(NotAnOutbox):
            Inspection(tmp_path / name).status()
    assert {path.name for path in tmp_path.iterdir()} == {"text", "folder", "other.db"}


@pytest.mark.parametrize(("version", "error"), [(99, OutboxTooNew), (0, OutboxUnusable)])
def test_another_layout_is_not_guessed_at(outbox: SqliteOutbox, version: int, error: type[Exception]) -> None:
    """Newer: upgrade auditbox; older: only who may write brings it up to date."""
    outbox.append([draft()])
    outbox.close()
    with sqlite3.connect(outbox.path) as db:
        db.execute("UPDATE meta SET version = ?", (version,))
    db.close()
    with pytest.raises(error, match=f"layout {version}"):
        Inspection(outbox.path).status()


def test_odd_paths_are_no_uris(tmp_path: Path) -> None:
    """A question mark, a hash or a percent sign in a path is part of the path."""
    path = tmp_path / "a?mode=rwc#50%41" / "audit.db"
    outbox = SqliteOutbox(path)
    outbox.append([draft()])
    outbox.close()
    assert Inspection(path).last_seq() == 1
