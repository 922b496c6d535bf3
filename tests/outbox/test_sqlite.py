"""The outbox as one SQLite file."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from auditbox.errors import (
    ConfigurationError,
    NotAnOutbox,
    OutboxBusy,
    OutboxFull,
    OutboxTooNew,
    OutboxUnusable,
    WrongDestination,
)
from auditbox.outbox import layout
from auditbox.outbox.base import Delivered, Draft, Now, Retry
from auditbox.outbox.files import FileLock
from auditbox.outbox.sqlite import SqliteOutbox

from .conftest import draft

Make = Callable[..., SqliteOutbox]
NOW = Now(1000.0, 1000.0, 1000.0)


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as reader:
        found = reader.execute(sql).fetchall()
    reader.close()
    return found


def deliver(outbox: SqliteOutbox, limit: int = 1000) -> int:
    epoch = outbox.take_over(NOW, 0)
    claims = outbox.exchange(epoch, [], limit, NOW, 60).claims
    settled = [Delivered(claim.entry.seq, "R", NOW.wall) for claim in claims]
    outbox.exchange(epoch, settled, 0, NOW, 60)
    return len(claims)


def test_constructing_touches_nothing(tmp_path: Path) -> None:
    """An outbox that nobody uses leaves no file."""
    SqliteOutbox(tmp_path / "deep" / "audit.db").close()
    assert list(tmp_path.iterdir()) == []


def test_appended_entries_are_numbered_without_gaps(outbox: SqliteOutbox) -> None:
    """Numbers follow the order of capture, one by one."""
    drafts = [draft() for _ in range(5)]
    outbox.append(drafts[:2])
    outbox.append(drafts[2:])
    found = rows(outbox.path, "SELECT seq, id FROM entry ORDER BY seq")
    assert found == [(seq, one.id) for seq, one in enumerate(drafts, 1)]


def test_an_append_is_committed_when_it_returns(outbox: SqliteOutbox) -> None:
    """Another connection sees the entry at once."""
    one = draft()
    outbox.append([one])
    assert rows(outbox.path, "SELECT id FROM entry") == [(one.id,)]


def test_files_are_private(make: Make, tmp_path: Path) -> None:
    """File 0600, whatever the umask; a directory that we make 0700."""
    before = os.umask(0)
    try:
        outbox = SqliteOutbox(tmp_path / "private" / "audit.db")
        outbox.append([draft()])
    finally:
        os.umask(before)
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in (tmp_path / "private").iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o700
    outbox.close()


def test_many_drafts_are_stored_all_or_none(outbox: SqliteOutbox) -> None:
    """A draft that cannot be stored takes its companions with it, and nothing else."""
    outbox.append([draft()])
    with pytest.raises(OutboxUnusable):
        outbox.append([draft(), Draft("x", None, b"{}")])  # type: ignore[arg-type]
    outbox.append([draft()])
    assert rows(outbox.path, "SELECT max(seq), count(*) FROM entry") == [(2, 2)]


def test_two_writers_of_one_file_never_give_a_number_twice(make: Make) -> None:
    """What one remembers of the newest number is forgotten as soon as the other has written."""
    one, two = make(keep_delivered=0), make(keep_delivered=0)
    for turn in range(30):
        writer = one if turn % 3 else two
        writer.append([draft() for _ in range(1 + turn % 2)])
        if turn % 5 == 0:
            deliver(two)
            two.retain()
    assert rows(one.path, "SELECT max(seq) FROM entry") == [(45,)]


def test_threads_combine_and_lose_nothing(outbox: SqliteOutbox) -> None:
    """Whatever thread leads, each thread's entries are all there and in its own order."""
    drafts = {lane: [draft(f"L{lane}") for _ in range(100)] for lane in range(12)}

    def work(lane: int) -> None:
        for one in drafts[lane]:
            outbox.append([one])

    threads = [threading.Thread(target=work, args=(lane,)) for lane in drafts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lane, expected in drafts.items():
        found = rows(outbox.path, f"SELECT id FROM entry WHERE lane = 'L{lane}' ORDER BY seq")  # noqa: S608
        assert [id for (id,) in found] == [one.id for one in expected]


def test_who_has_much_to_do_gives_way_to_one_that_stores(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It naps while somebody stores, and never twice in a row: both get on."""
    naps: list[float] = []
    me, sleep = threading.get_ident(), time.sleep

    def nap(seconds: float) -> None:
        if threading.get_ident() == me:
            naps.append(seconds)
        else:
            sleep(seconds)

    monkeypatch.setattr("auditbox.outbox.store._WORK", 60.0)
    monkeypatch.setattr("auditbox.outbox.store.time.sleep", nap)
    outbox.append([draft()])
    outbox.give_way()
    assert naps == []
    begun, go_on = threading.Event(), threading.Event()

    def store(_: sqlite3.Connection) -> None:
        begun.set()
        go_on.wait(10)

    storing = threading.Thread(target=outbox._store.write, args=(store,))
    storing.start()
    try:
        assert begun.wait(10)
        outbox.give_way()
        outbox.give_way()
    finally:
        go_on.set()
        storing.join()
    assert len(naps) == 1


def test_a_capture_inside_a_signal_handler_is_stored(outbox: SqliteOutbox) -> None:
    """A handler that interrupts a capture of its own thread neither deadlocks nor fails."""
    outbox.append([draft()])
    caught: list[Draft] = []
    depth, over = 0, False

    def arm() -> None:
        if not over:  # or the last handler's alarm would ring for whoever comes next: pytest's time limit
            signal.setitimer(signal.ITIMER_REAL, 0.0005)

    def handler(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth < 5:  # a handler is interrupted as well; where each one is, none ends on a slow machine
            arm()
        caught.append(draft("SIG"))
        outbox.append([caught[-1]])
        depth -= 1
        arm()

    before = signal.signal(signal.SIGALRM, handler)
    arm()
    try:
        for _ in range(3000):
            outbox.append([draft()])
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    found = rows(outbox.path, "SELECT count(*) FROM entry WHERE lane = 'SIG'")
    assert caught
    assert found == [(len(caught),)]


def test_a_process_that_holds_the_lock_makes_others_busy(make: Make) -> None:
    """A capture waits no longer than its bound, says so, and works again afterwards."""
    outbox = make(busy_timeout=0.2)
    outbox.append([draft()])
    lock = FileLock(outbox.path.with_name("audit.db.lock"))
    assert lock.try_acquire()
    with pytest.raises(OutboxBusy, match="held by another process"):
        outbox.append([draft()])
    assert outbox.try_append([draft()]) is False
    lock.release()
    assert outbox.try_append([draft()]) is True
    lock.forget()


WRITER = """
import sys
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.outbox.base import Draft
from auditbox.uuid7 import uuid7
outbox = SqliteOutbox(sys.argv[1], durability=sys.argv[2])
while True:
    id = uuid7()
    outbox.append([Draft(id, "L", b"x" * 500)])
    print(id, flush=True)
"""


@pytest.mark.parametrize("durability", ["crash", "power"])
def test_what_was_acknowledged_survives_sigkill(tmp_path: Path, durability: str) -> None:
    """Four writers killed in the middle: every id that one of them printed is in the file."""
    path = tmp_path / "audit.db"
    command = [sys.executable, "-c", WRITER, str(path), durability]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    safe = [writer.stdout.readline().strip() for writer in writers if writer.stdout for _ in range(60)]
    for writer in writers:
        writer.kill()
    for writer in writers:
        safe += [line.strip() for line in (writer.stdout or ()) if line.endswith("\n")]
        writer.wait()
        assert writer.stdout is not None
        writer.stdout.close()
    outbox = SqliteOutbox(path)
    outbox.append([draft()])
    stored = {id for (id,) in rows(path, "SELECT id FROM entry")}
    assert len(safe) >= 240
    assert set(safe) <= stored
    assert rows(path, "SELECT max(seq) - count(*) FROM entry") == [(0,)]
    outbox.close()


def _append_in_child(outbox: SqliteOutbox, count: int) -> None:
    for _ in range(count):
        outbox.append([draft("CHILD")])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_child_loses_none_of_its_commits(outbox: SqliteOutbox) -> None:
    """Parent and child go on writing to one file while threads are at work."""
    outbox.append([draft()])
    stop = threading.Event()

    def hot() -> None:
        while not stop.is_set():
            outbox.append([draft("HOT")])

    thread = threading.Thread(target=hot)
    thread.start()
    fork = multiprocessing.get_context("fork")
    try:
        for _ in range(5):
            child = fork.Process(target=_append_in_child, args=(outbox, 40))
            child.start()
            outbox.append([draft("PARENT")])
            child.join(30)
            assert child.exitcode == 0
    finally:
        stop.set()
        thread.join()
    counted = dict(rows(outbox.path, "SELECT lane, count(*) FROM entry GROUP BY lane"))  # type: ignore[arg-type]
    assert counted["CHILD"] == 200
    assert counted["PARENT"] == 5


def fill(outbox: SqliteOutbox) -> int:
    for stored in itertools.count():
        try:
            outbox.append([draft(body=b"x" * 10_000)])
        except OutboxFull:
            return stored
    raise AssertionError


def test_an_outbox_that_is_full_of_undelivered_entries_says_so(make: Make) -> None:
    """Nothing undelivered is dropped; delivered entries make room."""
    outbox = make(max_bytes=1 << 20)
    stored = fill(outbox)
    assert outbox.depth().pending == stored > 20
    with pytest.raises(OutboxFull, match="max_bytes=1048576"):
        outbox.ready()
    for _ in range(stored):
        deliver(outbox)
    for _ in range(2 * stored):
        outbox.append([draft(body=b"x" * 10_000)])
        deliver(outbox)
    assert os.stat(outbox.path).st_size + outbox.wal_bytes() < 1.5 * (1 << 20)


def test_retention_forgets_what_is_settled_but_never_the_newest(make: Make) -> None:
    """Numbers are never given twice."""
    outbox = make(keep_delivered=0)
    outbox.append([draft(f"L{n}") for n in range(10)])
    assert deliver(outbox) == 10
    outbox.retain()
    assert rows(outbox.path, "SELECT seq FROM entry") == [(10,)]
    outbox.append([draft()])
    assert outbox.last_seq() == 11


def test_the_file_shrinks_in_one_round_of_retention(make: Make) -> None:
    """Ten megabytes that were delivered are given back, not a page at a time."""
    outbox = make(keep_delivered=0)
    outbox.append([draft(f"L{n}", body=b"x" * 20_000) for n in range(500)])
    assert deliver(outbox) == 500
    outbox.checkpoint()
    assert outbox.path.stat().st_size > 10_000_000
    outbox.retain()
    outbox.checkpoint()
    assert outbox.path.stat().st_size < 1_000_000


@pytest.mark.parametrize("durability", ["crash", "none"])
def test_a_large_wal_is_checkpointed_by_whoever_writes(
    make: Make, durability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captures alone, without any relay, move the WAL into the file."""
    monkeypatch.setattr("auditbox.outbox.sqlite.LARGE_WAL", 1 << 20)
    monkeypatch.setattr("auditbox.outbox.upkeep.PERIOD", 0.02)
    outbox = make(durability=durability)
    outbox.append([draft()])
    deadline = time.monotonic() + 30
    written = 0
    while outbox.path.stat().st_size < 4 << 20 and time.monotonic() < deadline:
        outbox.append([draft(body=b"x" * 20_000)])
        written += 1
    assert outbox.path.stat().st_size >= 4 << 20
    assert outbox.last_seq() == written + 1


def test_written_behind_entries_are_stored_by_close(make: Make) -> None:
    """Durability "none" returns before the disk; close, fork and flush wait for it."""
    outbox = make(durability="none")
    for _ in range(100):
        outbox.append([draft()])
    outbox.close()
    assert rows(outbox.path, "SELECT count(*) FROM entry") == [(100,)]


def test_a_file_that_is_something_else_is_left_alone(make: Make, tmp_path: Path) -> None:
    """Text, or the database of another program, is refused and not changed."""
    path = tmp_path / "audit.db"
    path.write_text("not a database, but long enough to be taken for a page of one" * 20)
    before = path.read_bytes()
    with pytest.raises(NotAnOutbox, match="choose another path"):
        make().append([draft()])
    assert path.read_bytes() == before
    path.unlink()
    with Database(path) as theirs:
        theirs["orders"].insert({"id": 1})  # type: ignore[union-attr]
    with pytest.raises(NotAnOutbox):
        make().append([draft()])


def test_an_outbox_of_a_newer_auditbox_is_refused(make: Make) -> None:
    """The message says to upgrade; nothing is written."""
    outbox = make()
    outbox.append([draft()])
    outbox.close()
    with sqlite3.connect(outbox.path) as db:
        db.execute("UPDATE meta SET version = 99")
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(OutboxTooNew, match="upgrade auditbox"):
        outbox.append([draft()])


def test_an_older_outbox_is_migrated_with_its_entries(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration runs once, in one transaction with the new version."""
    outbox = make()
    outbox.append([draft()])
    outbox.close()
    monkeypatch.setattr(layout, "VERSION", 4)
    monkeypatch.setitem(layout.MIGRATIONS, 4, lambda db: db["note"].insert({"text": "new"}))
    outbox.append([draft()])
    assert rows(outbox.path, "SELECT version, text FROM meta, note") == [(4, "new")]
    assert outbox.last_seq() == 2


def test_a_migration_that_fails_changes_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old version goes on where the new one cannot."""
    outbox = make()
    outbox.append([draft()])
    outbox.close()

    def fail(db: Database) -> None:
        db.execute("CREATE TABLE note (text)")
        raise sqlite3.OperationalError("no")

    with monkeypatch.context() as patched:
        patched.setattr(layout, "VERSION", 4)
        patched.setitem(layout.MIGRATIONS, 4, fail)
        with pytest.raises(OutboxUnusable):
            outbox.append([draft()])
    outbox.append([draft()])
    assert rows(outbox.path, "SELECT version FROM meta") == [(3,)]


def test_an_outbox_belongs_to_one_destination(make: Make) -> None:
    """Where something was delivered, or may have been: another one is refused by name."""
    make().append([draft()])
    one = make(destination="https://one.example")
    epoch = one.take_over(NOW, 5)
    (claim,) = one.exchange(epoch, [], 1, NOW, 60).claims
    with pytest.raises(WrongDestination, match="belongs to https://one"):
        make(destination="https://two.example").append([draft()])
    one.exchange(epoch, [Delivered(claim.entry.seq, "R", 1.0)], 0, NOW, 60)
    with pytest.raises(WrongDestination, match="While nothing was delivered"):
        make(destination="https://two.example").append([draft()])


def test_a_destination_to_which_nothing_went_can_be_corrected(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistyped address binds nobody: what was tried in vain goes to the right one."""
    wrong = make(destination="https://wrong.example")
    wrong.append([draft()])
    epoch = wrong.take_over(NOW, 5)
    (claim,) = wrong.exchange(epoch, [], 1, NOW, 60).claims
    wrong.exchange(epoch, [Retry(claim.entry.seq, NOW.wall, NOW.monotonic, {})], 0, NOW, 60)
    relays = FileLock(wrong.relay_lock)
    assert relays.try_acquire()
    with pytest.raises(WrongDestination, match="no process relays"):
        make(destination="https://right.example").append([draft()])
    relays.forget()
    wrong.close()
    right = make(destination="https://right.example")
    right.append([draft()])
    assert "goes to https://right.example now" in caplog.text
    later = Now(NOW.wall + 100, NOW.monotonic + 100, NOW.sink + 100)
    (claim,) = right.exchange(right.take_over(later, 5), [], 5, later, 60).claims
    assert claim.action == "send"
    right.close()
    assert rows(right.path, "SELECT destination FROM meta") == [("https://right.example",)]


def test_a_symbolic_link_is_refused(make: Make, tmp_path: Path) -> None:
    """Nobody is tricked into writing elsewhere."""
    (tmp_path / "audit.db").symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(OutboxUnusable, match="symbolic link"):
        make().append([draft()])
    assert not (tmp_path / "elsewhere.db").exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error names the path and the way out."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxUnusable, match=r"file/audit\.db.*local disk"):
        SqliteOutbox(tmp_path / "file" / "audit.db").append([draft()])


def test_the_network_is_no_place_for_an_outbox(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's locks do not hold on nfs, cifs and their like."""
    monkeypatch.setattr("auditbox.outbox.files.filesystem_of", lambda _: "nfs4")
    with pytest.raises(OutboxUnusable, match="network filesystem"):
        make().append([draft()])


def test_the_command_line_never_makes_an_outbox(make: Make, tmp_path: Path) -> None:
    """A mistyped path is an error, not a new file."""
    with pytest.raises(OutboxUnusable, match="there is no outbox"):
        make(create=False).depth()
    assert list(tmp_path.glob("audit.db")) == []


def test_a_deleted_file_is_noticed(outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next capture that looks goes into a new file instead of nowhere."""
    monkeypatch.setattr("auditbox.outbox.connection.GLANCE", 0.0)
    outbox.append([draft()])
    for path in (outbox.path, outbox.wal, outbox.path.with_name("audit.db-shm")):
        path.unlink(missing_ok=True)
    outbox.append([draft("NEW")])
    assert rows(outbox.path, "SELECT lane FROM entry") == [("NEW",)]


@pytest.mark.parametrize(
    "options",
    [{"durability": "most"}, {"max_bytes": 5}, {"busy_timeout": 0}, {"keep_delivered": -1}],
)
def test_bad_settings_are_refused_at_construction(tmp_path: Path, options: dict[str, object]) -> None:
    """The message names the setting and the value."""
    ((name, value),) = options.items()
    with pytest.raises(ConfigurationError, match=f"{name}={value!r}"):
        SqliteOutbox(tmp_path / "audit.db", **options)  # type: ignore[arg-type]


def test_an_altered_entry_is_claimed_as_damaged(outbox: SqliteOutbox) -> None:
    """One changed byte, one claim that says so."""
    outbox.append([draft(body=b'{"a":1}')])
    outbox.close()
    with sqlite3.connect(outbox.path) as db:
        db.execute("""UPDATE entry SET body = CAST('{"a":2}' AS BLOB)""")
    db.close()
    epoch = outbox.take_over(NOW, 0)
    (claim,) = outbox.exchange(epoch, [], 5, NOW, 60).claims
    assert not claim.intact


def test_the_upkeep_outlives_its_directory(outbox: SqliteOutbox) -> None:
    """A directory that is gone for a while does not end the thread that syncs and checkpoints."""
    outbox.append([draft("a")])
    moved = outbox.path.parent.rename(outbox.path.parent.with_name("elsewhere"))
    outbox._upkeep.dirty = False
    outbox._upkeep.tick()
    moved.rename(outbox.path.parent)
    outbox.append([draft("b")])
    outbox._upkeep.tick()
    assert outbox.last_seq() == 2


def test_the_upkeep_looks_at_the_files_in_place_of_captures(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A capture does so where the upkeep is late, and goes the long way where that has found a change."""
    monkeypatch.setattr("auditbox.outbox.upkeep.PERIOD", 3600.0)
    outbox = make()
    outbox.append([draft()])
    due = outbox._store._look_at
    outbox._store.glance()
    assert outbox._store._look_at > due
    monkeypatch.setattr("auditbox.outbox.store.monotonic", lambda: due + 0.00001)
    assert outbox.append_alone(draft())
    outbox.path.with_name("audit.db.lock").unlink()
    outbox._store.glance()
    assert not outbox.append_alone(draft())


@pytest.mark.parametrize("count", [1, 2, 20, 64, 65, 200])
def test_many_entries_are_stored_all_or_none(make: Make, count: int) -> None:
    """By one statement or by a transaction of several: a row that cannot be stored takes the others along."""
    outbox = make()
    outbox.append([draft(f"L{number}") for number in range(count)])
    with pytest.raises(OutboxUnusable):
        outbox.append([*(draft() for _ in range(count)), Draft(None, "L", b"{}")])  # type: ignore[arg-type]
    outbox.append([draft("LAST")])
    stored = rows(outbox.path, "SELECT seq, lane FROM entry ORDER BY seq")
    assert stored == [*((number + 1, f"L{number}") for number in range(count)), (count + 1, "LAST")]


def test_what_is_stored_together_is_committed_together(outbox: SqliteOutbox) -> None:
    """Whatever the number of statements: whoever reads meanwhile, or is left by a kill, sees all or none."""
    outbox.append([draft()])
    with closing(sqlite3.connect(outbox.path)) as other:
        seen: set[int] = set()

        def look(_: str) -> None:
            seen.add(other.execute("SELECT count(*) FROM entry").fetchone()[0])

        total = 1
        for count in (2, 16, 17, 20, 63, 64, 65, 130):
            outbox._store._db.set_trace_callback(look)  # type: ignore[union-attr]
            outbox.append([draft() for _ in range(count)])
            outbox._store._db.set_trace_callback(None)  # type: ignore[union-attr]
            look("")
            total += count
            assert seen == {total - count, total}
            seen = set()


def test_two_that_take_turns_both_take_the_short_way(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds the other's mark reads the newest number again, in the same hold of the lock."""
    monkeypatch.setattr("auditbox.outbox.connection.GLANCE", 3600.0)
    monkeypatch.setattr("auditbox.outbox.upkeep.PERIOD", 3600.0)
    first, second = make(), make()
    for outbox in (first, second):
        outbox.append([draft("FIRST")])
    for number in range(20):
        assert first.append_alone(draft(f"A{number}"))
        assert second.append_alone(draft(f"B{number}"))
    assert [seq for (seq,) in rows(first.path, "SELECT seq FROM entry ORDER BY seq")] == list(range(1, 43))


def test_what_was_noted_of_a_damaged_file_does_not_hold_for_the_new_one(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its salvager is killed before it opens that; the others go there all the same."""
    monkeypatch.setattr("auditbox.outbox.connection.GLANCE", 3600.0)
    monkeypatch.setattr("auditbox.outbox.upkeep.PERIOD", 3600.0)
    first, second = make(), make()
    first.append([draft("FIRST")])
    second.append([draft("SECOND")])
    second._store.read(lambda _: second._store._salvage(sqlite3.DatabaseError("damage")))
    assert not first.append_alone(draft("LOST"))
    first.append([draft("THIRD")])
    lanes = [lane for (lane,) in rows(first.path, "SELECT lane FROM entry ORDER BY seq")]
    assert [lane for lane in lanes if lane != "sentinel"] == ["FIRST", "SECOND", "THIRD"]


def test_the_short_way_ends_where_the_file_was_replaced(make: Make) -> None:
    """By another process: what is remembered of the old one does not go into the new one."""
    first, second = make(), make()
    first.append([draft()])
    for suffix in ("", "-wal", "-shm"):
        first.path.with_name(first.path.name + suffix).unlink(missing_ok=True)
    second.append([draft("NEW")])
    assert not first.append_alone(draft("LOST"))
    first.append([draft("NEXT")])
    assert rows(first.path, "SELECT seq, lane FROM entry ORDER BY seq") == [(1, "NEW"), (2, "NEXT")]


ONE_MORE = """
import os, sys
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.outbox.base import Draft
from auditbox.uuid7 import uuid7
outbox = SqliteOutbox(sys.argv[1])
outbox.append([Draft(uuid7(), sys.argv[2], b"{}")])
outbox.close() if sys.argv[3:] else os._exit(0)
"""
BETWEEN = """
import os, sqlite3, sys, time
from pathlib import Path
from subprocess import run
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.outbox.base import Draft
from auditbox.uuid7 import uuid7

path, what, script = sys.argv[1:]
outbox = SqliteOutbox(path)

def capture(lane):
    draft = Draft(uuid7(), lane, b"{}")
    outbox.append_alone(draft) or outbox.append([draft])

for number in range(20):
    capture(f"BEFORE{number}")
if what == "the program has opened it, and another outbox is closed":
    Path(path).read_bytes()
    run([sys.executable, "-c", script, path, "OTHER", "close"], check=True)
elif what == "the program has opened it, and another program is done with it":
    Path(path).read_bytes()
    shell = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('PRAGMA user_version')"
    run([sys.executable, "-c", shell, path], check=True)
elif what == "the log is deleted":
    os.unlink(f"{path}-wal")
elif what == "log and index are deleted":
    os.unlink(f"{path}-wal")
    os.unlink(f"{path}-shm")
assert not os.path.exists(f"{path}-wal")
for number in range(20):
    capture(f"AFTER{number}")
time.sleep(0.1)
for number in range(20):
    capture(f"LATER{number}")
run([sys.executable, "-c", script, path, "LAST"], check=True)
capture("END")
os._exit(0)
"""
STRANDINGS = [
    "the program has opened it, and another outbox is closed",
    "the program has opened it, and another program is done with it",
    "the log is deleted",
    "log and index are deleted",
]


@pytest.mark.parametrize("what", STRANDINGS)
def test_what_goes_into_a_deleted_log_is_carried_over_and_said(tmp_path: Path, what: str) -> None:
    """A process whose log is gone, and that is killed later, has lost nothing of what it was told is safe."""
    path = tmp_path / "audit.db"
    command = [sys.executable, "-c", BETWEEN, str(path), what, ONE_MORE]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    lanes = [f"{when}{number}" for when in ("BEFORE", "AFTER", "LATER") for number in range(20)]
    if what == STRANDINGS[0]:
        lanes.insert(20, "OTHER")
    assert rows(path, "SELECT lane FROM entry ORDER BY seq") == [(lane,) for lane in [*lanes, "LAST", "END"]]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert "write-ahead log" in ended.stderr
    assert "all that was captured is carried over" in ended.stderr


def test_what_others_have_written_to_a_new_log_is_not_written_over(
    outbox: SqliteOutbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of two logs are not mixed: that of the others counts, and its number is not given twice."""
    monkeypatch.setattr("auditbox.outbox.upkeep.PERIOD", 3600.0)  # it might look before there is a new log
    outbox.append([draft("BEFORE")])
    outbox.checkpoint()
    outbox.append([draft("LOST")])
    for suffix in ("-wal", "-shm"):
        outbox.path.with_name(outbox.path.name + suffix).unlink()
    subprocess.run([sys.executable, "-c", ONE_MORE, str(outbox.path), "OTHER"], check=True)
    outbox.append([draft("NEXT")])
    found = rows(outbox.path, "SELECT seq, lane FROM entry ORDER BY seq")
    assert found == [(1, "BEFORE"), (2, "sentinel"), (3, "OTHER"), (4, "NEXT")]
    assert rows(outbox.path, "PRAGMA integrity_check") == [("ok",)]
    assert "may be lost" in caplog.text


def test_two_writers_with_two_locks_refuse_no_capture(tmp_path: Path) -> None:
    """The lock's file is deleted under one of them: they find back to one, and give no number twice."""
    path = tmp_path / "audit.db"
    stop = tmp_path / "stop"
    command = [sys.executable, "-c", COUNTED, str(path), str(stop)]
    writers = []
    for lane in ("ONE", "TWO"):
        writers.append(subprocess.Popen([*command, lane], stdout=subprocess.PIPE, text=True))
        assert writers[-1].stdout is not None
        assert writers[-1].stdout.readline() == "begun\n"
        path.with_name("audit.db.lock").unlink()
    stop.touch()
    captured = sum(int(writer.communicate(timeout=60)[0]) for writer in writers)
    assert rows(path, "SELECT count(*), max(seq) FROM entry") == [(captured, captured)]


COUNTED = """
import os, sys
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.outbox.base import Draft
from auditbox.uuid7 import uuid7
outbox = SqliteOutbox(sys.argv[1])
number = 0
while number < 500 or not os.path.exists(sys.argv[2]):
    draft = Draft(uuid7(), sys.argv[3], b"{}")
    outbox.append_alone(draft) or outbox.append([draft])
    number += 1
    if number == 500:
        print("begun", flush=True)
print(number)
"""


def _unraisable(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    told: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda said: told.append(said.exc_value))
    return told


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_every_outbox_takes_part_in_a_fork_while_others_are_made(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may construct and drop outboxes at that moment."""
    told, done = _unraisable(monkeypatch), threading.Event()
    others = [SqliteOutbox(outbox.path) for _ in range(300)]

    def make() -> None:
        while not done.is_set():
            SqliteOutbox(outbox.path)

    makers = [threading.Thread(target=make) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for maker in makers:
            maker.start()
        for _ in range(20):
            outbox.append([draft("A")])
            _fork()
            assert not outbox._store.is_open
    finally:
        sys.setswitchinterval(interval)
        done.set()
        for maker in makers:
            maker.join()
    assert told == []
    assert len(others) == 300


def test_a_fork_whose_hook_fails_fails_for_nobody_else(
    outbox: SqliteOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is shown once, the other outboxes let go, and all of them go on."""
    told, other = _unraisable(monkeypatch), SqliteOutbox(tmp_path / "other.db")

    def hold() -> bool:
        raise OverflowError

    for one in (outbox, other):
        one.append([draft("A")])
    with monkeypatch.context() as patch:
        patch.setattr(outbox._store._combiner, "hold", hold)
        _fork()
    assert list(map(type, told)) == [OverflowError]
    assert not other._store.is_open
    for one in (outbox, other):
        one.append([draft("A")])
        one.close()
