"""No answer, half an answer, an endless answer: what is certain, and what must be looked up."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from auditbox.sinks.audit_api import AuditApiSink, Timeouts
from auditbox.sinks.base import Later, NotSent, Paused, Sent, Unclear

from .conftest import delivery, until_done
from .server import Exchange, Script, Server

pytestmark = pytest.mark.usefixtures("each_transport")

ANSWER = b'HTTP/1.1 201 Created\r\ncontent-length: 15\r\n\r\n{"id": "AUD-1"}'


def _raw(data: bytes, *, reset: bool = False) -> Script:
    def script(exchange: Exchange) -> None:
        exchange.raw(data)
        (exchange.reset if reset else exchange.close)()

    return script


@pytest.mark.parametrize("tail", [b"", b"HTTP/1.1 2", ANSWER[:-1], ANSWER[:45]])
@pytest.mark.parametrize("reset", [False, True])
def test_an_answer_that_breaks_off_proves_nothing(
    server: Server, sink: AuditApiSink, tail: bytes, reset: bool
) -> None:
    """A close or reset after the request has left is ambiguous, wherever in the answer it comes."""
    server.script = _raw(tail, reset=reset)
    outcome = sink.send(delivery())
    assert isinstance(outcome, Unclear)
    assert not outcome.pauses


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 xyz\r\n\r\n",
        b"\x00" * 1000,
        b"HTTP/1.1 201 Created\r\ncontent-length: -1\r\n\r\n{}",
        b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}",
        b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 201 Created\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 201 Created\r\nx: " + b"y" * 200_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n{}",
    ],
)
def test_what_is_no_http_proves_nothing(server: Server, sink: AuditApiSink, data: bytes) -> None:
    """Bytes that are not one whole response with a readable body are ambiguous."""
    server.script = _raw(data)
    assert isinstance(sink.send(delivery()), Unclear)


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Unclear), (404, Unclear), (500, Unclear), (401, Paused), (429, Paused)]
)
def test_a_torn_body_counts_where_the_body_decides(
    server: Server, sink: AuditApiSink, status: int, kind: type
) -> None:
    """Whether a 400 came from the API only its body tells; 401 and 429 mean the same without one."""
    server.script = _raw(b"HTTP/1.1 %d Said\r\ncontent-length: 99\r\n\r\n{" % status)
    outcome = sink.send(delivery())
    assert type(outcome) is kind
    assert outcome.problem.status == status


def test_a_gzipped_answer_is_read(server: Server, sink: AuditApiSink) -> None:
    """A gateway that compresses unasked does not make every delivery ambiguous."""
    import gzip

    server.script = lambda exchange: exchange.reply(
        201, gzip.compress(b'{"id": "AUD-1"}'), content_encoding="gzip"
    )
    assert sink.send(delivery()) == Sent("AUD-1")


def test_an_interim_answer_is_not_the_answer(server: Server, sink: AuditApiSink) -> None:
    """100 and 103 may precede the answer."""
    server.script = _raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + ANSWER)
    assert sink.send(delivery()) == Sent("AUD-1")


def test_a_refused_connection_is_certainly_not_sent() -> None:
    """Nobody listens: the record may be sent again without a look-up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    sink = AuditApiSink(f"http://127.0.0.1:{port}", "token")
    outcome = sink.send(delivery())
    assert isinstance(outcome, NotSent)
    assert "ConnectionRefusedError" in outcome.problem.reason
    assert isinstance(sink.verify(delivery()), Later)


def test_a_host_without_an_address_is_certainly_not_sent() -> None:
    """A name that does not resolve (RFC 2606 reserves .invalid) is no doubt."""
    outcome = AuditApiSink("https://auditbox.invalid", "token").send(delivery())
    assert isinstance(outcome, NotSent)
    assert "gaierror" in outcome.problem.reason


def test_an_untrusted_certificate_is_certainly_not_sent(tls_server: Server) -> None:
    """TLS is verified, so the token never reaches a server that cannot prove its name."""
    outcome = AuditApiSink(tls_server.url, "token").send(delivery())
    assert isinstance(outcome, NotSent)
    assert "SSLCertVerificationError" in outcome.problem.reason
    assert not tls_server.requests


def test_a_certificate_for_another_name_is_certainly_not_sent(tls_server: Server, certificate: Path) -> None:
    """The right authority is not enough: the name is checked as well."""
    trust = ssl.create_default_context(cafile=certificate)
    sink = AuditApiSink(f"https://[::ffff:127.0.0.1]:{tls_server.port}", "token", ssl_context=trust)
    assert isinstance(sink.send(delivery()), NotSent)
    assert not tls_server.requests


def test_a_server_without_tls_behind_https_is_certainly_not_sent(server: Server) -> None:
    """A failed handshake carries no byte of the request."""
    sink = AuditApiSink(server.url.replace("http:", "https:"), "token", timeout=Timeouts(connect=0.5))
    assert isinstance(sink.send(delivery()), NotSent)


def test_a_silent_handshake_ends_by_the_connect_timeout() -> None:
    """A listener that accepts and says nothing holds no thread for good."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        outcome = AuditApiSink(url, "token", timeout=Timeouts(connect=0.1)).send(delivery())
    assert isinstance(outcome, NotSent)


def test_a_server_that_never_answers_is_left_by_the_read_timeout(server: Server) -> None:
    """Silence after the request is ambiguous."""
    server.script = Exchange.until_gone
    sink = AuditApiSink(server.url, "token", timeout=Timeouts(read=0.1))
    outcome = sink.send(delivery())
    assert isinstance(outcome, Unclear)
    assert outcome.problem.reason in ("no answer: ReadTimeout, TimeoutError", "no answer: TimeoutError")


def _left(server: Server) -> threading.Event:
    """Makes the server silent; the event is set when its client has left."""
    done = threading.Event()

    def script(exchange: Exchange) -> None:
        exchange.until_gone()
        done.set()

    server.script = script
    return done


def test_the_watchdog_breaks_off_what_outlives_the_deadline(server: Server) -> None:
    """The blocked thread returns with an ambiguous outcome, and the server sees its client leave."""
    done = _left(server)
    sink = AuditApiSink(server.url, "token", deadline=0.1)
    outcome = until_done(sink, lambda: sink.send(delivery()))
    assert isinstance(outcome, Unclear)
    assert outcome.problem.reason == "no answer: the deadline of the attempt passed"
    assert done.wait(10)


def test_the_watchdog_breaks_off_tls_as_well(tls_server: Server, tls_sink: AuditApiSink) -> None:
    """The plain socket is shut under the TLS connection that a thread reads."""
    done = _left(tls_server)
    assert isinstance(until_done(tls_sink, lambda: tls_sink.send(delivery())), Unclear)
    assert done.wait(10)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 201 Created\r\ncontent-length: 1000000\r\n\r\n"])
def test_a_drip_ends_by_the_deadline(server: Server, head: bytes) -> None:
    """A server that sends a byte now and then never runs into a phase's timeout, yet the attempt ends."""

    def drip(exchange: Exchange) -> None:
        exchange.raw(head or b"HTTP/1.1 201 Created\r\nx: ")
        pause = threading.Event()
        while not pause.wait(0.01):
            exchange.raw(b"1")

    server.script = drip
    sink = AuditApiSink(server.url, "token", deadline=0.2)
    assert isinstance(until_done(sink, lambda: sink.send(delivery())), Unclear)


def test_a_drip_ends_by_the_deadline_without_a_watchdog(server: Server) -> None:
    """The thread looks at the clock itself between two parts of a body."""

    def drip(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 201 Created\r\ncontent-length: 1000000\r\n\r\n")
        pause = threading.Event()
        while not pause.wait(0.01):
            exchange.raw(b"1")

    server.script = drip
    outcome = AuditApiSink(server.url, "token", deadline=0.2).send(delivery())
    assert isinstance(outcome, Unclear)
    assert "deadline" in outcome.problem.reason


def test_a_drip_on_a_look_up_ends_by_the_deadline(server: Server) -> None:
    """A look-up is watched as an attempt is."""
    done = _left(server)
    sink = AuditApiSink(server.url, "token", deadline=0.1)
    assert isinstance(until_done(sink, lambda: sink.verify(delivery())), Later)
    assert done.wait(10)


def test_a_deadline_that_passes_before_the_first_byte_sends_nothing(server: Server) -> None:
    """Time that went into asking for the token counts; no request leaves afterwards."""
    asked = threading.Event()

    def slow_token() -> str:
        asked.wait(0.05)
        return "token"

    outcome = AuditApiSink(server.url, slow_token, deadline=0.01).send(delivery())
    assert isinstance(outcome, NotSent)
    assert not server.requests


def test_a_request_that_is_not_read_ends_by_the_write_timeout() -> None:
    """A server that accepts and never reads blocks the sender in its write: ambiguous."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        sink = AuditApiSink(url, "token", timeout=Timeouts(write=0.1, read=0.1))
        assert isinstance(sink.send(delivery(size=20_000_000)), Unclear)


def test_an_answer_before_the_end_of_the_request_is_taken(server: Server, sink: AuditApiSink) -> None:
    """A server may refuse by the headers alone and close; its answer is then not lost in the broken pipe."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 429 Said\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                while connection.recv(1 << 20):
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        sink = AuditApiSink(f"http://127.0.0.1:{listener.getsockname()[1]}", "token")
        outcome = sink.send(delivery(size=2_000_000))
        sink.close()
        thread.join(10)
    assert isinstance(outcome, Paused)


def test_a_request_that_meets_the_closing_of_its_connection_is_ambiguous(
    server: Server, sink: AuditApiSink
) -> None:
    """On a connection kept alive the server may have read the request before it closed."""
    sent = []

    def script(exchange: Exchange) -> None:
        sent.append(exchange.number)
        exchange.reply(201, {"id": "AUD-1"}) if len(sent) != 2 else exchange.close()

    server.script = script
    assert isinstance(sink.send(delivery()), Sent)
    assert isinstance(sink.send(delivery()), Unclear)
    assert isinstance(sink.send(delivery()), Sent)
    assert sent == [1, 1, 2]


def test_a_connection_that_the_server_closed_while_idle_is_not_used_again(
    server: Server, sink: AuditApiSink
) -> None:
    """What has visibly been closed causes no ambiguity."""

    def script(exchange: Exchange) -> None:
        exchange.reply(201, {"id": "AUD-1"})
        exchange.close()

    server.script = script
    for _ in range(5):
        assert isinstance(sink.send(delivery()), Sent)
        assert server.ended.acquire(timeout=10)
    assert server.connections == 5


def test_delivery_over_tls(tls_server: Server, tls_sink: AuditApiSink) -> None:
    """A trusted server gets the records, on one connection."""
    assert [tls_sink.send(delivery(n)) for n in range(3)] == [Sent("AUD-1")] * 3
    assert tls_server.connections == 1
