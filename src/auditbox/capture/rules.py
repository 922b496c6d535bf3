"""Which requests are recorded, and as what: ``routes=``, ``every=``, ``statuses=``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from typing import Any

from auditbox.capture.fields import Fields, check_event
from auditbox.capture.paths import braced, compiled, literals, parameters, shape
from auditbox.capture.request import Request, known_names
from auditbox.capture.template import Template
from auditbox.errors import ConfigurationError, RecordError
from auditbox.names import check_object_id

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "WEBSOCKET"})
"""Methods that ask for no change (RFC 9110, section 9.2.1), and websockets; ``every=`` leaves them out."""

METHODS = SAFE | {
    "POST", "PUT", "PATCH", "DELETE", "CONNECT", "QUERY", "LINK", "UNLINK", "PURGE",
    "COPY", "MOVE", "LOCK", "UNLOCK", "MKCOL", "MKCALENDAR", "PROPFIND", "PROPPATCH", "REPORT", "SEARCH",
    "ACL",
}  # fmt: skip
"""Methods that a rule may name: HTTP's, what is common beside them, and WebDAV's; ``*`` is any other one."""

Chooser = Callable[[Request], "Mapping[str, Any] | str | None"]
Routes = Mapping[str, Any] | Chooser
"""Rules by ``"METHOD /path"``: each an event or a mapping; or what chooses one."""

Statuses = Container[int] | Callable[[int], bool] | int

_FIELDS = ("object", "actor", "summary", "details", "documents", "lane")
_BODIES = ("request_body", "response_body")
_KEYS = frozenset({*_FIELDS, *_BODIES, "event", "failed", "statuses", "at"})
_BODY_BYTES = 16 * 1024


class Rule:
    """What to record of a request that was answered.

    Args:
        spec: ``event`` (a constant, or a callable that gets the request), and of ``failed``, ``object``,
            ``actor``, ``summary``, ``details``, ``documents``, ``lane``, ``statuses``, ``at``,
            ``request_body`` and ``response_body`` what is wanted.
        name: where the rule stands, for the errors' texts.
        names: the names that templates may use; None allows any.
        defaults: keys for what the rule leaves out.
        chosen: whether it was chosen for a request that was answered. Then whatever of it works counts; else
            what never can is an error.
    """

    def __init__(
        self,
        spec: Mapping[str, Any] | str,
        name: str,
        names: Iterable[str] | None,
        defaults: Mapping[str, Any],
        *,
        chosen: bool = False,
    ) -> None:
        if not isinstance(spec, str | Mapping):
            raise ConfigurationError(f"{name}: a rule is an event or a mapping such as {{'event': …}}")
        given = {**defaults, **({"event": spec} if isinstance(spec, str) else spec)}
        if unknown := given.keys() - _KEYS:
            raise ConfigurationError(
                f"{name}: unknown key {sorted(map(str, unknown))[0]!r}; known are {', '.join(sorted(_KEYS))}"
            )
        self.name = name
        event = given.get("event")
        self._event = event if callable(event) else check_event(f"{name}: event", event)
        self._failed = given.get("failed") and check_event(f"{name}: failed", given["failed"])
        self._accepts = status_test(given.get("statuses"))
        allowed = None if names is None else {*names, "request"}
        try:
            self._fields = Fields({field: given.get(field) for field in _FIELDS}, allowed, checked=not chosen)
            if not chosen:
                _check_readable(self._fields)
        except ConfigurationError as error:
            raise ConfigurationError(f"{name}: {error}") from error
        self._object = _readable_before(given.get("object"), names)
        self.request_body, self.response_body = (_most(name, key, given.get(key)) for key in _BODIES)
        """The most bytes of a body that are kept; 0: none."""
        self.at_end = _at(name, given.get("at", "start")) or bool(self.response_body)
        """Whether the record is made once the answer has been sent, and not before its first byte."""

    @property
    def events(self) -> list[str]:
        """The events that the rule names."""
        return [event for event in (self._event, self._failed) if isinstance(event, str)]

    def event(self, request: Request) -> str | None:
        """The event of this request, or None where it is not to be recorded."""
        status = request.status
        if status is not None and self._accepts(status):
            event = str(self._event(request)) if callable(self._event) else self._event
            # What broke off has given the client a part of what it asked for: that is no secret of ours.
            return event if request.complete else self._failed or event
        if request.error is not None or (status is not None and status >= 400) or not request.complete:
            return self._failed or None
        return None

    def check_object(self, params: Mapping[str, Any]) -> None:
        """Raises the RecordError of an object that the path alone decides, and that cannot be one."""
        if self._object is not None:
            found = self._object.value(params, "object")
            try:
                check_object_id(found)
            except RecordError as error:
                raise RecordError("object", found, f"{error.rule} ({self._object.source!r})") from error

    def fields(self, request: Request) -> tuple[dict[str, Any], dict[str, str]]:
        """The record's fields, and what could not be found out."""
        # The path's parameters, as the framework converted them: request.path_params without its frame.
        names = {**request.rule_params, **request.routed()[1], "request": request}
        return self._fields.resolve(names, request)


class Route:
    """A rule for one method and path: ``POST /orders/{order_id}/approve``; ``*`` is any method.

    A rule that is None says that such requests are not recorded, whatever else would.
    """

    def __init__(self, key: str, spec: Mapping[str, Any] | str | None, defaults: Mapping[str, Any]) -> None:
        method, _, path = key.partition(" ") if isinstance(key, str) else ("", "", "")
        self.method, self.path = method.upper(), braced(path.strip())
        if not self.path.startswith("/") or not (self.method == "*" or self.method.isalpha()):
            raise ConfigurationError(f"routes: {key!r} is not like 'POST /orders/{{order_id}}/approve'")
        if self.method not in METHODS and self.method != "*":
            raise ConfigurationError(
                f"routes: {key!r}: {self.method!r} is no HTTP method; {_meant(self.method, METHODS)} "
                "('*' is any method)"
            )
        self.names = parameters(self.path)
        if len(self.names) != len(set(self.names)) or set("{}") & set(literals(self.path)):
            raise ConfigurationError(f"routes: {key!r}: parameters are {{name}}, each name once")
        self.shape = shape(self.path)
        self.fullmatch = compiled(self.path).fullmatch
        """Matches a path; its groups are the parameters."""
        self.rule = None if spec is None else Rule(spec, f"routes[{key!r}]", self.names, defaults)


Candidates = list[tuple[Route, Mapping[str, Any]]]
"""Routes whose path fits, the closest first, with the path's parameters."""


class Rules:
    """All the rules of one middleware.

    Args:
        routes: rules by ``"METHOD /path/{parameter}"`` (``<int:parameter>`` will do), None for what is
            never recorded; or a callable that gets the answered request and gives a rule or None.
        every: one rule for all other requests that change something.
        statuses: the statuses that are recorded, where a rule does not say: a container, a callable or one
            status. By default 2xx and 3xx but for 307 and 308, which ask for the same request elsewhere,
            and the 101 of a websocket.
        actor: who acted, where a rule does not say: a template or a callable.

    Raises:
        ConfigurationError: a rule or a template that cannot work.
    """

    def __init__(
        self,
        routes: Routes | None = None,
        every: Mapping[str, Any] | str | None = None,
        statuses: Statuses | None = None,
        actor: Any = None,
    ) -> None:
        self._defaults = {"statuses": statuses, "actor": actor}
        status_test(statuses)
        self._choose = routes if callable(routes) else None
        if routes is not None and not callable(routes) and not isinstance(routes, Mapping):
            raise ConfigurationError(
                f"routes={routes!r}: a mapping of 'METHOD /path' to rules, or a callable"
            )
        named = routes.items() if isinstance(routes, Mapping) else ()
        self._routes = sorted(
            (Route(key, spec, self._defaults) for key, spec in named), key=lambda route: len(route.names)
        )
        self._by_method = {
            route.method: [other for other in self._routes if other.method in ("*", route.method)]
            for route in self._routes
        }
        self._any_method = self._by_method.get("*", [])
        self._every = None if every is None else Rule(every, "every", None, self._defaults)
        self.record_nothing = self._choose is None and not any(True for _ in self)
        """Whether no request is ever recorded."""
        self.want_ends = self._choose is not None or any(rule.at_end for rule in self)
        """Whether any record may wait for the end of its answer."""
        self.want_bodies = any(rule.request_body or rule.response_body for rule in self)
        """Whether any rule asks for bodies."""

    def __iter__(self) -> Iterator[Rule]:
        """The rules that are known before a request comes."""
        yield from (route.rule for route in self._routes if route.rule is not None)
        if self._every is not None:
            yield self._every

    def candidates(self, request: Request) -> Candidates:
        """The routes that this request may be meant by; which one, is the framework's to say."""
        found: Candidates = []
        for route in self._by_method.get(request.method, self._any_method):
            match = route.fullmatch(request.path)
            if match is not None:
                found.append((route, match.groupdict()))
        return found

    def rest(self, request: Request) -> Rule | None:
        """The rule for a request that no route names: ``every=``."""
        return self._every if request.method not in SAFE else None

    def concern(self, request: Request, candidates: Candidates | None = None) -> bool:
        """Whether the request, which is still to be served, may have to be recorded."""
        if candidates is None:
            candidates = self.candidates(request)
        for route, _ in candidates:  # no any(): each request would pay for its generator
            if route.rule is not None:
                return True
        return self._choose is not None or self.rest(request) is not None

    def rule(self, request: Request, candidates: Candidates | None = None) -> Rule | None:
        """The rule for a request that was answered; tells the request its route and parameters."""
        if candidates is None:
            candidates = self.candidates(request)
        framework = request.routed()[0]
        tail: str | None = None
        for route, params in candidates:
            # The framework had the last word on the path: /orders/{id} is not meant by a rule for
            # /orders/export, and the other way round. An inner route knows the end of the path only.
            if framework is not None and framework != route.path:
                tail = tail or request.tail
            if tail is None or route.shape.endswith(shape(tail)):
                request.rule_route, request.rule_params = route.path, params
                return route.rule
        if self._choose is not None and (spec := self._choose(request)) is not None:
            return Rule(spec, "routes", None, self._defaults, chosen=True)
        return self.rest(request)


def _readable_before(spec: Any, names: Iterable[str] | None) -> Template | None:
    """An object that the path's parameters alone decide: it is known before the action."""
    if names is None or not isinstance(spec, str):
        return None
    template = Template(spec)
    return template if template.roots <= {*names} else None


def _check_readable(fields: Fields) -> None:
    """``{request.…}`` reads what requests have; a misspelled name would leave its field out each time."""
    for path in fields.paths():
        if path.root != "request" or not path.steps:
            continue
        (by_key, name), known = path.steps[0], known_names()
        if by_key or name not in known:
            raise ConfigurationError(
                f"{{{path.source}}}: a request has no {name!r}; {_meant(str(name), known)}"
            )


def _meant(given: str, known: Collection[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(given, sorted(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"


def _at(name: str, given: object) -> bool:
    if given not in ("start", "end"):
        raise ConfigurationError(f"{name}: at={given!r}: 'start' or 'end' (of the answer)")
    return given == "end"


def _most(name: str, key: str, given: object) -> int:
    if given is None or isinstance(given, bool):
        return _BODY_BYTES if given else 0
    if isinstance(given, int) and given > 0:
        return given
    raise ConfigurationError(f"{name}: {key}={given!r}: True, or the most bytes that may be kept")


def status_test(given: Statuses | None) -> Callable[[int], bool]:
    """Tells whether a status is to be recorded."""
    if given is None:
        return _succeeds
    if callable(given):
        return given
    if isinstance(given, int):
        return lambda status: status == given
    if isinstance(given, Container) and not isinstance(given, str | bytes):
        return lambda status: status in given
    raise ConfigurationError(f"statuses={given!r}: such as range(200, 400), {{200, 201}} or a callable")


def _succeeds(status: int) -> bool:
    return (200 <= status < 400 and status not in (307, 308)) or status == 101
