"""One audited call: what is read before it, and the record that is made after it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from auditbox.capture.arguments import Arguments
from auditbox.capture.fields import Fields
from auditbox.capture.lookup import trail_finder
from auditbox.encoding import plain
from auditbox.errors import AuditboxError, error_text
from auditbox.trail import AuditTrail

logger = logging.getLogger("auditbox.capture")

_LATER = frozenset({"result", "error"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an audited function, as the callables among its fields get it."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    """The arguments by their parameters' names, defaults included."""
    result: Any = None
    error: BaseException | None = None


class Plan:
    """What to record of the calls of one function; made at decoration."""

    def __init__(
        self,
        function: Callable[..., Any],
        event: str,
        failed: str | None,
        fields: Mapping[str, Any],
        trail: AuditTrail | str | None,
        fail_closed: bool | None,
    ) -> None:
        self.event, self.failed = event, failed
        self.find = trail_finder(trail)
        self._fail_closed = fail_closed
        self._arguments = Arguments(function)
        self._fields = Fields(fields, self._arguments.names | _LATER, _LATER)
        self._reads = self._fields.needs()
        self.source = _source(function)
        self._checked: object = None

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Capture:
        """Reads what templates name before the function may change it.

        Raises:
            RecordError: the event is malformed or undeclared: found at the first call, before it happens.
            OutboxError: ``fail_closed``, and a record could not be stored now.
            NoTrail: ``fail_closed=True``, and there is no trail.
        """
        self._check()
        if not self._reads:
            return Capture(self, self._fields, {})
        arguments = self._arguments.named(args, kwargs)
        return Capture(self, self._fields.read(arguments, plain), arguments)

    def _check(self) -> None:
        try:
            trail = self.find()
        except AuditboxError:
            if self._fail_closed:
                raise
            return
        if trail is not self._checked and isinstance(trail, AuditTrail):
            for event in filter(None, (self.event, self.failed)):
                trail.check_event(event)
            self._checked = trail
        if trail.fail_closed if self._fail_closed is None else self._fail_closed:
            trail.ready()


class Capture:
    """One call under way."""

    __slots__ = ("_arguments", "_fields", "_plan", "_started")

    def __init__(self, plan: Plan, fields: Fields, arguments: Mapping[str, Any]) -> None:
        self._plan, self._fields, self._arguments = plan, fields, arguments
        self._started = perf_counter()

    def done(self, result: Any = None) -> None:
        """Records a call that returned; never raises an Exception."""
        store(self._plan.find, self._plan.event, self._record({"result": result}))

    async def adone(self, result: Any = None) -> None:
        """As done, without blocking the event loop."""
        await astore(self._plan.find, self._plan.event, self._record({"result": result}))

    def failed(self, error: BaseException) -> None:
        """Records a call that raised, where the failure has an event; never raises an Exception."""
        if self._plan.failed is not None:
            store(self._plan.find, self._plan.failed, self._record({"error": error}))

    async def afailed(self, error: BaseException) -> None:
        """As failed, without blocking the event loop."""
        if self._plan.failed is not None:
            await astore(self._plan.find, self._plan.failed, self._record({"error": error}))

    def _record(self, end: dict[str, Any]) -> dict[str, Any]:
        error = end.get("error")
        outcome = outcome_of(perf_counter() - self._started, error, success=error is None)
        values, unresolved = self._fields.resolve(end, Call(self._arguments, **end))
        if unresolved:
            outcome["unresolved"] = unresolved
        return {**values, "outcome": outcome, "source": self._plan.source}


def outcome_of(seconds: float, error: BaseException | None, *, success: bool) -> dict[str, Any]:
    """The outcome of something that took so long and ended so."""
    outcome: dict[str, Any] = {"status": "success" if success else "failure"}
    if error is not None:
        outcome["error"] = error_text(error)
    outcome["durationMs"] = round(seconds * 1000, 3)
    return outcome


def store(find: Callable[[], AuditTrail], event: str, fields: dict[str, Any]) -> None:
    """Captures after the action: what cannot be stored goes to the trail's spill, nothing is raised."""
    trail = _found(find, event)
    if trail is not None:
        try:
            trail.record(event, **fields)
        except Exception as error:  # noqa: BLE001 - after the action nothing raises
            trail.spill(error, event, fields)


async def astore(find: Callable[[], AuditTrail], event: str, fields: dict[str, Any]) -> None:
    """As :func:`store`, without blocking the event loop."""
    trail = _found(find, event)
    if trail is not None:
        try:
            await trail.arecord(event, **fields)
        except Exception as error:  # noqa: BLE001 - after the action nothing raises
            trail.spill(error, event, fields)


def _found(find: Callable[[], AuditTrail], event: str) -> AuditTrail | None:
    try:
        return find()
    except Exception as error:  # noqa: BLE001 - without a trail there is no spill either: say so
        logger.error("audit record of %s is lost: %s", event, error)
        return None


def _source(function: Callable[..., Any]) -> dict[str, Any]:
    name = getattr(function, "__qualname__", None) or repr(function)
    source = {"function": f"{getattr(function, '__module__', None)}.{name}"}
    code = getattr(function, "__code__", None)
    return source if code is None else {**source, "file": code.co_filename, "line": code.co_firstlineno}
