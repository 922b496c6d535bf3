"""The Audit API as a sink: one POST a record, and a look-up before anything doubtful is sent again."""

from __future__ import annotations

import functools
import math
import os
import ssl
import time
import weakref
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import httpx

from auditbox.api.address import api_root
from auditbox.api.tokens import Token, TokenSource
from auditbox.errors import ConfigurationError, MissingDependency
from auditbox.sinks.answers import NoToken, Result, send_outcome, struck
from auditbox.sinks.base import Delivery, Later, Problem, SendOutcome, Unclear, VerifyOutcome
from auditbox.sinks.clock import ServerClock
from auditbox.sinks.exchange import Answer, Call, Request, Silence
from auditbox.sinks.lookup import look_up
from auditbox.sinks.pool import Pool
from auditbox.sinks.quiet import quiet

if TYPE_CHECKING:
    from auditbox.sinks.flight import Flight
    from auditbox.sinks.reading import Reading

_LONGEST_ANSWER = 1 << 20
_LONGEST_PAGE = 16 << 20
_JSON = (b"Content-Type", b"application/json")


def _positive(name: str, value: float) -> float:
    if isinstance(value, int | float) and 0 < value < math.inf:
        return value
    raise ConfigurationError(f"{name}={value!r}: a number of seconds above 0")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The longest wait for each phase of a request, in seconds; ``deadline`` bounds them together."""

    connect: float = 5.0
    write: float = 10.0
    read: float = 30.0
    pool: float = 5.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            _positive(f"timeout {name}", value)


class AuditApiSink:
    """Posts records to the Audit API. May be shared by threads.

    Nothing touches the network at construction. Redirects are not followed, no environment variable
    (``HTTPS_PROXY``, ``SSL_CERT_FILE``) is read, and TLS certificates are verified.

    Args:
        url: the API's host, ``…/public`` or ``…/public/v1``; https, but for 127.0.0.1, ::1 and localhost.
        token: the API token; a Path that is read, or a callable that is asked, at the first use and again
            after a 401; None pauses delivery until the sink is made with one.
        timeout: the longest wait for each phase of a request.
        deadline: the longest that one attempt can last in all, in seconds. Name resolution and a token
            callable cannot be broken off; whatever they cost, nothing is sent after the deadline.
        ssl_context: the TLS settings instead of the defaults, for a certificate authority of your own.
        transport: what reads the answers: ``"httpx"``, that is httpx's own parser, or ``"fast"``, one in C
            (``pip install 'auditbox[fast]'``). What each answer means is the same.

    Raises:
        ConfigurationError: a value of no use, or the extra of a transport is not installed.
    """

    def __init__(
        self,
        url: str,
        token: TokenSource = None,
        *,
        timeout: Timeouts = Timeouts(),
        deadline: float = 60.0,
        ssl_context: ssl.SSLContext | None = None,
        transport: str = "httpx",
    ) -> None:
        self.destination = api_root(url)
        self.deadline = _positive("deadline", deadline)
        self._records = httpx.URL(f"{self.destination}/audit/records")
        self._source = token
        self._token = Token(token)
        self._headers = [
            (b"Host", self._records.netloc),
            (b"User-Agent", _user_agent()),
            (b"Accept", b"application/json"),
            (b"Accept-Encoding", b"identity"),
        ]
        self._head = "", b""
        self._clock = ServerClock()
        if ssl_context is None and self._records.scheme == "http":
            # A context that trusts nobody costs nothing and is never asked.
            ssl_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.transport = transport
        self._connections = Pool(ssl_context, asdict(timeout), _reading(transport))
        _sinks.add(self)

    def __repr__(self) -> str:
        return f"AuditApiSink({self.destination!r}, {self._token!r})"

    def send(self, delivery: Delivery) -> SendOutcome:
        """Posts the record once; a second time only where a 401 led to another token."""
        expires = time.monotonic() + self.deadline
        try:
            with quiet():
                return send_outcome(self._post(delivery.body, expires))
        except Exception as exc:  # noqa: BLE001 - a sink never raises, and bytes may have left
            return Unclear(Problem(f"unexpected {type(exc).__name__}"))

    def verify(self, delivery: Delivery) -> VerifyOutcome:
        """Looks for the record in the trail of its object; each page has the deadline to itself."""
        try:
            with quiet():
                return look_up(delivery, self._list)
        except Exception as exc:  # noqa: BLE001 - a sink never raises
            return Later(Problem(f"unexpected {type(exc).__name__}"))

    def flight(self) -> Flight:
        """Sends many records at once from one thread."""
        from auditbox.sinks.flight import Flight

        if self._connections.foreign:
            self._leave_to_parent(drop=False)
        return Flight(self._connections, self._prepare, self._judge, self.deadline, _LONGEST_ANSWER)

    def clock(self) -> float:
        """The server's Unix seconds by its last ``Date`` header.

        0 before the first answer: a look-up then reads to the end, as the local clock proves nothing.
        """
        return self._clock.now()

    def abort_overdue(self) -> None:
        """Shuts the sockets of attempts that have outlived the deadline; their threads then return."""
        if not self._connections.foreign:
            self._connections.abort_overdue()

    def check(self) -> None:
        """Asks for the token.

        Raises:
            ConfigurationError: there is none, or it cannot be read or used.
        """
        self._token.get()

    def close(self) -> None:
        """Closes every connection, those in use when their attempt is over; a later send opens new ones."""
        if not self._connections.foreign:
            self._connections.close()

    def reset_after_fork(self) -> None:
        """Forgets the parent's connections in a forked child; fork hooks call it, nobody else needs to."""
        self._leave_to_parent(drop=True)

    def _leave_to_parent(self, *, drop: bool) -> None:
        inherited, self._connections = self._connections, self._connections.anew()
        # A thread that the fork left behind may have held the token's lock.
        self._token = Token(self._source)
        inherited.leave_to_parent(drop=drop)

    def _post(self, body: bytes, expires: float) -> Result:
        length = (b"Content-Length", str(len(body)).encode())
        headers = [*self._headers, _JSON, length]
        return self._authorized(Call(b"POST", self._records, headers, body, expires, _LONGEST_ANSWER))

    def _prepare(self, body: bytes) -> Request | None:
        """A request that a flight can send; None as long as the token would have to be asked for."""
        token = self._token.known
        if token is None:
            return None
        if self._head[0] != token:
            lines = [b"%b: %b\r\n" % header for header in (*self._headers, _JSON, _bearer(token))]
            self._head = token, b"POST %b HTTP/1.1\r\n%b" % (self._records.raw_path, b"".join(lines))
        return Request(b"%bContent-Length: %d\r\n\r\n%b" % (self._head[1], len(body), body), token)

    def _judge(self, result: Answer | Silence, token: str) -> SendOutcome | None:
        """What came of a flight's request; None where another token may be had, which takes a thread."""
        if not isinstance(result, Answer):
            return send_outcome(result)
        if result.status == 401 and self._token.renewable:
            self._token.refuse(token)
            return None
        self._clock.learn(result.headers.get("date"))
        return send_outcome(struck(result, token))

    def _list(self, query: str) -> Result:
        url = self._records.copy_with(query=query.encode())
        headers = [*self._headers, (b"Cache-Control", b"no-cache")]
        expires = time.monotonic() + self.deadline
        return self._authorized(Call(b"GET", url, headers, b"", expires, _LONGEST_PAGE))

    def _authorized(self, call: Call) -> Result:
        try:
            token = self._token.get()
            result = self._exchange(call, token)
            if isinstance(result, Answer) and result.status == 401 and self._token.renewable:
                renewed = self._token.renew(token)
                return result if renewed == token else self._exchange(call, renewed)
            return result
        except ConfigurationError as exc:
            # Raised by Token alone, whose messages never hold what the token is.
            return NoToken(str(exc))

    def _exchange(self, call: Call, token: str) -> Result:
        if self._connections.foreign:
            # A fork in C skips the hooks. Its descriptors may long be other files: they are left alone.
            self._leave_to_parent(drop=False)
        headers = [*call.headers, _bearer(token)]
        result = self._connections.exchange(call._replace(headers=headers))
        if not isinstance(result, Answer):
            return result
        self._clock.learn(result.headers.get("date"))
        return struck(result, token)


def _bearer(token: str) -> tuple[bytes, bytes]:
    return (b"Authorization", b"Bearer " + token.encode())


def _reading(transport: str) -> type[Reading]:
    if transport == "httpx":
        from auditbox.sinks.reading_h11 import H11Reading

        return H11Reading
    if transport != "fast":
        raise ConfigurationError(f"transport={transport!r}: 'httpx' or 'fast'")
    try:
        from auditbox.sinks.reading_llhttp import LlhttpReading
    except ImportError as exc:
        raise MissingDependency("transport='fast' needs an extra: pip install 'auditbox[fast]'") from exc
    return LlhttpReading


@functools.cache
def _user_agent() -> bytes:
    try:
        return f"auditbox/{version('auditbox')}".encode()
    except PackageNotFoundError:
        return b"auditbox"


_sinks: weakref.WeakSet[AuditApiSink] = weakref.WeakSet()


def _after_fork() -> None:
    for sink in list(_sinks):
        sink.reset_after_fork()


os.register_at_fork(after_in_child=_after_fork)
