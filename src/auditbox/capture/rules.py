"""Which requests are recorded, and as what: ``routes=``, ``every=``, ``statuses=``."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from auditbox.capture.fields import Fields, check_event
from auditbox.capture.paths import compiled, literals, parameters, shape
from auditbox.capture.request import Request
from auditbox.errors import ConfigurationError

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that ask for no change (RFC 9110, section 9.2.1); ``every=`` leaves them out."""

Chooser = Callable[[Request], "Mapping[str, Any] | str | None"]
Routes = Mapping[str, Any] | Chooser
"""Rules by ``"METHOD /path"``: each an event or a mapping; or what chooses one."""

Statuses = Container[int] | Callable[[int], bool] | int

_FIELDS = ("object", "actor", "summary", "details", "documents", "lane")
_KEYS = frozenset({*_FIELDS, "event", "failed", "statuses"})


class Rule:
    """What to record of a request that was answered.

    Args:
        spec: ``event`` (a constant, or a callable that gets the request), and of ``failed``, ``object``,
            ``actor``, ``summary``, ``details``, ``documents``, ``lane`` and ``statuses`` what is wanted.
        name: where the rule stands, for the errors' texts.
        names: the names that templates may use; None allows any.
        defaults: keys for what the rule leaves out.
    """

    def __init__(
        self,
        spec: Mapping[str, Any] | str,
        name: str,
        names: Iterable[str] | None,
        defaults: Mapping[str, Any],
    ) -> None:
        if not isinstance(spec, str | Mapping):
            raise ConfigurationError(f"{name}: a rule is an event or a mapping such as {{'event': …}}")
        given = {**defaults, **({"event": spec} if isinstance(spec, str) else spec)}
        if unknown := given.keys() - _KEYS:
            raise ConfigurationError(
                f"{name}: unknown key {sorted(map(str, unknown))[0]!r}; known are {', '.join(sorted(_KEYS))}"
            )
        event = given.get("event")
        self._event = event if callable(event) else check_event(f"{name}: event", event)
        self._failed = given.get("failed") and check_event(f"{name}: failed", given["failed"])
        self._accepts = status_test(given.get("statuses"))
        allowed = None if names is None else {*names, "request"}
        self._fields = Fields({field: given.get(field) for field in _FIELDS}, allowed)

    def event(self, request: Request) -> str | None:
        """The event of this request, or None where it is not to be recorded."""
        status = request.status
        if status is not None and self._accepts(status):
            return str(self._event(request)) if callable(self._event) else self._event
        if request.error is not None or (status is not None and status >= 400):
            return self._failed or None
        return None

    def fields(self, request: Request) -> tuple[dict[str, Any], dict[str, str]]:
        """The record's fields, and what could not be found out."""
        return self._fields.resolve({**request.path_params, "request": request}, request)


class Route:
    """A rule for one method and path: ``POST /orders/{order_id}/approve``; ``*`` is any method."""

    def __init__(self, key: str, spec: Mapping[str, Any] | str, defaults: Mapping[str, Any]) -> None:
        method, _, path = key.partition(" ") if isinstance(key, str) else ("", "", "")
        self.method, self.path = method.upper(), path.strip()
        if not self.path.startswith("/") or not (self.method == "*" or self.method.isalpha()):
            raise ConfigurationError(f"routes: {key!r} is not like 'POST /orders/{{order_id}}/approve'")
        self.names = parameters(self.path)
        if len(self.names) != len(set(self.names)) or set("{}") & set(literals(self.path)):
            raise ConfigurationError(f"routes: {key!r}: parameters are {{name}}, each name once")
        self.shape = shape(self.path)
        self._pattern = compiled(self.path)
        self.rule = Rule(spec, f"routes[{key!r}]", self.names, defaults)

    def match(self, request: Request) -> Mapping[str, Any] | None:
        """The path's parameters, or None where the request is another one."""
        if self.method not in ("*", request.method):
            return None
        found = self._pattern.fullmatch(request.path)
        return None if found is None else found.groupdict()


class Rules:
    """All the rules of one middleware.

    Args:
        routes: rules by ``"METHOD /path/{parameter}"``, or a callable that gets the answered request and
            gives a rule or None.
        every: one rule for all other requests that change something.
        statuses: the statuses that are recorded, where a rule does not say: a container, a callable or one
            status. By default 2xx and 3xx but for 307 and 308, which ask for the same request elsewhere.
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
        self._every = None if every is None else Rule(every, "every", None, self._defaults)

    def concern(self, request: Request) -> bool:
        """Whether the request, which is still to be served, may have to be recorded."""
        if (self._every or self._choose) and request.method not in SAFE:
            return True
        return self._choose is not None or any(route.match(request) is not None for route in self._routes)

    def rule(self, request: Request) -> Rule | None:
        """The rule for a request that was answered; tells the request its route and parameters."""
        tail = request.tail
        for route in self._routes:
            params = route.match(request)
            # The framework had the last word on the path: /orders/{id} is not meant by a rule for
            # /orders/export, and the other way round. An inner route knows the end of the path only.
            if params is not None and (tail is None or route.shape.endswith(shape(tail))):
                request.rule_route, request.rule_params = route.path, params
                return route.rule
        if self._choose is not None and (spec := self._choose(request)) is not None:
            return Rule(spec, "routes", None, self._defaults)
        return self._every if request.method not in SAFE else None


def status_test(given: Statuses | None) -> Callable[[int], bool]:
    """Tells whether a status is to be recorded."""
    if given is None:
        return lambda status: 200 <= status < 400 and status not in (307, 308)
    if callable(given):
        return given
    if isinstance(given, int):
        return lambda status: status == given
    if isinstance(given, Container) and not isinstance(given, str | bytes):
        return lambda status: status in given
    raise ConfigurationError(f"statuses={given!r}: such as range(200, 400), {{200, 201}} or a callable")
