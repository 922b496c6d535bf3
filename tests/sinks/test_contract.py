"""What the relay relies on, whichever sink it is: one suite, run on each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditbox.sinks.base import Delivery, FakeSink, Missing, Sent, Sink
from auditbox.sinks.jsonlines import JsonLinesSink

from .conftest import delivery
from .server import Server, TinyApi

pytestmark = pytest.mark.usefixtures("each_transport")


@pytest.fixture(params=["fake", "audit api", "audit api over tls", "json lines"])
def any_sink(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sink]:
    """Each sink in turn, with somewhere for the records to go."""
    made: Sink
    if request.param == "fake":
        made = FakeSink()
    elif request.param == "json lines":
        made = JsonLinesSink(tmp_path / "records.jsonl")
    else:
        over_tls = request.param.endswith("tls")
        server: Server = request.getfixturevalue("tls_server" if over_tls else "server")
        server.script = TinyApi()
        made = request.getfixturevalue("tls_sink" if over_tls else "sink")
    yield made
    made.close()


def _send(sink: Sink, sent: Delivery) -> Sent:
    outcome = sink.send(sent)
    assert isinstance(outcome, Sent)
    return outcome


def test_it_says_where_it_goes_and_how_long_it_takes(any_sink: Sink) -> None:
    """The outbox keeps the destination; the relay derives verify_after from the deadline."""
    assert any_sink.destination
    assert any_sink.deadline > 0


def test_what_was_sent_is_found(any_sink: Sink) -> None:
    """A look-up after a delivery gives the same remote id, and keeps giving it."""
    outcome = _send(any_sink, delivery(1))
    assert outcome.remote_id
    assert any_sink.verify(delivery(1)) == any_sink.verify(delivery(1)) == outcome


def test_what_was_not_sent_is_missing(any_sink: Sink) -> None:
    """Other records of the same object and event are not taken for it."""
    assert any_sink.verify(delivery(1)) == Missing()
    for number in range(2, 30):
        _send(any_sink, delivery(number))
    assert any_sink.verify(delivery(1)) == Missing()
    assert isinstance(any_sink.verify(delivery(2)), Sent)


def test_threads_share_it(any_sink: Sink) -> None:
    """Sixteen threads deliver and look up at once, while another one watches and closes."""
    found: list[bool] = []
    start = threading.Barrier(17)

    def work(lane: int) -> None:
        start.wait()
        for number in range(lane * 10, lane * 10 + 10):
            own = delivery(number, object=f"ORD-{lane:04}")
            found.append(isinstance(any_sink.send(own), Sent) and isinstance(any_sink.verify(own), Sent))

    threads = [threading.Thread(target=work, args=(lane,)) for lane in range(16)]
    for thread in threads:
        thread.start()
    start.wait()
    while any(thread.is_alive() for thread in threads):
        any_sink.abort_overdue()
        any_sink.close()
        threads[0].join(0.01)
        threads[-1].join(0.01)
    assert found == [True] * 160


def test_it_goes_on_after_close(any_sink: Sink) -> None:
    """close() lets go; the next send opens again."""
    any_sink.close()
    _send(any_sink, delivery(1))
    any_sink.close()
    any_sink.close()
    _send(any_sink, delivery(2))
    assert isinstance(any_sink.verify(delivery(1)), Sent)


def test_watching_an_idle_sink_does_nothing(any_sink: Sink) -> None:
    """The watchdog runs before, between and after attempts."""
    any_sink.abort_overdue()
    _send(any_sink, delivery(1))
    any_sink.abort_overdue()
    _send(any_sink, delivery(2))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"documents": 7}', b"[" * 100_000]
)
def test_no_body_makes_it_raise(any_sink: Sink, body: bytes) -> None:
    """Whatever the outbox holds, the relay gets an outcome."""
    odd = delivery(1)._replace(body=body)
    assert any_sink.send(odd) is not None
    assert any_sink.verify(odd) is not None
