"""The relay's thread: it starts by itself, is one per outbox, survives forks and kills, and ends in order."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditbox.backoff import Backoff
from auditbox.errors import OutboxError
from auditbox.outbox.base import Draft
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.relay.policy import Policy
from auditbox.relay.worker import Flushed, Worker
from auditbox.sinks.base import (
    Delivery,
    FakeSink,
    NotSent,
    Paused,
    Problem,
    Rejected,
    SendOutcome,
    Sent,
    Unclear,
)
from auditbox.uuid7 import uuid7

BODY = b'{"documents":{"auditbox":{}}}'
POLICY = Policy(
    verify_after=0.1, pause=Backoff(first=0.05, longest=0.2), backoff=Backoff(first=0.05, longest=0.2)
)


class Program:
    """What an application holds: an outbox and its worker."""

    def __init__(self, path: Path, sink: Any) -> None:
        self.sink = sink
        self.outbox = SqliteOutbox(path, destination="fake")
        self.worker = Worker(self.outbox, sink, POLICY, concurrency=4)

    def capture(self, lane: str = "A") -> str:
        draft = Draft(uuid7(), lane, BODY)
        self.outbox.append([draft])
        self.worker.notify()
        return draft.id

    def close(self) -> Flushed:
        return self.worker.close(5.0)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    started: list[Program] = []

    def start(sink: Any = None) -> Program:
        started.append(Program(tmp_path / "audit.db", sink or FakeSink()))
        return started[-1]

    yield start
    for program in started:
        program.close()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("auditbox")]


def test_the_relay_starts_with_the_first_capture(start: Callable[..., Program]) -> None:
    """Construction starts nothing; the record is delivered without being asked for."""
    before = threads()
    program = start()
    assert threads() == before
    id = program.capture()
    assert program.worker.flush(5)
    assert program.sink.stored == [id]


def test_flush_tells_what_became_of_what_was_captured(start: Callable[..., Program]) -> None:
    """True only if everything captured before the call is delivered."""
    program = start()
    ids = [program.capture(f"L{n % 3}") for n in range(50)]
    flushed = program.worker.flush(10)
    assert flushed
    assert (flushed.pending, flushed.dead) == (0, 0)
    assert sorted(program.sink.stored) == sorted(ids)


def test_what_is_refused_for_good_does_not_count_as_delivered(start: Callable[..., Program]) -> None:
    """A dead letter is settled, and told as what it is."""

    class Refusing(FakeSink):
        def send(self, delivery: Delivery) -> SendOutcome:
            return Rejected(Problem("422")) if delivery.lane == "BAD" else super().send(delivery)

    program = start(Refusing())
    for lane in ("BAD", "GOOD", "BAD"):
        program.outbox.append([Draft(uuid7(), lane, BODY)])
    # The flush starts the relay: one that runs before may have settled all of it when the flush begins.
    assert program.worker.flush(10) == Flushed(delivered=1, pending=0, dead=2)


def test_flush_without_a_relay_returns_at_once(start: Callable[..., Program]) -> None:
    """Capture only: nobody here delivers, and the caller is told so."""
    program = start()
    program.worker = Worker(program.outbox, None, POLICY, concurrency=4)
    program.capture()
    before = time.monotonic()
    assert program.worker.flush(30) == Flushed(delivered=0, pending=1, dead=0)
    assert time.monotonic() - before < 10


def test_only_one_of_two_relays_sends(start: Callable[..., Program]) -> None:
    """Two programs on one outbox deliver each entry once, in order."""
    sink = FakeSink()
    one, two = start(sink), start(sink)
    ids = [(one if n % 2 else two).capture("A") for n in range(40)]
    assert one.worker.flush(10)
    assert sink.stored == ids


def test_the_next_relay_takes_over_when_the_first_one_ends(start: Callable[..., Program]) -> None:
    """Whoever is left delivers."""
    sink = FakeSink()
    one, two = start(sink), start(sink)
    first = one.capture()
    assert one.worker.flush(5)
    one.close()
    second = two.capture()
    assert two.worker.flush(10)
    assert sink.stored == [first, second]


def test_an_append_of_another_process_is_noticed(start: Callable[..., Program]) -> None:
    """The leader polls data_version: nobody has to tell it."""
    program = start()
    program.capture()
    assert program.worker.flush(5)
    other = SqliteOutbox(program.outbox.path)
    draft = Draft(uuid7(), "B", BODY)
    other.append([draft])
    assert program.worker.flush(5)
    assert draft.id in program.sink.stored
    other.close()


class DownSink(FakeSink):
    """A sink that is down until the test says otherwise."""

    up = False

    def send(self, delivery: Delivery) -> SendOutcome:
        return super().send(delivery) if self.up else NotSent(Problem("connection refused"))


def test_close_does_not_wait_for_a_sink_that_is_down(start: Callable[..., Program]) -> None:
    """What is left stays for the next start, which delivers it."""
    program = start(DownSink())
    id = program.capture()
    while program.worker.status()["waits"] is None:
        time.sleep(0.01)
    before = time.monotonic()
    assert program.worker.close(30) == Flushed(delivered=0, pending=1, dead=0)
    assert time.monotonic() - before < 15
    program.sink.up = True
    program.worker.start()
    assert program.worker.flush(10)
    assert program.sink.stored == [id]


def test_a_relay_that_fails_again_and_again_is_not_said_to_go_on(start: Callable[..., Program]) -> None:
    """Its status says why it fails, until it goes on."""

    class Broken(FakeSink):
        mended = False

        def clock(self) -> float:
            if not self.mended:
                raise ValueError("no clock")
            return super().clock()

    program = start(Broken())
    id = program.capture()
    while (waits := program.worker.status()["waits"]) is None:
        time.sleep(0.01)
    assert waits == "the relay fails: ValueError: no clock"
    program.sink.mended = True
    assert program.worker.flush(10)
    program.capture()
    while program.worker.status()["waits"] is not None:
        time.sleep(0.01)
    assert program.worker.flush(10)
    assert program.sink.stored[0] == id


def test_a_leader_whose_token_is_refused_lets_another_one_lead(start: Callable[..., Program]) -> None:
    """The lock is free while it rests, so that a process with a better token can deliver."""

    class Unauthorized(FakeSink):
        def send(self, delivery: Delivery) -> SendOutcome:
            return Paused(Problem("401"), "unauthorized")

    one, two = start(Unauthorized()), start(FakeSink())
    id = one.capture()
    two.worker.start()
    assert two.worker.flush(20)
    assert two.sink.stored == [id]


def test_a_close_with_a_request_in_flight_lets_the_next_relay_lead(start: Callable[..., Program]) -> None:
    """The old thread ends by itself and takes nothing of the new one along."""
    sending, go_on = threading.Event(), threading.Event()

    class Hanging(FakeSink):
        def send(self, delivery: Delivery) -> SendOutcome:
            sending.set()
            go_on.wait(20)
            return super().send(delivery)

    program = start(Hanging())
    first = program.capture()
    assert sending.wait(20)
    program.worker.close(0.2)
    go_on.set()
    second = program.capture()
    assert program.worker.flush(20)
    assert set(program.sink.stored) == {first, second}


@pytest.mark.parametrize("odd", [None, "noon", float("nan"), 10**400, 12])
def test_a_sink_whose_clock_says_something_odd_is_delivered_to(
    start: Callable[..., Program], odd: Any
) -> None:
    """What is being sent while another comes to nothing is sent once, and delivery does not stand still."""

    class Odd(FakeSink):
        def clock(self) -> Any:
            return odd

    program = start(Odd())
    ids = [program.capture(f"L{number}") for number in range(20)]
    program.sink.script[ids[3]] = [Unclear(Problem("no"))]
    assert program.worker.flush(20)
    assert sorted(program.sink.stored) == sorted(ids)


@pytest.mark.parametrize("stop", [lambda program: program.close(), lambda program: program.worker.stop(5.0)])
@pytest.mark.parametrize("moment", ["send", "close"])
def test_what_is_captured_while_the_relay_is_stopped_starts_one_afterwards(
    start: Callable[..., Program], moment: str, stop: Callable[[Program], object]
) -> None:
    """As what is captured after it: in its last send, and when its thread has ended already."""
    captured: list[str] = []

    class Meanwhile(FakeSink):
        def capture(self, now: str) -> None:
            if now == moment and stopping.wait(5) and not captured:
                draft = Draft(uuid7(), "B", BODY)
                captured.append(draft.id)
                program.outbox.append([draft])
                if program.worker.term.hungry:  # as a trail does
                    program.worker.notify()

        def send(self, delivery: Delivery) -> SendOutcome:
            sending.set()
            self.capture("send")
            return super().send(delivery)

        def close(self) -> None:
            self.capture("close")

    sending, stopping = threading.Event(), threading.Event()
    program = start(Meanwhile())
    program.capture("A")
    assert sending.wait(5)
    threading.Timer(0.1, stopping.set).start()
    stop(program)
    deadline = time.monotonic() + 20
    while captured[0] not in program.sink.stored and time.monotonic() < deadline:
        time.sleep(0.01)
    assert captured[0] in program.sink.stored


def test_a_close_starts_nothing_again_of_itself(start: Callable[..., Program]) -> None:
    """What is left stays for the next start; there is no thread until then."""
    program = start(DownSink())
    program.capture()
    while program.worker.status()["waits"] is None:
        time.sleep(0.01)
    before = program.worker.term.thread
    program.close()
    assert before is not None
    assert not before.is_alive()
    assert program.worker.term.thread is None


@pytest.mark.parametrize("error", [RuntimeError("a fault of the sink's own"), SystemExit(3)])
def test_a_sink_that_raises_loses_nothing(start: Callable[..., Program], error: BaseException) -> None:
    """It should not; if it does, the entry is looked up like any other doubtful one."""

    class Raising(FakeSink):
        raised = False

        def send(self, delivery: Delivery) -> SendOutcome:
            if not self.raised:
                self.raised = True
                raise error
            return super().send(delivery)

    program = start(Raising())
    id = program.capture()
    assert program.worker.flush(10)
    assert program.sink.stored == [id]


class PipeSink:
    """A sink for children of a fork: tells the parent over a pipe what arrived."""

    destination, deadline = "fake", 1.0

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    def send(self, delivery: Delivery) -> SendOutcome:
        self.pipe.put(delivery.id)
        return Sent("R")

    def verify(self, delivery: Delivery) -> Any:
        raise AssertionError("nothing is in doubt here")

    def clock(self) -> float:
        return time.time()

    def abort_overdue(self) -> None:
        pass

    def close(self) -> None:
        pass


def _child(program: Program, count: int, ids: Any) -> None:
    for _ in range(count):
        ids.put(program.capture("CHILD"))
    program.worker.flush(10)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_parent_and_forked_child_deliver_each_entry_once(start: Callable[..., Program]) -> None:
    """The child starts a connection and a thread of its own; the parent stays the relay."""
    fork = multiprocessing.get_context("fork")
    arrived, captured = fork.SimpleQueue(), fork.SimpleQueue()
    program = start(PipeSink(arrived))
    mine = [program.capture("PARENT") for _ in range(5)]
    child = fork.Process(target=_child, args=(program, 20, captured))
    child.start()
    mine += [program.capture("PARENT") for _ in range(5)]
    theirs = [captured.get() for _ in range(20)]
    child.join(20)
    assert child.exitcode == 0
    assert program.worker.flush(10)
    received = [arrived.get() for _ in range(30)]
    assert sorted(received) == sorted(mine + theirs)
    assert arrived.empty()


EXITING = """
import atexit, sys, threading
late = []
atexit.register(lambda: [action() for action in late])  # before the import: it runs when all else has ended
from pathlib import Path
sys.path.insert(0, {tests!r})
from auditbox.outbox.base import Draft
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.relay.policy import Policy
from auditbox.relay.worker import Worker
from auditbox.sinks.jsonlines import JsonLinesSink
from auditbox.uuid7 import uuid7
folder = Path(sys.argv[1])
outbox = SqliteOutbox(folder / "audit.db", durability={durability!r})
worker = Worker(outbox, JsonLinesSink(folder / "out.jsonl"), Policy(), concurrency=4)
def capture():
    id = uuid7()
    outbox.append([Draft(id, "A", b'{{"documents":{{"auditbox":{{"id":"' + id.encode() + b'"}}}}}}')])
    worker.notify()
{body}
"""


def _run_to_the_end(folder: Path, body: str, durability: str = "crash") -> subprocess.CompletedProcess[str]:
    code = EXITING.format(tests=str(Path(__file__).parent), body=body, durability=durability)
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("for _ in range(20): capture()", 0),
        ("for _ in range(20): capture()\nraise ValueError('the program fails')", 1),
        ("for _ in range(20): capture()\nraise SystemExit(3)", 3),
    ],
)
def test_a_program_that_ends_delivers_first(tmp_path: Path, body: str, status: int) -> None:
    """Return, exception or exit: the drain at exit delivers what was captured."""
    ended = _run_to_the_end(tmp_path, body)
    assert ended.returncode == status, ended.stderr
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 20


def test_what_an_exit_handler_captures_is_delivered(tmp_path: Path) -> None:
    """Handlers that were registered after the import run before the drain."""
    ended = _run_to_the_end(tmp_path, "atexit.register(capture)\ncapture()")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 2


@pytest.mark.parametrize("durability", ["crash", "none"])
def test_a_capture_in_a_later_exit_handler_is_stored(tmp_path: Path, durability: str) -> None:
    """Those of before the import run after it; nothing is started again, and the next start delivers."""
    ended = _run_to_the_end(tmp_path, "late += [capture, capture]\ncapture()", durability=durability)
    assert (ended.returncode, ended.stderr) == (0, "")
    outbox = SqliteOutbox(tmp_path / "audit.db")
    assert outbox.last_seq() == 3
    assert outbox.depth().delivered == 1
    outbox.close()


def test_no_thread_of_ours_lives_when_the_interpreter_ends(tmp_path: Path) -> None:
    """It would be torn out of whatever it does; a capture after it has ended starts none."""
    show = "late += [capture, lambda: print([thread.name for thread in threading.enumerate()])]\ncapture()"
    assert _run_to_the_end(tmp_path, show).stdout == "['MainThread']\n"


def test_what_os_exit_leaves_behind_is_delivered_by_the_next_start(tmp_path: Path) -> None:
    """os._exit runs no handler at all."""
    _run_to_the_end(tmp_path, "import os\nfor _ in range(20): capture()\nos._exit(0)")
    ended = _run_to_the_end(tmp_path, "worker.start()\nassert worker.flush(30)")
    assert ended.returncode == 0, ended.stderr
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 20


def test_asking_whether_somebody_relays_takes_nothing_away(start: Callable[..., Program]) -> None:
    """While others ask, and share the lock for that moment, a relay is elected all the same."""
    program = start()
    program.outbox.append([Draft("id-1", "L", b"{}")])
    probe = os.open(program.outbox.relay_lock, os.O_RDONLY)
    try:
        fcntl.flock(probe, fcntl.LOCK_SH)
        assert not program.worker.alive
    finally:
        os.close(probe)


def test_why_delivery_waits_for_its_outbox_is_said_once(
    start: Callable[..., Program], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And not at every try, until the reason is another one or it has gone on in between."""
    monkeypatch.setattr("auditbox.relay.leader.ELECTION", 0.01)
    program, tries = start(), iter(["locked", "locked", "full", "", "full"])
    program.capture()
    assert program.worker.flush(5)
    exchange = program.outbox.exchange

    def failing(*given: Any, **named: Any) -> Any:
        if reason := next(tries, ""):
            raise OutboxError(reason)
        return exchange(*given, **named)

    monkeypatch.setattr(program.outbox, "exchange", failing)
    for _ in range(3):  # after the second it has gone on, so that the last failure is news
        id = program.capture()
        assert program.worker.flush(5)
        assert id in program.sink.stored
    assert [record.getMessage().rpartition(" ")[2] for record in caplog.records] == ["locked", "full", "full"]
