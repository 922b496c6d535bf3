"""A state machine over outbox, relay rules and a server: kills, clocks, late commits, second leaders.

The server is the oracle. It stores a record at once, never, or late; "late" stays within ``STALL`` after the
attempt's end, which is the condition under which exactly-once is promised.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from auditbox.backoff import Backoff
from auditbox.errors import Superseded
from auditbox.outbox.base import Claim, Draft, Exchanged, NotFound, Now
from auditbox.relay.judge import Judge
from auditbox.relay.policy import Policy
from auditbox.sinks.base import Later, Missing, NotSent, Paused, Problem, Refused, Rejected, Sent, Unclear
from auditbox.sinks.base import Unreadable as CannotRead

STALL = 4.0
VERIFY_AFTER = 5.0
POLICY = Policy(
    backoff=Backoff(first=1.0, longest=8.0), verify_after=VERIFY_AFTER, give_up_after=20.0, max_attempts=3,
    on_unverifiable="hold", refused_lanes=1000,
)  # fmt: skip
NO = Problem("no")
LANES = ["A", "B", "C"]


class Subject(Protocol):
    """What the machine drives: the model, or the model and the SQLite code in lockstep."""

    def append(self, drafts: list[Draft]) -> None: ...
    def take_over(self, now: Now, verify_after: float, clock: str | None = None) -> int: ...
    def exchange(
        self, epoch: int, settlements: list[Any], limit: int, now: Now, longest_wait: float
    ) -> Exchanged: ...
    def settle(self, epoch: int, settlements: list[Any], now: Now, longest_wait: float) -> Exchanged: ...
    def dead(self) -> list[tuple[int, str, str]]: ...
    def replay(self, letter: tuple[int, str, str], now: Now) -> bool: ...
    def discard(self, letter: tuple[int, str, str], now: Now) -> None: ...
    def forget(self, before: float, limit: int) -> int: ...
    def sync(self) -> None: ...
    def commit(self) -> None: ...
    def lose_power(self, choose: Callable[[int], int]) -> None: ...
    def known(self) -> set[str]: ...
    def verify(self) -> None: ...
    def close(self) -> None: ...


@dataclass
class Server:
    """Stores what reaches it, in the order in which it commits."""

    stored: list[tuple[str, str]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    late: list[tuple[float, Claim]] = field(default_factory=list)

    def has(self, id: str) -> bool:
        return any(stored == id for stored, _ in self.stored)

    def store(self, claim: Claim) -> None:
        self.stored.append((claim.entry.id, claim.entry.lane))
        self.numbers.append(claim.entry.seq)

    def store_at(self, at: float, claim: Claim) -> None:
        self.late.append((at, claim))

    def commit_until(self, now: float) -> None:
        for at, claim in sorted(self.late, key=lambda late: late[0]):
            if at <= now:
                self.store(claim)
        self.late = [entry for entry in self.late if entry[0] > now]


@dataclass
class Process:
    """A relay process: its epoch, what it has in flight, and what it has not settled yet."""

    epoch: int
    in_flight: dict[int, Claim] = field(default_factory=dict)
    settlements: list[Any] = field(default_factory=list)
    judge: Judge = field(default_factory=lambda: Judge(POLICY, VERIFY_AFTER))


class World:
    """Application, relay, server and clocks; every action is one step of a run. Asserts after each."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.server = Server()
        self.time, self.wall = 1000.0, 1_000_000.0
        self.boot, self.booted_at = 0, 0.0
        self.count = 0
        self.order: dict[str, list[str]] = {lane: [] for lane in LANES}
        self.excused: set[str] = set()  # dead, discarded or replayed: not bound to arrive, or to their order
        self.lost: set[str] = set()  # captured in the last moment before a power cut
        self.process = self.new_process()

    def new_process(self) -> Process:
        return Process(self.subject.take_over(self.now, VERIFY_AFTER, f"boot {self.boot}"))

    @property
    def now(self) -> Now:
        """The machine's clocks: the monotonic one begins when it starts."""
        return Now(self.wall, self.time - self.booted_at, self.wall)

    def in_flight(self, action: str) -> list[Claim]:
        return [claim for claim in self.process.in_flight.values() if claim.action == action]

    def append(self, lanes: list[str]) -> None:
        drafts = []
        for lane in lanes:
            self.count += 1
            drafts.append(Draft(f"id-{self.count}", lane, b"{}"))
            self.order[lane].append(drafts[-1].id)
        self.subject.append(drafts)

    def exchange(self, limit: int) -> None:
        process = self.process
        result = self.subject.exchange(
            process.epoch, process.settlements, limit, self.now, POLICY.longest_wait
        )
        process.settlements = []
        self.excused.update(id for id, _, _ in result.buried)
        for claim in result.claims:
            assert claim.entry.seq not in process.in_flight, "claimed twice"
            process.in_flight[claim.entry.seq] = claim
        lanes = [claim.entry.lane for claim in process.in_flight.values()]
        assert len(lanes) == len(set(lanes)), "two of one lane in flight"

    def send(self, claim: Claim, fate: str, delay: float) -> None:
        """What the server does with a request, and what the sender hears of it."""
        if fate in ("sent", "stored", "redirected"):
            self.server.store(claim)
        elif fate == "late":
            self.server.store_at(self.time + delay, claim)
        self._finish(claim, OUTCOMES[fate])
        self.check()

    def look_up(self, claim: Claim, readable: str) -> None:
        found = Sent("R") if self.server.has(claim.entry.id) else Missing()
        self._finish(claim, {"yes": found, "later": Later(NO), "never": CannotRead(NO)}[readable])

    def _finish(self, claim: Claim, outcome: Any) -> None:
        del self.process.in_flight[claim.entry.seq]
        self.process.settlements.append(self.process.judge.settle(claim, outcome, self.now))

    def pass_time(self, seconds: float, jump: float = 0.0) -> None:
        self.time += seconds
        self.wall += seconds + jump
        self.server.commit_until(self.time)
        self.check()

    def kill(self, fates: list[tuple[str, float]], second_leader: bool) -> None:
        """SIGKILL between any two steps, or a relay that stalls while another takes over."""
        old = self.process
        self._die(fates)
        self.process = self.new_process()
        if second_leader:
            try:
                self.subject.exchange(old.epoch, old.settlements, 5, self.now, POLICY.longest_wait)
            except Superseded:
                return
            raise AssertionError("a relay of an old epoch was let through")

    def stop(self, fates: list[tuple[str, float]]) -> None:
        """A relay that ends in good order, with requests in flight: what came back is settled."""
        old = self.process
        known = [one for one in old.settlements if not isinstance(one, NotFound)]
        settled = self.subject.settle(old.epoch, known, self.now, POLICY.longest_wait)
        self.excused.update(id for id, _, _ in settled.buried)
        self._die(fates)
        self.process = self.new_process()

    def _die(self, fates: list[tuple[str, float]]) -> None:
        for claim, (fate, delay) in zip(self.in_flight("send"), itertools.cycle(fates), strict=False):
            if fate == "stored":
                self.server.store(claim)
            elif fate == "late":
                self.server.store_at(self.time + delay, claim)

    def lose_power(self, fates: list[tuple[str, float]], choose: Callable[[int], int], down: float) -> None:
        """The machine goes down, and any of the states since the last sync comes back."""
        self._die(fates)
        self.subject.lose_power(choose)
        self.lost |= {id for ids in self.order.values() for id in ids} - self.subject.known()
        self.pass_time(down)
        self.boot, self.booted_at = self.boot + 1, self.time - 1.0
        self.process = self.new_process()

    def dead_letter(self, letter: tuple[int, str, str], action: str) -> None:
        if action == "replay":
            self.subject.replay(letter, self.now)
        else:
            self.subject.discard(letter, self.now)

    def forget(self, age: float, limit: int) -> None:
        self.subject.forget(self.wall - age, limit)

    def check(self) -> None:
        """Nothing is doubled, and no lane is out of order."""
        ids = [id for id, _ in self.server.stored]
        assert len(ids) == len(set(ids)), f"doubled: {ids}"
        assert len(ids) == len(set(self.server.numbers)), f"a number was given twice: {self.server.numbers}"
        for lane in LANES:
            free = self.excused | self.lost
            arrived = [id for id, of in self.server.stored if of == lane and id not in free]
            assert arrived == [id for id in self.order[lane] if id in set(arrived)], (
                f"out of order: {arrived}"
            )

    def drain(self) -> None:
        """A healthy server and enough time: everything that is not dead arrives."""
        for _ in range(4 * self.count + 40):
            self.pass_time(20.0)
            self.exchange(5)
            for claim in list(self.process.in_flight.values()):
                if claim.action == "send":
                    self.send(claim, "sent", 0)
                else:
                    self.look_up(claim, "yes")
            if not self.process.in_flight and not self.process.settlements:
                break
        arrived = {id for id, _ in self.server.stored}
        missing = {id for ids in self.order.values() for id in ids} - arrived - self.excused - self.lost
        assert not missing, f"lost: {missing}"


OUTCOMES: dict[str, Any] = {
    "sent": Sent("R"),
    "stored": Unclear(NO),
    "late": Unclear(NO),
    "lost": Unclear(NO),
    "500": Unclear(Problem("500", status=500)),
    "rejected": Rejected(NO),
    "refused": Refused(NO),
    "unsent": NotSent(NO),
    "paused": Paused(NO, "throttled"),
    "gateway": Paused(NO, "misdirected"),
    "redirected": Paused(NO, "misdirected", doubtful=True),
    "astray": Paused(NO, "misdirected", doubtful=True),
}
JUMPS = [0.0, 0.0, 0.0, 3600.0, -3600.0, -86400.0]


def run_at_random(subject: Subject, seed: int, steps: int) -> World:
    """A run of many steps, weighted towards what real days are made of."""
    random = Random(seed)
    world = World(subject)
    weights = {
        "append": 3,
        "exchange": 6,
        "send": 6,
        "look_up": 6,
        "time": 4,
        "kill": 1,
        "stop": 0.5,
        "dead": 1,
        "forget": 1,
        "sync": 1,
        "commit": 2,
        "power": 0.5,
    }
    for action in random.choices(list(weights), list(weights.values()), k=steps):
        _act(world, action, random)
    return world


def _act(world: World, action: str, random: Random) -> None:
    sends, looks = world.in_flight("send"), world.in_flight("verify")
    if action == "append":
        world.append(random.choices(LANES, k=random.randint(1, 3)))
    elif action == "exchange":
        world.exchange(random.randint(0, 4))
    elif action == "send" and sends:
        world.send(random.choice(sends), random.choice(list(OUTCOMES)), random.uniform(0, STALL))
    elif action == "look_up" and looks:
        world.look_up(random.choice(looks), random.choice(["yes", "yes", "yes", "later", "never"]))
    elif action == "time":
        world.pass_time(random.choice([0.1, 1.0, 3.0, 6.0, 12.0]), random.choice(JUMPS))
    elif action == "kill":
        fates = [(random.choice(["never", "stored", "late"]), random.uniform(0, STALL)) for _ in range(5)]
        world.kill(fates, random.random() < 0.3)
    elif action == "stop":
        world.stop([(random.choice(["never", "stored", "late"]), random.uniform(0, STALL))])
    elif action == "dead" and (letters := world.subject.dead()):
        world.dead_letter(random.choice(letters), random.choice(["replay", "discard"]))
    elif action == "sync":
        world.subject.sync()
    elif action == "commit":
        world.subject.commit()
    elif action == "power":
        fates = [(random.choice(["never", "stored", "late"]), random.uniform(0, STALL)) for _ in range(5)]
        world.lose_power(fates, random.randrange, random.uniform(0, 8))
    elif action == "forget":
        world.forget(random.choice([0.0, 30.0, -10.0]), random.randint(1, 5))


class DeliveryMachine(RuleBasedStateMachine):
    """The same world, driven by hypothesis, which shrinks what it finds. Subclasses say what is driven."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.make())

    @abstractmethod
    def make(self) -> Subject:
        """What is driven."""

    @rule(lanes=st.lists(st.sampled_from(LANES), min_size=1, max_size=4))
    def append(self, lanes: list[str]) -> None:
        self.world.append(lanes)

    @rule(limit=st.integers(0, 5))
    def exchange(self, limit: int) -> None:
        self.world.exchange(limit)

    @precondition(lambda self: self.world.in_flight("send"))
    @rule(data=st.data(), fate=st.sampled_from(["sent", "sent", *OUTCOMES]), delay=st.floats(0, STALL))
    def send(self, data: st.DataObject, fate: str, delay: float) -> None:
        self.world.send(data.draw(st.sampled_from(self.world.in_flight("send"))), fate, delay)

    @precondition(lambda self: self.world.in_flight("verify"))
    @rule(data=st.data(), readable=st.sampled_from(["yes", "yes", "yes", "later", "never"]))
    def look_up(self, data: st.DataObject, readable: str) -> None:
        self.world.look_up(data.draw(st.sampled_from(self.world.in_flight("verify"))), readable)

    @rule(seconds=st.floats(0, 12), jump=st.sampled_from(JUMPS))
    def time_passes(self, seconds: float, jump: float) -> None:
        self.world.pass_time(seconds, jump)

    @rule(
        fates=st.lists(
            st.tuples(st.sampled_from(["never", "stored", "late"]), st.floats(0, STALL)),
            min_size=1,
            max_size=5,
        ),
        second_leader=st.booleans(),
    )
    def kill(self, fates: list[tuple[str, float]], second_leader: bool) -> None:
        self.world.kill(fates, second_leader)

    @rule(fate=st.tuples(st.sampled_from(["never", "stored", "late"]), st.floats(0, STALL)))
    def stop(self, fate: tuple[str, float]) -> None:
        self.world.stop([fate])

    @precondition(lambda self: self.world.subject.dead())
    @rule(data=st.data(), action=st.sampled_from(["replay", "discard"]))
    def dead_letter(self, data: st.DataObject, action: str) -> None:
        self.world.dead_letter(data.draw(st.sampled_from(self.world.subject.dead())), action)

    @rule(age=st.sampled_from([0.0, 30.0, -10.0]), limit=st.integers(1, 5))
    def retention(self, age: float, limit: int) -> None:
        self.world.forget(age, limit)

    @rule(synced=st.booleans())
    def committed(self, synced: bool) -> None:
        (self.world.subject.sync if synced else self.world.subject.commit)()

    @rule(
        data=st.data(),
        fate=st.tuples(st.sampled_from(["never", "stored", "late"]), st.floats(0, STALL)),
        down=st.floats(0, 8),
    )
    def power_cut(self, data: st.DataObject, fate: tuple[str, float], down: float) -> None:
        self.world.lose_power([fate], lambda count: data.draw(st.integers(0, count - 1)), down)

    @invariant()
    def storage_agrees(self) -> None:
        self.world.check()
        self.world.subject.verify()

    def teardown(self) -> None:
        try:
            self.world.drain()
        finally:
            self.world.subject.close()
