"""The relay's round, its rules and its patience; no threads, no sleeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditbox.backoff import Backoff
from auditbox.errors import Superseded
from auditbox.outbox.base import Claim, Draft, Now
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.relay.judge import Judge
from auditbox.relay.policy import Policy
from auditbox.relay.relay import Relay, with_number
from auditbox.sinks.base import (
    Delivery,
    FakeSink,
    Later,
    Missing,
    NotSent,
    Paused,
    Problem,
    Refused,
    Rejected,
    Sent,
    Unclear,
    Unreadable,
    VerifyOutcome,
)

NO = Problem("no")
REDIRECT = Paused(NO, "misdirected", doubtful=True)
BODY = b'{"event":"extensions.t.e","documents":{"auditbox":{"id":"x"}}}'


class Bench:
    """A relay whose sends happen at once, and a clock that only the test moves."""

    def __init__(self, path: Path, **policy: Any) -> None:
        # Its clock begins in 1970: upkeep's, which is the machine's, would forget what is delivered.
        self.outbox, self.sink = SqliteOutbox(path, keep_delivered=1e12), FakeSink()
        defaults: dict[str, Any] = {
            "backoff": Backoff(first=1, longest=8), "pause": Backoff(first=1, longest=8), "verify_after": 5.0,
        }  # fmt: skip
        self.judge = Judge.for_sink(Policy(**{**defaults, **policy}), self.sink)
        self.seconds, self.count = 1000.0, 0
        self.dead: list[tuple[str, dict[str, Any]]] = []
        self.sends: list[str] = []
        self.relay = self.new_relay()

    def new_relay(self) -> Relay:
        def dispatch(claim: Claim) -> None:
            if claim.action == "send":
                self.sends.append(claim.entry.id)
            relay.done(claim, relay.perform(claim))

        relay = Relay(
            self.outbox, self.sink, self.judge, concurrency=4, dispatch=dispatch,
            on_dead_letter=lambda id, problem: self.dead.append((id, problem)),
        )  # fmt: skip
        relay.take_over(self.now)
        self.relay = relay
        return relay

    @property
    def now(self) -> Now:
        return Now(self.seconds, self.seconds, self.seconds)

    def capture(self, *lanes: str, outcomes: tuple[Any, ...] = ()) -> list[str]:
        drafts = []
        for lane in lanes:
            self.count += 1
            drafts.append(Draft(f"id-{self.count}", lane, BODY))
            self.sink.script[drafts[-1].id] = list(outcomes)
        self.outbox.append(drafts)
        self.relay.wake()
        return [draft.id for draft in drafts]

    def run(self, seconds: float = 0.0) -> None:
        """Steps until nothing more happens at this time."""
        self.seconds += seconds
        for _ in range(50):
            self.relay.wake()
            self.relay.step(self.now)

    def states(self) -> dict[str, int]:
        depth = self.outbox.depth()
        return {**depth.states, "delivered": depth.delivered, "dead": depth.dead}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**policy: Any) -> Bench:
        made.append(Bench(tmp_path / f"{len(made)}.db", **policy))
        return made[-1]

    yield make
    for one in made:
        one.outbox.close()


def test_a_remote_id_that_cannot_be_stored_as_it_is_holds_nothing_up(bench: Callable[..., Bench]) -> None:
    """JSON can hold half of a surrogate pair, UTF-8 cannot: the receipt has a question mark."""
    b = bench()
    b.capture("A", outcomes=(Sent("AUD-\ud800"),))
    b.capture("A", outcomes=(Sent(42),))  # type: ignore[arg-type] - by a sink of somebody's own
    b.capture("A", "B")
    b.run()
    assert b.states() == {"delivered": 4, "dead": 0}
    kept = b.outbox._store.read(
        lambda db: db.execute("SELECT remote_id FROM receipt ORDER BY seq").fetchall()
    )
    assert kept[:2] == [("AUD-?",), ("42",)]


class Fickle(Sent):
    """An outcome of a user's own sink, whose id can be read once."""

    reads = iter(["AUD-1"])

    @property
    def remote_id(self) -> str:  # type: ignore[override]
        return next(self.reads)


def test_an_outcome_of_a_users_own_kind_is_read_once(bench: Callable[..., Bench]) -> None:
    """What comes of it concerns its entry alone, and is plain from then on."""
    b = bench()
    b.capture("A", outcomes=(Fickle(),))
    b.run()
    assert b.states() == {"delivered": 1, "dead": 0}


class Unprintable:
    """What cannot be made a text."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (None, "returned None, which is no SendOutcome"),
        ("200", "returned str, which is no SendOutcome"),
        (Unprintable(), "returned Unprintable, which is no SendOutcome"),
        (Missing(), "returned Missing, which is no SendOutcome"),
        (Later(NO), "returned Later, which is no SendOutcome"),
        (Sent(Unprintable()), "returned Sent, of which a part cannot be used: RuntimeError"),  # type: ignore[arg-type]
        (Rejected(None), "returned Rejected, of which a part cannot be used"),  # type: ignore[arg-type]
        (Paused(NO, None), "returned Paused, of which a part cannot be used"),  # type: ignore[arg-type]
        (Paused(NO, "throttled", float("nan")), "returned Paused, of which a part cannot be used"),
    ],
)
def test_an_outcome_that_is_none_is_in_doubt_and_concerns_its_entry_alone(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture, outcome: Any, said: str
) -> None:
    """The others are delivered, what came is named, and the entry is looked up before it is sent again."""
    b = bench()
    (odd,) = b.capture("A", outcomes=(outcome,))
    others = b.capture("A", "B", "C")
    b.run()
    assert b.states() == {"verify": 1, "waiting": 1, "delivered": 2, "dead": 0}
    assert f"{odd}: the sink's send {said}" in caplog.text
    b.run(6.0)
    assert b.states() == {"delivered": 4, "dead": 0}
    assert sorted(b.sink.stored) == sorted([odd, *others])


def test_a_look_up_that_comes_to_nothing_is_tried_again(bench: Callable[..., Bench]) -> None:
    """Nothing is sent meanwhile: nobody knows whether the record is there."""

    class Odd(FakeSink):
        def verify(self, delivery: Delivery) -> VerifyOutcome:
            looks.append(delivery.id)
            odd: list[Any] = [None, Rejected(NO)]
            return odd[len(looks) - 1] if len(looks) <= 2 else super().verify(delivery)  # type: ignore[no-any-return]

    looks: list[str] = []
    b = bench()
    b.sink = Odd()
    b.relay = b.new_relay()
    b.capture("A", outcomes=(Unclear(NO),))
    for _ in range(10):
        b.run(5.0)
    assert b.states() == {"delivered": 1, "dead": 0}
    assert (len(b.sends), len(looks)) == (1, 3)


@pytest.mark.parametrize("errors", [{1, 2}, b"1", Unprintable(), float("nan"), {("a",): {1}}])
def test_a_problem_that_json_cannot_hold_is_kept_as_far_as_it_can(
    bench: Callable[..., Bench], errors: Any
) -> None:
    """What the sink has meant counts: a dead letter, whatever its problem is made of."""
    b = bench()
    b.capture("A", outcomes=(Rejected(Problem("400", 400, errors=errors)),))
    b.capture("A", outcomes=(Unclear(Problem("500", 500, errors=errors)),))
    b.run()
    assert b.states() == {"verify": 1, "delivered": 0, "dead": 1}
    [(_, problem)] = b.dead
    assert problem["reason"] == "400"
    json.dumps(problem, allow_nan=False)
    b.run(6.0)
    assert b.states() == {"delivered": 1, "dead": 1}


def test_everything_is_delivered_in_the_order_of_its_lane(bench: Callable[..., Bench]) -> None:
    """Lanes mix, the order within each stays."""
    b = bench()
    ids = b.capture(*["A", "B", "A", "C"] * 10)
    b.run()
    lanes = dict(zip(ids, ["A", "B", "A", "C"] * 10, strict=True))
    for lane in "ABC":
        assert [id for id in b.sink.stored if lanes[id] == lane] == [id for id in ids if lanes[id] == lane]
    assert b.states() == {"delivered": 40, "dead": 0}


def test_what_may_have_arrived_is_looked_up_and_not_sent_again(bench: Callable[..., Bench]) -> None:
    """One copy, although the answer was lost; and not looked up before its time."""
    b = bench()
    (id,) = b.capture("A", outcomes=(Unclear(NO),))
    b.run(4.0)
    assert b.states() == {"verify": 1, "delivered": 0, "dead": 0}
    b.run(6.0)
    assert b.sink.stored == [id]
    assert b.states() == {"delivered": 1, "dead": 0}


def test_what_did_not_arrive_is_sent_again_after_the_look_up(bench: Callable[..., Bench]) -> None:
    """Lost on the way, and found missing: sent once more."""
    b = bench()
    b.sink.stores_unclear = False
    (id,) = b.capture("A", outcomes=(Unclear(NO),))
    b.run(0.0)
    assert b.sink.stored == []
    b.run(6.0)
    assert (b.sink.stored, b.sends) == ([id], [id, id])


def test_a_new_relay_looks_up_what_the_last_one_was_sending(bench: Callable[..., Bench]) -> None:
    """Killed between the request and its settlement: nothing is doubled."""
    b = bench()
    (id,) = b.capture("A")
    b.relay.step(b.now)  # claimed, sent; the outcome is not settled
    assert b.sink.stored == [id]
    old = b.relay
    b.new_relay()
    with pytest.raises(Superseded):
        old.step(b.now)
    b.run(6.0)
    assert b.sink.stored == [id]
    assert b.states() == {"delivered": 1, "dead": 0}


def test_a_rejected_entry_is_a_dead_letter_and_frees_its_lane(bench: Callable[..., Bench]) -> None:
    """Reported once, with the problem, to on_dead_letter and the log."""
    b = bench()
    (bad,) = b.capture("A", outcomes=(Rejected(Problem("400 no", status=400)),))
    (good,) = b.capture("A")
    b.run()
    assert b.sink.stored == [good]
    assert b.dead == [(bad, {"reason": "400 no", "status": 400})]


def test_a_rejection_after_an_ambiguous_attempt_is_verified_first(bench: Callable[..., Bench]) -> None:
    """The first copy arrived after all: delivered, not dead."""
    b = bench()
    b.sink.stores_unclear = False
    (id,) = b.capture("A", outcomes=(Unclear(NO), Rejected(NO)))
    b.run()
    b.run(6.0)  # looked up, missing, sent again, rejected: verify before it is called dead
    assert b.states() == {"verify": 1, "delivered": 0, "dead": 0}
    b.sink.stored.append(id)
    b.run(6.0)
    assert b.states() == {"delivered": 1, "dead": 0}
    assert b.dead == []


def test_a_dead_letter_after_an_ambiguous_attempt_stays_dead_when_it_is_not_there(
    bench: Callable[..., Bench],
) -> None:
    """Verified, missing, buried: not sent a third time."""
    b = bench()
    b.sink.stores_unclear = False
    (id,) = b.capture("A", outcomes=(Unclear(NO), Rejected(NO)))
    for _ in range(4):
        b.run(6.0)
    assert b.states() == {"delivered": 0, "dead": 1}
    assert b.sends == [id, id]


def test_a_refused_lane_waits_and_then_is_given_up_while_others_succeed(bench: Callable[..., Bench]) -> None:
    """After give_up_after the entry is dead, and its followers get one attempt each."""
    b = bench(give_up_after=20.0)
    refusals = tuple(Refused(NO) for _ in range(100))
    first, second = b.capture("A", "A", outcomes=refusals)
    for _ in range(40):
        b.capture("B")
        b.run(2.0)
    assert {id for id, _ in b.dead} == {first, second}
    assert b.sends.count(second) == 1


def test_nothing_is_given_up_while_nobody_succeeds(bench: Callable[..., Bench]) -> None:
    """A 403 for everything is the token's fault."""
    b = bench(give_up_after=10.0)
    b.capture("A", outcomes=tuple(Refused(NO) for _ in range(100)))
    for _ in range(30):
        b.run(2.0)
    assert b.dead == []


def test_ten_lanes_refused_in_a_row_pause_the_sink(bench: Callable[..., Bench]) -> None:
    """Wrong address, token or gateway: nothing is dead-lettered."""
    b = bench(give_up_after=1.0)
    b.capture("Z")
    b.run()
    b.capture(*[f"L{n}" for n in range(30)], outcomes=tuple(Refused(NO) for _ in range(1000)))
    b.run(5.0)
    assert b.judge.breaker.cause == "misdirected"
    before = len(b.sends)
    for _ in range(20):
        b.run(1.0)
    assert b.dead == []
    assert len(b.sends) - before <= 20  # probes only
    b.sink.script.clear()
    for _ in range(30):
        b.run(9.0)
    assert b.states() == {"delivered": 31, "dead": 0}


@pytest.mark.parametrize("outcome", [NotSent(NO), Paused(NO, "unauthorized"), Paused(NO, "throttled", 3.0)])
def test_a_sink_that_is_down_is_probed_by_one_entry_at_a_time(
    bench: Callable[..., Bench], outcome: Any
) -> None:
    """No stampede, no dead letter, and everything goes when it is back."""
    b = bench()
    b.capture(*"ABCDEFGH", outcomes=(outcome,) * 3)
    b.run()
    assert len(b.sends) == 4
    for _ in range(300):
        before = len(b.sends)
        b.relay.step(b.now)
        assert len(b.sends) - before <= (1 if b.judge.breaker.cause else 4)
        b.seconds += 1.0
    assert b.states() == {"delivered": 8, "dead": 0}


def test_retry_after_is_kept_to(bench: Callable[..., Bench]) -> None:
    """Not a request before the time that the sink asked for."""
    b = bench()
    b.capture("A", outcomes=(Paused(NO, "throttled", 30.0),))
    b.run()
    b.run(29.0)
    assert len(b.sends) == 1
    b.run(1.5)
    assert b.states() == {"delivered": 1, "dead": 0}


def test_a_500_that_stays_is_a_dead_letter_only_while_others_succeed(bench: Callable[..., Bench]) -> None:
    """max_attempts with a 500, then verified, then dead."""
    b = bench(max_attempts=3)
    b.sink.stores_unclear = False
    b.capture("A", outcomes=tuple(Unclear(Problem("500", status=500)) for _ in range(50)))
    for _ in range(5):
        b.run(6.0)
    assert b.dead == []
    for _ in range(5):
        b.capture("B")
        b.run(6.0)
    assert [id for id, _ in b.dead] == ["id-1"]


def test_only_500s_count_towards_giving_up(bench: Callable[..., Bench]) -> None:
    """Timeouts and 502s are nobody's verdict on the record, however many of them there were."""
    b = bench(max_attempts=3)
    b.sink.stores_unclear = False
    failed, gateway = (Unclear(Problem(str(status), status=status)) for status in (500, 502))
    silent = Unclear(Problem("no answer"))
    (id,) = b.capture("A", outcomes=(*[gateway, silent] * 5, failed, silent, Refused(NO), gateway, failed))
    for _ in range(25):
        b.capture("B")
        b.run(6.0)
    assert b.dead == []
    assert b.sends.count(id) == 16
    assert b.sink.stored.count(id) == 1


def test_500s_count_anew_after_a_replay(bench: Callable[..., Bench]) -> None:
    """Whoever replays a dead letter gives it as many attempts as it had."""
    b = bench(max_attempts=3)
    b.sink.stores_unclear = False
    (id,) = b.capture("A", outcomes=tuple(Unclear(Problem("500", status=500)) for _ in range(50)))
    for times in (1, 2):
        for _ in range(12):
            b.capture("B")
            b.run(6.0)
        assert [letter[1] for letter in b.outbox.dead_letters()] == [id]
        assert b.sends.count(id) == 3 * times
        b.outbox.replay(b.outbox.dead_letters(), b.now)


def test_an_object_that_is_throttled_alone_waits_alone(bench: Callable[..., Bench]) -> None:
    """It is tried less and less often, nobody behind it starves, and it goes when it is let through."""
    b = bench(backoff=Steady(first=1, longest=64), pause=Steady(first=1, longest=8))
    (id,) = b.capture("A", outcomes=(Paused(NO, "throttled"),) * 500)
    for _ in range(300):
        b.capture("B")
        b.run(1.0)
    b.run(10.0)
    assert b.states() == {"retry": 1, "delivered": 300, "dead": 0}
    assert 5 <= b.sends.count(id) <= 14
    b.sink.script[id] = []
    b.run(65.0)
    assert b.states() == {"delivered": 301, "dead": 0}


def test_a_sink_that_throttles_everything_is_gone_on_with_when_its_pause_ends(
    bench: Callable[..., Bench],
) -> None:
    """However often it has said so: a wait of its own is for what is limited while others are not."""
    b = bench(backoff=Steady(first=1, longest=512), pause=Steady(first=1, longest=8))
    b.capture("A", outcomes=(Paused(NO, "throttled"),) * 40)
    for _ in range(320):
        b.run(1.0)
    assert len(b.sends) == 41
    assert b.states() == {"delivered": 1, "dead": 0}


class Steady(Backoff):
    """A backoff without chance."""

    def wait(self, attempt: int) -> float:
        return self.ceiling(attempt)


def said(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("arrives", [True, False])
def test_a_redirect_pauses_and_is_looked_up_before_it_is_sent_again(
    bench: Callable[..., Bench], arrives: bool
) -> None:
    """A server that stores and then points elsewhere gets no second copy; nor is anything lost or dead."""
    b = bench()
    (id,) = b.capture("A", outcomes=(REDIRECT,))
    if arrives:
        b.sink.stored.append(id)
    b.run()
    assert b.judge.breaker.cause == "misdirected"
    for _ in range(20):
        b.capture("B")  # each success ends the pause
        b.run(0.2)
    assert b.states() == {"verify": 1, "delivered": 20, "dead": 0}
    b.run(5.0)
    assert b.sink.stored.count(id) == 1
    assert b.sends.count(id) == (1 if arrives else 2)
    assert b.states() == {"delivered": 21, "dead": 0}


def test_redirects_of_everything_sent_pause_the_sink_although_it_can_be_read(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    """A look-up that finds nothing ends no pause: it says nothing of the address that records are sent to."""
    caplog.set_level("INFO", "auditbox.relay")
    b = bench()
    b.capture(*"ABCDEFGH", outcomes=(REDIRECT,) * 6)
    for _ in range(20):
        b.run(2.0)
        assert b.judge.breaker.cause == "misdirected"
    assert (said(caplog, " pauses ("), said(caplog, "delivery goes on")) == (1, 0)
    for _ in range(60):
        b.run(2.0)
    assert said(caplog, "delivery goes on") == 1
    assert b.states() == {"delivered": 8, "dead": 0}


def test_a_wrong_address_is_said_at_once_where_nothing_has_worked_yet(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    """A short program would end before a second attempt."""
    b = bench()
    b.capture("A", outcomes=(Paused(NO, "misdirected"),))
    b.run()
    assert said(caplog, "delivery to fake pauses (misdirected)") == 1


@pytest.mark.parametrize("doubtful", [False, True])
def test_an_object_that_a_gateway_never_lets_through_is_tried_less_and_less_often(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture, doubtful: bool
) -> None:
    """Although each success elsewhere ends the pause; and it is said once, of that object."""
    caplog.set_level("INFO", "auditbox.relay")
    b = bench(backoff=Steady(first=1, longest=64), pause=Steady(first=0.5, longest=8), verify_after=0.5)
    b.capture("B")
    b.run()
    (bad,) = b.capture("WALLED", outcomes=(Paused(NO, "misdirected", doubtful=doubtful),) * 1000)
    for _ in range(200):
        b.capture("B")
        b.run(0.5)  # a hundred seconds: 0, 1, 3, 7, 15, 31, 63
    assert b.sends.count(bad) == 7
    assert len(b.sink.stored) >= 200
    assert b.dead == []
    assert said(caplog, " pauses (") == said(caplog, "delivery goes on") == 0
    assert said(caplog, "WALLED is not let through") == 1


class BlindSink(FakeSink):
    """A sink whose trail cannot be read."""

    def verify(self, delivery: Delivery) -> VerifyOutcome:
        return Unreadable(NO)


def test_what_cannot_be_verified_is_sent_again_or_held(bench: Callable[..., Bench]) -> None:
    """on_unverifiable chooses between at least once and a lane that waits."""
    for choice, sends in (("resend", 2), ("hold", 1)):
        b = bench(on_unverifiable=choice)
        b.sink = BlindSink()
        b.new_relay()
        b.capture("A", outcomes=(Unclear(NO),))
        for _ in range(5):
            b.run(6.0)
        assert len(b.sends) == sends, choice


def test_a_look_up_that_fails_is_tried_again(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later means later, and never a second copy."""
    b = bench()
    (id,) = b.capture("A", outcomes=(Unclear(NO),))
    with monkeypatch.context() as patched:
        patched.setattr(b.sink, "verify", lambda _: Later(NO))
        for _ in range(5):
            b.run(6.0)
        assert b.states() == {"verify": 1, "delivered": 0, "dead": 0}
    for _ in range(5):
        b.run(9.0)
    assert b.sink.stored == [id]
    assert b.states() == {"delivered": 1, "dead": 0}


def test_the_clock_set_back_does_not_stop_retries(bench: Callable[..., Bench]) -> None:
    """A deadline further ahead than the longest backoff counts as passed."""
    b = bench()
    b.capture("A", outcomes=(Refused(NO),))
    b.run()
    b.relay.wake()
    yesterday = Now(b.now.wall - 86400, b.now.monotonic + 9, b.now.sink)
    for _ in range(5):
        b.relay.wake()
        b.relay.step(yesterday)
    assert b.states() == {"delivered": 1, "dead": 0}


def test_an_altered_entry_is_never_sent(bench: Callable[..., Bench]) -> None:
    """A dead letter that names the damage; the next of its lane goes."""
    b = bench()
    first, second = b.capture("A", "A")
    b.outbox._store.write(lambda db: db.execute("UPDATE entry SET body = '{}' WHERE seq = 1"))
    b.run()
    assert b.sink.stored == [second]
    assert b.dead[0][0] == first
    assert "checksum" in b.dead[0][1]["reason"]


def test_a_replayed_dead_letter_is_sent_and_says_when_it_was_overtaken(bench: Callable[..., Bench]) -> None:
    """The order cannot be mended, so it is told."""
    b = bench()
    (bad,) = b.capture("A", outcomes=(Rejected(NO),))
    b.run()
    assert b.outbox.replay(b.outbox.dead_letters(bad), b.now) == []
    b.sink.script[bad] = [Rejected(NO)]
    b.run()
    (later,) = b.capture("A")
    b.run()
    assert b.outbox.replay(b.outbox.dead_letters(bad), b.now) == [bad]
    b.run()
    assert b.sink.stored == [later, bad]


def test_outbox_and_number_travel_with_the_record() -> None:
    """They are spliced into the stored bytes; the rest is untouched."""
    sent = json.loads(with_number(BODY, "box", 7))
    assert sent["documents"]["auditbox"] == {"id": "x", "outbox": "box", "seq": 7}
