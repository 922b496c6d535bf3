"""What is known of one HTTP request, whatever carries it (ASGI, WSGI)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any

from auditbox.capture.address import Proxies
from auditbox.capture.paths import whole_template

_LONGEST_ID = 128
_LONGEST_TEXT = 512
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


class Headers(dict[str, str]):
    """Headers by their names in small letters, found by a name in any."""

    def __missing__(self, name: str) -> str:
        if (lowered := name.lower()) != name and lowered in self:
            return self[lowered]
        raise KeyError(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As every mapping's, without an exception for what is absent."""
        return self[name] if name in self or name.lower() in self else default


class Request(ABC):
    """One request, as the callables of a rule get it: once the application has answered it.

    What carries it makes a class of it, with :meth:`routed` and the two that read headers and peer.

    Args:
        method: in capitals.
        path: the path as the application sees it, below ``root``.
        root: what a server or a mount took off before the application (ASGI's ``root_path``).
        scope: the ASGI scope or WSGI environment itself, for whatever is not here.
        proxies: whose word about the client's address counts.
    """

    method: str
    path: str
    root: str
    scope: Mapping[str, Any]
    # As the class's own until they are known: each request would pay for setting them.
    status: int | None = None
    """The answer's status; 500 where the application raised; None while there is none."""
    error: BaseException | None = None
    """What the application raised, if it did."""
    complete = True
    """False where the answer broke off, or none was given."""
    bytes_out: int | None = None
    """Bytes of the answer's body: as its Content-Length announces, or as they were sent."""
    concerned = False
    """Whether a rule may want this request."""
    unresolved: Mapping[str, str] = {}
    """What could not be found out about it, by the record's field, and why."""
    rule_route: str | None = None
    rule_params: Mapping[str, Any] = {}
    _read: Mapping[str, str] | None = None

    def __init__(self, method: str, path: str, root: str, scope: Mapping[str, Any], proxies: Proxies) -> None:
        self.method, self.path, self.root, self.scope = method, path, root, scope
        self._proxies = proxies
        self._started = perf_counter()

    def routed(self) -> tuple[str | None, Mapping[str, Any]]:
        """What the framework knows: the route's template, or the end of it, or None; and the parameters."""
        return None, {}

    @abstractmethod
    def _read_headers(self) -> Mapping[str, str]:
        """The headers, by their names in small letters."""

    @abstractmethod
    def _peer(self) -> str | None:
        """The address at the other end of the connection."""

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path} {self.status or ''}>"

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, by names in small or other letters; several of one name are joined with a comma."""
        if self._read is None:
            self._read = self._read_headers()
        return self._read

    @property
    def address(self) -> str | None:
        """The client's address; behind proxies only where they are trusted."""
        peer = self._peer()
        return self._proxies.client(peer, self.headers) if self._proxies.trusting else peer

    @property
    def user_agent(self) -> str | None:
        """The client's own name for itself."""
        return self.headers.get("user-agent", "")[:_LONGEST_TEXT] or None

    @property
    def id(self) -> str | None:
        """``x-request-id``, else the trace id of ``traceparent`` (W3C), else ``mpt-task-id``."""
        headers = self.headers
        if given := headers.get("x-request-id", "").strip():
            return given[:_LONGEST_ID]
        if trace := _TRACEPARENT.fullmatch(headers.get("traceparent", "").strip()):
            return trace[1]
        return headers.get("mpt-task-id", "").strip()[:_LONGEST_ID] or None

    @property
    def route(self) -> str:
        """The route's template, ``/orders/{order_id}/approve``; the path where none is known."""
        return self.root + (self.rule_route or self._template() or self.path)

    def _template(self) -> str | None:
        tail, params = self.routed()
        return None if tail is None else whole_template(tail, self.path, params)

    @property
    def tail(self) -> str | None:
        """The end of the route's template, as the framework knows it; None where it does not fit the path."""
        tail, params = self.routed()
        return tail if tail is not None and whole_template(tail, self.path, params) is not None else None

    @property
    def path_params(self) -> Mapping[str, Any]:
        """The path's parameters, as the framework converted them."""
        return {**self.rule_params, **self.routed()[1]}

    @property
    def seconds(self) -> float:
        """How long ago the request came."""
        return perf_counter() - self._started

    @property
    def milliseconds(self) -> float:
        """The same as records say it."""
        return round((perf_counter() - self._started) * 1000, 3)

    def unresolve(self, field: str, why: str) -> None:
        """Notes what could not be found out; the record says so."""
        self.unresolved = {**self.unresolved, field: why}

    def info(self) -> dict[str, Any]:
        """The ``request`` of a record; what is unknown is absent."""
        known: dict[str, Any] = {
            "method": self.method,
            "route": self.route[:_LONGEST_TEXT],
            "path": (self.root + self.path)[:_LONGEST_TEXT],
        }
        if (given := self.id) is not None:
            known["id"] = given
        if self.status is not None:
            known["status"] = self.status
            known["durationMs"] = self.milliseconds
        if (address := self.address) is not None:
            known["address"] = address
        if agent := self.headers.get("user-agent"):
            known["userAgent"] = agent[:_LONGEST_TEXT]
        return known


def known_names() -> set[str]:
    """What a template may read of a request, whatever carries it."""
    names: set[str] = set()
    kinds = [Request]
    while kinds:
        kind = kinds.pop()
        names.update(dir(kind), kind.__annotations__)
        kinds += kind.__subclasses__()
    return {name for name in names if not name.startswith("_")}


class LiveInfo(Mapping[str, Any]):
    """``Request.info()`` for captures inside the request: read when needed, as far as it is known then."""

    _seen: object = None
    _info: Mapping[str, Any] = {}

    def __init__(self, request: Request) -> None:
        self.request = request

    def _now(self) -> Mapping[str, Any]:
        seen = self.request.status, self.request.routed()[0]
        if seen != self._seen:
            self._info, self._seen = self.request.info(), seen
        return self._info

    def __getitem__(self, name: str) -> Any:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def __bool__(self) -> bool:
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)
