"""The relay's window: what is claimed and delivered in memory, and what is known of it whatever comes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditbox.errors import OutboxBusy, Superseded, WrongDestination
from auditbox.outbox import clock, rows, transitions
from auditbox.outbox.base import Ambiguous, Claim, Dead, Delivered, Draft, Exchanged, Now, Retry
from auditbox.outbox.mark import Mark, Sent
from auditbox.outbox.salvage import salvage
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.relay.window import EVERY, Window
from auditbox.uuid7 import uuid7

VERIFY_AFTER = 5.0
LONGEST = 3600.0


class Bench:
    """An outbox, the window before it, and a clock that only the test moves."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.outbox = SqliteOutbox(path, keep_delivered=1e12, **options)
        self.seconds = 1000.0
        self.written: list[int] = []
        self.window = self.take_over()

    def take_over(self) -> Window:
        epoch = self.outbox.take_over(self.now, VERIFY_AFTER, clock.identity())
        exchange = self.outbox.exchange

        def counted(*arguments: Any, **options: Any) -> Exchanged:
            found = exchange(*arguments, **options)
            self.written.append(len(options["ahead"].passed))
            return found

        self.outbox.exchange = counted  # type: ignore[method-assign]
        self.window = Window(self.outbox, epoch)
        return self.window

    @property
    def now(self) -> Now:
        return Now(1_767_000_000 + self.seconds, self.seconds, 1_767_000_000 + self.seconds)

    def capture(self, *lanes: str, body: bytes = b"{}") -> None:
        self.outbox.append([Draft(uuid7(), lane, body) for lane in lanes])

    def exchange(self, limit: int, *settlements: Any) -> list[Claim]:
        return self.window.exchange(list(settlements), limit, self.now, LONGEST).claims

    def delivered(self, *claims: Claim) -> list[Delivered]:
        return [Delivered(claim.entry.seq, "R", self.now.wall) for claim in claims]

    def note(self) -> Sent | None:
        """What a relay that takes over now is told."""
        epoch = self.outbox._store.read(rows.position)[1]
        return Mark(self.outbox.path, self.outbox.name).sent(epoch)

    def states(self) -> dict[str, int]:
        depth = self.outbox.depth()
        found = {**depth.states, "delivered": depth.delivered, "dead": depth.dead}
        return {state: count for state, count in found.items() if count}

    def after_a_kill(self) -> list[tuple[int, str]]:
        """What a relay that takes over now does with every entry, once it may look."""
        other = SqliteOutbox(self.outbox.path, keep_delivered=1e12)
        try:
            window = Window(other, other.take_over(self.now, VERIFY_AFTER, clock.identity()))
            self.seconds += VERIFY_AFTER
            claims = window.exchange([], 1000, self.now, LONGEST).claims
            claims += window.exchange([], 1000, self.now, LONGEST).claims
            return sorted((claim.entry.seq, claim.action) for claim in claims)
        finally:
            other.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "audit.db")
    yield bench
    bench.outbox.close()


def test_what_is_delivered_is_on_record_many_at_a_time(bench: Bench) -> None:
    """A hundred claims of eight at a time: captures wait for a transaction ten times a second."""
    bench.capture(*[f"L{number}" for number in range(100)])
    under_way = bench.exchange(8)
    while under_way:
        first, *rest = under_way
        bench.seconds += 0.01
        under_way = [*rest, *bench.exchange(1, *bench.delivered(first))]
    assert bench.states() == {"delivered": 100}
    assert len(bench.written) <= 14


def test_a_delivery_is_on_record_in_time(bench: Bench) -> None:
    """While others are still being sent after a moment; after the last one at once."""
    bench.capture("A", "B", "C")
    a, b, c = bench.exchange(3)
    bench.exchange(3, *bench.delivered(a))
    assert bench.states() == {}
    assert bench.window.due_in(bench.now) == pytest.approx(EVERY)
    bench.seconds += EVERY
    assert bench.window.due_in(bench.now) == 0.0
    bench.exchange(3)
    assert bench.states() == {"delivered": 1}
    bench.exchange(3, *bench.delivered(b))
    bench.exchange(3, *bench.delivered(c))
    assert bench.states() == {"delivered": 3}
    assert bench.window.due_in(bench.now) is None


def test_one_that_takes_long_does_not_keep_the_others_off_the_record(bench: Bench) -> None:
    """After a second it is on record itself, as being sent, and they are delivered."""
    bench.capture("SLOW", "B", "C", "SLOW")
    slow, b, c = bench.exchange(4)
    bench.exchange(4, *bench.delivered(b, c))
    for _ in range(6):
        bench.seconds += 0.25
        bench.exchange(4)
    assert bench.states() == {"sending": 1, "waiting": 1, "delivered": 2}
    (last,) = bench.exchange(4, *bench.delivered(slow))
    assert (last.entry.seq, last.action) == (4, "send")
    bench.exchange(4, *bench.delivered(last))
    assert bench.states() == {"delivered": 4}


def test_records_of_one_lane_follow_one_another_without_a_transaction(bench: Bench) -> None:
    """Never two at once, in their order."""
    bench.capture(*["A"] * 20)
    order = []
    claims = bench.exchange(16)
    while claims:
        (claim,) = claims
        order.append(claim.entry.seq)
        claims = bench.exchange(16, *bench.delivered(claim))
    assert order == list(range(1, 21))
    assert len(bench.written) <= 3
    assert bench.states() == {"delivered": 20}


def test_after_a_kill_what_was_sent_is_looked_up_and_nothing_else(bench: Bench) -> None:
    """Delivered and not on record, or still being sent; what was only read ahead, or came later, is sent."""
    bench.capture("A", "B", "C", "D", "A")
    a, _b, _c = bench.exchange(3)
    bench.exchange(0, *bench.delivered(a))
    bench.capture("E")
    assert bench.states() == {}
    assert bench.after_a_kill() == [(1, "verify"), (2, "verify"), (3, "verify"), (4, "send"), (6, "send")]


def test_after_a_kill_the_look_up_begins_where_the_first_was_sent(bench: Bench) -> None:
    """Not before, or it would have to read the whole trail of a busy object."""
    bench.capture("A", "B", "C")
    bench.exchange(2)
    first = bench.now.sink
    bench.seconds += 100
    bench.exchange(1)
    epoch = bench.outbox.take_over(bench.now, 0.0, clock.identity())
    claims = Window(bench.outbox, epoch).exchange([], 9, bench.now, LONGEST).claims
    assert {claim.sent_at for claim in claims} == {first}


def test_an_orderly_end_leaves_nothing_in_doubt(bench: Bench) -> None:
    """What was delivered is on record, what was read ahead is sent by the next relay."""
    bench.capture("A", "B", "C")
    a, b = bench.exchange(2)
    bench.exchange(0, *bench.delivered(a))
    bench.window.settle(bench.delivered(b), bench.now, LONGEST)
    assert bench.after_a_kill() == [(3, "send")]


def test_without_the_note_all_that_is_reserved_is_looked_up(bench: Bench) -> None:
    """The file beside the outbox is gone: nothing is sent blindly."""
    bench.capture("A", "B")
    bench.exchange(1)
    bench.outbox.relay_lock.unlink()
    assert bench.after_a_kill() == [(1, "verify"), (2, "verify")]


@pytest.mark.parametrize("damage", [b"\xff" * 20, b""])
def test_a_damaged_note_counts_as_none(bench: Bench, damage: bytes) -> None:
    """So it does where its file ends before it."""
    bench.capture("A", "B")
    bench.exchange(1)
    with open(bench.outbox.relay_lock, "r+b") as file:
        if damage:
            os.pwrite(file.fileno(), damage, 4160)
        else:
            file.truncate(4160)
    assert bench.after_a_kill() == [(1, "verify"), (2, "verify")]


def test_a_superseded_relay_sends_nothing_more_from_memory(bench: Bench) -> None:
    """Although it has read ahead, and writes nothing to claim that."""
    bench.capture("A", "B", "C")
    (a,) = bench.exchange(1)
    old = bench.window
    bench.take_over()
    with pytest.raises(Superseded):
        old.exchange([], 2, bench.now, LONGEST)
    with pytest.raises(Superseded):
        old.settle(bench.delivered(a), bench.now, LONGEST)


def test_a_relay_that_stalls_between_its_note_and_its_sending_is_known_of(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another takes over in between: either the other knows of the claim, or nothing comes of it."""
    bench.capture("A", "B")
    bench.exchange(1)
    old, note = bench.window, Mark.note

    def stalled(mark: Mark, sent: Any) -> bool:
        monkeypatch.setattr(Mark, "note", note)
        note(mark, sent)
        bench.take_over()
        return note(mark, sent)

    monkeypatch.setattr(Mark, "note", stalled)
    with pytest.raises(Superseded):
        old.exchange([], 1, bench.now, LONGEST)
    bench.seconds += VERIFY_AFTER
    assert [(claim.entry.seq, claim.action) for claim in bench.exchange(9)] == [(1, "verify"), (2, "verify")]


def test_what_is_not_delivered_goes_by_the_outboxs_own_rules(bench: Bench) -> None:
    """All that is being sent is on record then, and what waits behind it, too."""
    bench.capture("A", "B", "A", "C")
    a, b, c = bench.exchange(3)
    bench.exchange(0, *bench.delivered(b))
    bench.exchange(0, Ambiguous(a.entry.seq, bench.seconds + 5, {"reason": "reset"}))
    assert bench.states() == {"verify": 1, "waiting": 1, "delivered": 1, "sending": 1}
    bench.exchange(0, Dead(c.entry.seq, bench.seconds, {"reason": "400"}))
    assert bench.states() == {"verify": 1, "waiting": 1, "delivered": 1, "dead": 1}


def test_a_lane_that_is_held_up_does_not_hold_up_the_others(bench: Bench) -> None:
    """What is captured behind it waits on record, and the rest goes on."""
    bench.capture("A", "B")
    a, b = bench.exchange(2)
    later = bench.seconds + 1000
    wait = Retry(a.entry.seq, bench.now.wall + 1000, later, {"reason": "403"})
    bench.exchange(0, wait, *bench.delivered(b))
    bench.capture("A", "B", "A", "C")
    claims = bench.exchange(9)
    assert [claim.entry.lane for claim in claims] == ["B", "C"]
    bench.exchange(9, *bench.delivered(*claims))
    assert bench.states() == {"retry": 1, "waiting": 2, "delivered": 3}


def test_a_dead_letter_that_is_replayed_into_a_busy_lane_is_next(bench: Bench) -> None:
    """It is not sent beside the one that is in flight, and does not wait for all that is behind it."""
    bench.capture(*["A"] * 10)
    (first,) = bench.exchange(4)
    (second,) = bench.exchange(4, Dead(first.entry.seq, bench.seconds, {"reason": "400"}))
    (third,) = bench.exchange(4, *bench.delivered(second))
    bench.outbox.replay(bench.outbox.dead_letters(), bench.now)
    bench.seconds += EVERY
    assert bench.exchange(4) == []
    order, claims = [], bench.exchange(4, *bench.delivered(third))
    while claims:
        (claim,) = claims
        order.append(claim.entry.seq)
        claims = bench.exchange(4, *bench.delivered(claim))
    assert sorted(order) == [1, *range(4, 11)]
    assert order.index(1) <= 1
    assert bench.states() == {"delivered": 10}


def test_where_the_note_cannot_be_written_every_claim_is_on_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, say: as slow as a transaction each, and as safe."""
    bench.capture("A", "B", "C")
    (a,) = bench.exchange(1)
    monkeypatch.setattr(Mark, "_write", lambda *_: (_ for _ in ()).throw(OSError))
    assert bench.exchange(1) == []
    (b,) = bench.exchange(1)
    assert bench.states() == {"sending": 2}
    (c,) = bench.exchange(1, *bench.delivered(a, b))
    assert bench.states() == {"sending": 1, "delivered": 2}
    bench.exchange(1, *bench.delivered(c))
    assert bench.states() == {"delivered": 3}


def test_claims_are_not_lost_where_what_follows_them_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is claimed on record is returned, though reading on fails afterwards."""
    bench.capture("A", "B", "C")
    a, b = bench.exchange(2)
    bench.exchange(0, Retry(a.entry.seq, 0.0, 0.0, {"reason": "429"}, attempted=False))

    def fails(*_: Any) -> Any:
        raise OutboxBusy

    with monkeypatch.context() as patched:
        patched.setattr(bench.outbox, "look", fails)
        (again,) = bench.exchange(3, *bench.delivered(b))
        assert again.entry.seq == 1
        with pytest.raises(OutboxBusy):
            bench.exchange(2)
    (c,) = bench.exchange(2)
    bench.exchange(0, *bench.delivered(again, c))
    assert bench.states() == {"delivered": 3}


def test_settlements_may_be_given_again_after_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last record cannot be written at first: nothing is forgotten, and nothing counted twice."""
    bench.capture("A")
    (a,) = bench.exchange(1)
    with monkeypatch.context() as patched:

        def fails(*_: Any, **__: Any) -> Any:
            raise OutboxBusy

        patched.setattr(bench.outbox, "exchange", fails)
        with pytest.raises(OutboxBusy):
            bench.exchange(1, *bench.delivered(a))
    bench.exchange(1, *bench.delivered(a))
    assert bench.states() == {"delivered": 1}


def test_a_kill_never_leaves_more_than_512_to_be_looked_up(bench: Bench) -> None:
    """However fast the sink is, and however long the first one takes."""
    bench.capture(*[f"L{number}" for number in range(2000)])
    slow, *under_way = bench.exchange(16)
    sent = 16
    while under_way:
        under_way = bench.exchange(15, *bench.delivered(*under_way))
        sent += len(under_way)
        cursor = bench.outbox._store.read(rows.position)[0]
        note = bench.note()
        assert note is not None
        assert note.upto - cursor <= 512
    assert sent == 2000
    bench.exchange(1, *bench.delivered(slow))
    assert bench.states() == {"delivered": 2000}


def test_large_records_are_not_all_read_ahead(bench: Bench) -> None:
    """A MiB at a time."""
    for _ in range(10):
        bench.capture("A", "B", body=b"x" * (400 << 10))
    look = bench.outbox.look(None, 128, bench.now, LONGEST)
    assert len(look.claims) == 3


def test_a_salvage_by_another_process_ends_what_is_sent_from_memory(bench: Bench) -> None:
    """It knows what was sent, so that is looked up; the relay must take over anew."""
    bench.capture("A", "B", "C")
    bench.exchange(1)
    salvage(bench.outbox.path)
    with pytest.raises(Superseded):
        bench.exchange(2)
    assert bench.after_a_kill() == [(1, "verify"), (2, "send"), (3, "send")]


def test_what_was_noted_as_sent_belongs_to_its_destination(tmp_path: Path) -> None:
    """Although nothing is on record of it: another address is refused; what was not sent yet may go there."""
    path = tmp_path / "audit.db"
    for sends in (False, True):
        first = SqliteOutbox(path, destination="https://one.example")
        first.append([Draft(uuid7(), "A", b"{}")])
        now = Now(1000.0, 1000.0, 1000.0)
        window = Window(first, first.take_over(now, VERIFY_AFTER))
        if sends:
            assert window.exchange([], 1, now, LONGEST).claims
        first.close()
        other = SqliteOutbox(path, destination="https://two.example")
        if sends:
            with pytest.raises(WrongDestination):
                other.last_seq()
        else:
            assert other.last_seq() == 1
            SqliteOutbox(path, destination="https://one.example").last_seq()
        other.close()


def test_reading_ahead_waits_for_no_capture_and_keeps_none_waiting(bench: Bench) -> None:
    """It is answered while another process is in the middle of a transaction."""
    bench.capture("A")
    bench.exchange(0)
    writer = sqlite3.connect(bench.outbox.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        look = bench.outbox.look(None, 9, bench.now, LONGEST)
    finally:
        writer.execute("ROLLBACK")
        writer.close()
    assert [claim.entry.lane for claim in look.claims] == ["A"]


def test_reading_ahead_goes_on_in_a_file_that_was_put_in_place(bench: Bench) -> None:
    """The first one was deleted under it; what is new is read from the new one."""
    bench.capture("A")
    assert bench.outbox.look(None, 9, bench.now, LONGEST).claims
    for file in bench.outbox.path.parent.glob("audit.db*"):
        file.unlink()
    bench.outbox._store._look_at = 0.0
    bench.capture("NEW")
    look = bench.outbox.look(None, 9, bench.now, LONGEST)
    assert [claim.entry.lane for claim in look.claims] == ["NEW"]


def test_reading_ahead_goes_on_after_a_fork(bench: Bench) -> None:
    """On both sides, each on a connection of its own."""
    bench.capture("A", "B")
    assert len(bench.outbox.look(None, 9, bench.now, LONGEST).claims) == 2
    child = os.fork()
    if not child:
        found = 1
        try:
            bench.outbox.append([Draft(uuid7(), "C", b"{}")])
            found = int(len(bench.outbox.look(None, 9, bench.now, LONGEST).claims) != 3)
        finally:
            os._exit(found)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(bench.outbox.look(None, 9, bench.now, LONGEST).claims) == 3


def test_damage_that_is_met_while_reading_ahead_is_salvaged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As damage that anybody else meets."""
    bench.capture("A", "B", "C")
    with sqlite3.connect(bench.outbox.path) as db:
        db.execute("DELETE FROM entry WHERE seq = 2")
    db.close()
    found: Callable[[], Any] = lambda: bench.outbox.look(None, 9, bench.now, LONGEST)  # noqa: E731
    assert found().blocked or not found().claims
    assert "was damaged" in caplog.text
    with pytest.raises(Superseded):
        bench.exchange(3)
    assert transitions.SENTINEL not in {claim.entry.lane for claim in found().claims}


def test_a_note_does_not_count_once_the_machine_has_started_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be an old one that has come back from the disk: all that is reserved is looked up."""
    bench.capture("A", "B")
    bench.exchange(1)
    assert bench.note() is not None
    monkeypatch.setattr(clock, "identity", lambda: "another-start")
    assert bench.note() is None


def test_where_nobody_tells_a_power_cut_from_a_kill_durability_power_looks_up_what_is_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note may be older than what was sent; ``"crash"`` takes it as it is."""
    monkeypatch.setattr(clock, "identity", lambda: None)
    for durability, looked_up in (("power", [1, 2]), ("crash", [1])):
        bench = Bench(tmp_path / f"{durability}.db", durability=durability)
        bench.capture("A", "B")
        bench.exchange(1)
        epoch = bench.outbox.take_over(bench.now, 0.0)
        claims = Window(bench.outbox, epoch).exchange([], 9, bench.now, LONGEST).claims
        assert [claim.entry.seq for claim in claims if claim.action == "verify"] == looked_up
        bench.outbox.close()


def test_a_note_of_a_superseded_relay_does_not_count(bench: Bench) -> None:
    """Written late, over that of its successor, it would make that one's claims look as if never sent."""
    bench.capture(*[f"L{number}" for number in range(6)])
    bench.exchange(2)
    old = Mark(bench.outbox.path, bench.outbox.name, 1)
    bench.take_over()
    bench.seconds += VERIFY_AFTER
    assert [claim.action for claim in bench.exchange(9)] == ["verify"] * 2 + ["send"] * 4
    assert old.note(Sent(2, 0.0)) is False
    assert bench.note() is None
    assert {action for _, action in bench.after_a_kill()} == {"verify"}


def test_a_relay_whose_note_was_deleted_sends_nothing_more(bench: Bench) -> None:
    """Another one may have taken over by the file that stands there now."""
    bench.capture("A", "B", "C")
    bench.exchange(1)
    bench.outbox.relay_lock.unlink()
    with pytest.raises(Superseded):
        bench.exchange(2)


def test_after_an_orderly_end_and_a_restart_of_the_machine_nothing_is_in_doubt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note does not count any more, and nothing is reserved beyond what is on record."""
    bench.capture("A", "B")
    a, b = bench.exchange(2)
    bench.exchange(0, *bench.delivered(a, b))
    bench.window.settle([], bench.now, LONGEST)
    bench.outbox.close()
    bench.capture("C")
    monkeypatch.setattr(clock, "identity", lambda: "another-start")
    assert bench.after_a_kill() == [(3, "send")]


def test_what_an_earlier_relay_has_reserved_is_reserved_again(bench: Bench) -> None:
    """Its reservation may be gone with the newest part of the file."""
    bench.capture("A")
    bench.exchange(1)
    assert bench.outbox.reserved > 1
    bench.take_over()
    assert bench.outbox.reserved == 0


@pytest.mark.parametrize("before", [50, 300, 600, 3000])
def test_a_long_lane_holds_up_no_other(bench: Bench, before: int) -> None:
    """However much of it is captured first, and while the first of it is being sent."""
    bench.capture(*["HOT"] * before, "OTHER")
    claims = bench.exchange(16)
    for _ in range(2 + before // 128):
        if bench.window.look(bench.now, LONGEST) == 0.0:
            claims += bench.exchange(15)
    assert [claim.entry.lane for claim in claims] == ["HOT", "OTHER"]


def test_a_row_of_slow_ones_does_not_keep_a_delivery_off_the_record(bench: Bench) -> None:
    """Each is over within a second, and the next one is not."""
    bench.capture("A", *[f"SLOW{number}" for number in range(9)], "LAST")
    claims = bench.exchange(11)
    bench.exchange(0, *bench.delivered(claims.pop()))
    for claim in claims[:3]:
        bench.seconds += 0.6
        bench.exchange(0, *bench.delivered(claim))
    assert bench.states()["delivered"] >= 3
    assert bench.outbox.depth().delivered == 4


def test_a_log_that_is_deleted_while_the_relay_reads_ahead_takes_nothing_of_others_along(
    bench: Bench,
) -> None:
    """The connection for that must not outlive the one that notices, or both see a log of their own."""
    bench.capture("A", "B")
    assert bench.outbox.look(None, 9, bench.now, LONGEST).claims
    for suffix in ("-wal", "-shm"):
        Path(f"{bench.outbox.path}{suffix}").unlink()
    bench.outbox._store._look_at = 0.0
    bench.capture("C")
    program = (
        "import sys\n"
        "from auditbox.outbox.base import Draft\n"
        "from auditbox.outbox.sqlite import SqliteOutbox\n"
        "outbox = SqliteOutbox(sys.argv[1]); outbox.append([Draft(str(n), 'X', b'{}') for n in range(3)])\n"
        "outbox.close()"
    )
    subprocess.run([sys.executable, "-c", program, str(bench.outbox.path)], check=True)
    bench.outbox._store._look_at = 0.0
    bench.capture("D")
    look = bench.outbox.look(None, 9, bench.now, LONGEST)
    assert "".join(claim.entry.lane for claim in look.claims) == "ABCXXXD"


def open_here(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def test_a_forked_child_keeps_nothing_of_the_relay_open(bench: Bench) -> None:
    """Children of children would have a descriptor more each."""
    bench.capture("A", "B")
    bench.exchange(1)
    child = os.fork()
    if not child:
        kept = 1
        try:
            kept = sum(open_here(bench.outbox.relay_lock, number) for number in range(100))
        finally:
            os._exit(kept)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(bench.exchange(1)) == 1


def test_a_dead_letter_is_reported_by_the_relay_that_has_buried_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another takes over right after that: nobody else would."""
    bench.capture("A", "B")
    (a,) = bench.exchange(1)

    def superseded(*_: Any) -> Any:
        raise Superseded

    monkeypatch.setattr(bench.outbox, "look", superseded)
    found = bench.window.exchange(
        [Dead(a.entry.seq, bench.seconds, {"reason": "400"})], 1, bench.now, LONGEST
    )
    assert [id for id, _, _ in found.buried] == [a.entry.id]


@pytest.mark.parametrize("later", [-7200.0, -1.0, 2.0, 7200.0])
def test_a_claim_says_when_it_was_sent_by_the_sinks_clock_of_that_moment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, later: float
) -> None:
    """What was read before the sink's clock moved is looked up from where the sink will have noted it."""
    bench.capture("A", "B")
    bench.exchange(1)
    moved = bench.now._replace(sink=bench.now.sink + later)
    (second,) = bench.window.exchange([], 1, moved, LONGEST).claims
    assert second.sent_at == moved.sink


def test_what_goes_out_right_after_its_reading_keeps_the_time_of_that(bench: Bench) -> None:
    """To the second, which is all that a sink's clock says; so it is not made anew for that."""
    bench.capture("A", "B")
    bench.exchange(1)
    read = bench.now.sink
    bench.seconds += 0.5
    (second,) = bench.exchange(1)
    assert second.sent_at == read


def test_a_lock_that_is_replaced_while_it_looks_for_more_stops_the_relay(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its first look and its note another relay has begun in a new file: it sends nothing."""
    bench.capture("A", "B", "C")
    bench.exchange(1)
    read = bench.window._read

    def stands_still(*arguments: Any) -> None:
        read(*arguments)
        if bench.outbox.relay_lock.exists():
            bench.outbox.relay_lock.unlink()
            bench.after_a_kill()
            bench.outbox.relay_lock.touch()

    monkeypatch.setattr(bench.window, "_read", stands_still)
    with pytest.raises(Superseded):
        bench.exchange(2)
