"""Many requests at once on one thread: what a flight does beyond what every transport does."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from auditbox.errors import ConfigurationError, MissingDependency
from auditbox.sinks.audit_api import AuditApiSink
from auditbox.sinks.base import Sent, Unclear
from auditbox.sinks.flight import Flight

from .conftest import delivery
from .server import Exchange, Server


@pytest.fixture(params=["httpx", "fast"])
def busy(request: pytest.FixtureRequest, server: Server) -> Iterator[AuditApiSink]:
    """A sink with eight idle connections."""
    sink = AuditApiSink(server.url, "idt:TKN-1234-5678:secret", transport=request.param, deadline=5.0)
    together = threading.Barrier(8)

    def script(exchange: Exchange) -> None:
        together.wait(10)
        exchange.reply(201, {"id": "AUD-0"})

    before, server.script = server.script, script
    threads = [threading.Thread(target=sink.send, args=(delivery(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.script = before
    server.requests.clear()
    yield sink
    sink.close()


def _all(flight: Flight, count: int) -> dict[int, object]:
    landed: dict[int, object] = {}
    while len(landed) < count:
        landed.update(flight.land(5))
    return landed


def test_as_many_fly_as_there_are_idle_connections(server: Server, busy: AuditApiSink) -> None:
    """Eight at once on the connections that are there; the ninth would have to connect."""
    gate = threading.Event()

    def script(exchange: Exchange) -> None:
        gate.wait(10)
        exchange.reply(201, {"id": f"AUD-{len(exchange.body)}"})

    server.script = script
    flight = busy.flight()
    assert [flight.launch(delivery(n)) for n in range(9)] == [True] * 8 + [False]
    assert flight.land(0) == []
    gate.set()
    outcomes = _all(flight, 8)
    assert sorted(outcomes) == list(range(8))
    assert all(isinstance(outcome, Sent) for outcome in outcomes.values())
    assert server.connections == 8
    assert flight.close() == []


def test_a_body_larger_than_the_sockets_buffers_is_sent_in_parts(server: Server, busy: AuditApiSink) -> None:
    """While the server reads slowly the others go on."""
    flight = busy.flight()
    assert flight.launch(delivery(1, size=20_000_000))
    assert flight.launch(delivery(2))
    outcomes = _all(flight, 2)
    assert outcomes == {1: Sent("AUD-1"), 2: Sent("AUD-1")}
    assert {len(exchange.body) for exchange in server.requests} == {
        len(delivery(1, size=20_000_000).body),
        len(delivery(2).body),
    }
    flight.close()


@pytest.fixture
def answered(server: Server, busy: AuditApiSink) -> list[threading.Event]:
    """Set when each of three requests has its answer; an attempt may last 0.3 seconds."""
    answered = [threading.Event() for _ in range(3)]

    def script(exchange: Exchange) -> None:
        exchange.reply(201, {"id": "AUD-1"})
        answered[len(server.requests) - 1].set()

    server.script, busy.deadline = script, 0.3
    return answered


def test_what_has_come_to_an_end_is_told_one_at_a_time(
    busy: AuditApiSink, answered: list[threading.Event]
) -> None:
    """So that whoever asks can give way to others in between."""
    flight = busy.flight()
    for number, event in enumerate(answered):
        assert flight.launch(delivery(number))
        assert event.wait(10)
    assert [len(flight.land(10)) for _ in answered] == [1, 1, 1]
    flight.close()


@pytest.mark.parametrize("woken", [False, True])
def test_an_answer_that_is_there_is_not_overdue(
    busy: AuditApiSink, answered: list[threading.Event], woken: bool
) -> None:
    """However late the thread comes to ask for it: its outbox was busy, or the machine slept."""
    flight = busy.flight()
    for number in range(2):
        assert flight.launch(delivery(number))
        assert answered[number].wait(10)
    if woken:
        flight.wake()
    landed = [*flight.land(10)]
    assert flight.launch(delivery(2))
    assert answered[2].wait(10)
    time.sleep(2 * busy.deadline)
    while len(landed) < 3:
        landed += flight.land(10)
    assert sorted(landed) == [(number, Sent("AUD-1")) for number in range(3)]
    flight.close()


def test_a_wake_ends_the_wait(busy: AuditApiSink) -> None:
    """From another thread, and any number of times."""
    flight = busy.flight()
    for _ in range(100_000):
        flight.wake()
    assert flight.land(60) == []
    threading.Timer(0.05, flight.wake).start()
    assert flight.land(60) == []
    flight.close()


def test_a_wake_counts_although_something_has_come_to_an_end_meanwhile(
    server: Server, busy: AuditApiSink
) -> None:
    """First what has come to an end; the next wait is none."""
    answered = threading.Event()

    def script(exchange: Exchange) -> None:
        exchange.reply(201, {"id": "AUD-1"})
        answered.set()

    server.script = script
    flight = busy.flight()
    assert flight.launch(delivery(1))
    assert answered.wait(10)
    flight.wake()
    begin = time.monotonic()
    assert flight.land(60) == [(1, Sent("AUD-1"))]
    assert flight.land(60) == []
    assert time.monotonic() - begin < 30
    flight.close()


def test_what_outlives_its_deadline_is_ambiguous_and_ends(server: Server, busy: AuditApiSink) -> None:
    """The flight looks at the clock itself; the server sees its client leave."""
    gone = threading.Event()

    def script(exchange: Exchange) -> None:
        exchange.until_gone()
        gone.set()

    server.script = script
    busy.deadline = 0.1
    flight = busy.flight()
    assert flight.launch(delivery())
    outcome = _all(flight, 1)[1]
    assert isinstance(outcome, Unclear)
    assert "deadline" in outcome.problem.reason
    assert gone.wait(10)
    flight.close()


def test_what_is_under_way_at_the_end_is_ambiguous(server: Server, busy: AuditApiSink) -> None:
    """A close breaks it off, and says so."""
    server.script = Exchange.until_gone
    flight = busy.flight()
    assert flight.launch(delivery(7))
    ((number, outcome),) = flight.close()
    assert number == 7
    assert isinstance(outcome, Unclear)


def test_a_token_that_is_refused_goes_to_a_thread(server: Server) -> None:
    """Asking for another token may block, so the flight gives the record back: it was not processed."""
    tokens = iter(["old", "new"])
    sink = AuditApiSink(server.url, lambda: next(tokens), transport="fast")

    def script(exchange: Exchange) -> None:
        exchange.reply(201 if refused != exchange.headers["authorization"] else 401, {"id": "AUD-1"})

    refused, server.script = "none", script
    assert isinstance(sink.send(delivery(1)), Sent)
    refused = "Bearer old"
    flight = sink.flight()
    assert flight.launch(delivery(2))
    assert _all(flight, 1) == {2: None}
    assert not flight.launch(delivery(3)), "with a token that is known to be refused"
    assert sink.send(delivery(2)) == Sent("AUD-1")
    assert flight.launch(delivery(3))
    assert _all(flight, 1) == {3: Sent("AUD-1")}
    sent = [exchange.headers["authorization"].removeprefix("Bearer ") for exchange in server.requests]
    assert sent == ["old", "old", "new", "new"]
    flight.close()
    sink.close()


def test_an_unknown_transport_is_one_clear_error() -> None:
    """Said at construction."""
    with pytest.raises(ConfigurationError, match="'httpx' or 'fast'"):
        AuditApiSink("https://api.example.com", "token", transport="slow")


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without httptools the error says what to install."""
    monkeypatch.delitem(sys.modules, "auditbox.sinks.reading_llhttp", raising=False)
    monkeypatch.setitem(sys.modules, "httptools", None)
    with pytest.raises(MissingDependency, match=r"pip install 'auditbox\[fast\]'"):
        AuditApiSink("https://api.example.com", "token", transport="fast")
