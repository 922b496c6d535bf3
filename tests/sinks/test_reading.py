"""Responses: what is read at a glance is what each parser reads, in one piece or in many."""

from __future__ import annotations

import pytest

from auditbox.sinks.exchange import Answer
from auditbox.sinks.reading import ConnectionClosed, NotHttp, Reading, at_a_glance
from auditbox.sinks.reading_h11 import H11Reading
from auditbox.sinks.reading_llhttp import LlhttpReading

LONGEST = 1000
BODY = b'{"id": "AUD-1"}'
WHOLE = b"Content-Length: 15\r\n\r\n" + BODY
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n7\r\n" + BODY[:7] + b"\r\n8\r\n" + BODY[7:] + b"\r\n0\r\n\r\n"

USUAL = {
    "with a length": b"HTTP/1.1 201 Created\r\nDate: Sat, 31 Jan 2026 23:00:00 GMT\r\n" + WHOLE,
    "no spaces and no reason": b"HTTP/1.1 200 \r\ncontent-length:15\r\n\r\n" + BODY,
    "kept open": b"HTTP/1.1 201 Created\r\nConnection: Keep-Alive\r\n" + WHOLE,
    "in chunks": b"HTTP/1.1 201 Created\r\n" + CHUNKS,
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "much of nothing": b"HTTP/1.1 200 OK\r\nVia: a" + b" " * 60_000 + b"b\r\n" + WHOLE,
    "an odd value": b"HTTP/1.1 200 OK\r\nServer: \t\xe9:;\r\n" + WHOLE,
}
UNUSUAL = {
    "another status": b"HTTP/1.1 400 Bad Request\r\n" + WHOLE,
    "another success": b"HTTP/1.1 202 Accepted\r\n" + WHOLE,
    "an interim answer before": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n" + WHOLE,
    "a trailer": b"HTTP/1.1 201 Created\r\n" + CHUNKS[:-2] + b"X: 1\r\n\r\n",
    "an extension of a chunk": b"HTTP/1.1 201 C\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\n1\r\n0\r\n\r\n",
    "the connection ends": b"HTTP/1.1 201 Created\r\nConnection: close\r\n" + WHOLE,
    "a field twice": b"HTTP/1.1 201 Created\r\nVia: a\r\nVia: b\r\n" + WHOLE,
}
PARSERS = [H11Reading, LlhttpReading]


def _read(reading: Reading, pieces: list[bytes]) -> Answer:
    for piece in pieces:
        if reading.feed(piece):
            break
    return reading.answer()


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("response", USUAL.values(), ids=USUAL)
def test_a_glance_sees_what_a_parser_sees(parser: type[Reading], response: bytes) -> None:
    """In one piece and byte by byte: the same answer, whole, and the connection carries another request."""
    glanced = at_a_glance(response, LONGEST)
    assert glanced is not None
    for pieces in ([response], [response[at : at + 1] for at in range(len(response))]):
        reading = parser(LONGEST)
        answer = _read(reading, pieces)
        assert (answer.status, answer.body, answer.flaw) == (glanced.status, glanced.body, glanced.flaw)
        assert answer.headers.get("date", "").lower() == glanced.headers.get("date", "")
        assert (reading.status, reading.whole, reading.reusable) == (glanced.status, True, True)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("response", UNUSUAL.values(), ids=UNUSUAL)
def test_what_takes_thought_is_left_to_the_parser(parser: type[Reading], response: bytes) -> None:
    """It is no less an answer for that, in however many pieces it comes."""
    assert at_a_glance(response, LONGEST) is None
    one, many = parser(LONGEST), parser(LONGEST)
    answer = _read(one, [response])
    assert answer == _read(many, [response[at : at + 1] for at in range(len(response))])
    assert answer.flaw is None
    assert one.reusable is many.reusable is (b"close" not in response)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.0 201 Created\r\n" + WHOLE,
        b"HTTP/1.1 201 Created\r\n" + WHOLE + b"HTTP/1.1 201 Created\r\n",
        b"HTTP/1.1 201 Created\r\n" + WHOLE[:-1],
        b"HTTP/1.1 201 Created\r\n" + CHUNKS + b"x",
        b"HTTP/1.1 201 Created\r\n" + CHUNKS[:-2],
        b"HTTP/1.1 201 Created\r\nContent-Length: 15\r\n" + CHUNKS,
        b"HTTP/1.1 201 Created\r\nContent-Length: +15\r\n\r\n" + BODY,
        b"HTTP/1.1 201 Created\r\nContent-Length: 15\r\nContent-Length: 15\r\n\r\n" + BODY,
        b"HTTP/1.1 201 Created\r\nContent-Length : 15\r\n\r\n" + BODY,
        b"HTTP/1.1 201 Created\r\nVia: a\r\n folded\r\n" + WHOLE,
        b"HTTP/1.1 201 Created\nContent-Length: 15\r\n\r\n" + BODY,
        b"HTTP/1.1 201 Created\r\nVia: a\nContent-Length: 15\r\n\r\n" + BODY,
        b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\n" + WHOLE,
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 1001\r\n\r\n" + bytes(1001),
        b"HTTP/1.1 201 Created\r\n\r\n" + BODY,
        b"HTTP/1.1 201 Created\r\nConnection: Upgrade\r\n" + WHOLE,
        b"",
    ],
)
def test_nothing_in_doubt_is_taken_at_a_glance(response: bytes) -> None:
    """Whatever is not plainly one whole answer."""
    assert at_a_glance(response, LONGEST) is None


@pytest.mark.parametrize("parser", PARSERS)
def test_the_end_of_a_connection_may_be_the_end_of_a_body(parser: type[Reading]) -> None:
    """Where neither a length nor chunks say where it is; elsewhere something is missing."""
    reading = parser(LONGEST)
    assert not reading.feed(b"HTTP/1.1 201 Created\r\n\r\n" + BODY)
    reading.end()
    assert reading.answer() == Answer(201, {}, BODY)
    assert not reading.reusable
    for cut in (
        b"",
        b"HTTP/1.1 201",
        b"HTTP/1.1 201 Created\r\n" + WHOLE[:-1],
        b"HTTP/1.1 201 C\r\n" + CHUNKS[:-2],
    ):
        broken = parser(LONGEST)
        assert not cut or not broken.feed(cut)
        with pytest.raises(ConnectionClosed):
            broken.end()


@pytest.mark.parametrize("parser", PARSERS)
def test_more_than_a_response_ends_the_connection(parser: type[Reading]) -> None:
    """The next request would be answered by what came too much."""
    reading = parser(LONGEST)
    assert reading.feed(b"HTTP/1.1 201 Created\r\n" + WHOLE + b"HTTP/1.1 201 Created\r\n" + WHOLE)
    assert reading.answer().body == BODY
    assert not reading.reusable


@pytest.mark.parametrize("parser", PARSERS)
def test_what_is_no_response_is_said_to_be_none(parser: type[Reading]) -> None:
    """At once, or when its head has no end."""
    with pytest.raises(NotHttp):
        parser(LONGEST).feed(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    endless = parser(LONGEST)
    endless.feed(b"HTTP/1.1 201 Created\r\n")
    with pytest.raises(NotHttp):
        _read(endless, [b"X: %b\r\n" % (b"a" * 1000)] * 200)
