"""What the running task knows: who acts, on which object, in which request.

A scope is a mutable value held by a context variable. Tasks, and threads that copy their context, share the
scope that was current when they started: so ``bind()`` in a view, a dependency or a thread-pool call is
seen by everything in the same request, and never by another one.
"""

from __future__ import annotations

import contextvars
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from auditbox.errors import ConfigurationError, OutsideScope

P = ParamSpec("P")
R = TypeVar("R")

FIELDS = frozenset({"actor", "object", "request", "documents"})


class Scope:
    """Values that hold inside one ``with`` block or one request; outer scopes show through.

    Args:
        values: by their fields; the very dict, so that several scopes may share one.
        is_request: whether this is the scope that bind() writes to.
        joined: whether it belongs to the same request as the one around it, which bind() then writes to too.
    """

    __slots__ = ("is_request", "joined", "parent", "values")

    def __init__(self, values: dict[str, Any], *, is_request: bool = False, joined: bool = False) -> None:
        self.values, self.is_request, self.joined = values, is_request, joined
        self.parent: Scope | None = None

    def __enter__(self) -> Scope:
        self.parent = _current.get()
        _current.set(self)
        return self

    def __exit__(self, *error: object) -> None:
        # Not reset(token): a generator may be finished in another Context than the one it began in, where
        # this scope is not current and nothing may be changed. What was opened inside and never closed goes.
        inner = _current.get()
        while inner is not None and inner is not self:
            inner = inner.parent
        if inner is not None:
            _current.set(self.parent)

    def get(self, field: str) -> Any:
        """The innermost value of a field, or None."""
        scope: Scope | None = self
        while scope is not None:
            if field in scope.values:
                return scope.values[field]
            scope = scope.parent
        return None

    def snapshot(self) -> dict[str, Any]:
        """All fields as they stand now, for a carrier that outlives the scope."""
        outer = self.parent.snapshot() if self.parent else {}
        return {**outer, **self.values}


_current: contextvars.ContextVar[Scope | None] = contextvars.ContextVar("auditbox_scope", default=None)
current_scope = _current.get
"""The scope of the running task, or None."""


@contextmanager
def audit_context(
    *,
    actor: str | Mapping[str, Any] | None = None,
    object: str | Mapping[str, Any] | None = None,
    request: Mapping[str, Any] | None = None,
    documents: Mapping[str, Any] | None = None,
) -> Iterator[Scope]:
    """Everything captured inside the block is about this actor, object and request.

    Blocks nest: what an inner one leaves out shows through from the outer one. The block is seen by
    tasks started inside it; for threads use :func:`carry`.

    Args:
        actor: who acts: an id, or a mapping with ``id``, ``name`` and whatever else is known.
        object: the object's id, or a mapping with ``id``, ``name``, ``objectType``.
        request: what is known of the request (``id``, ``method``, ``route``, ``address``, …).
        documents: joined into the documents of every record captured inside (the innermost block's).
    """
    given = {"actor": actor, "object": object, "request": request, "documents": documents}
    with Scope({field: value for field, value in given.items() if value is not None}) as opened:
        yield opened


def bind(**values: Any) -> None:
    """Adds to the request that is being served: ``bind(actor={"id": "USR-0556-8733"})``.

    Works in a view, a dependency (sync or async), a signal, a thread-pool call: whatever runs in the
    request's own context or in a copy of it. Writes to the nearest request's scope, else to the
    nearest ``audit_context`` block.

    Args:
        values: ``actor``, ``object``, ``request``, ``documents``, as in :func:`audit_context`.

    Raises:
        OutsideScope: there is neither a request nor an ``audit_context`` block.
        ConfigurationError: an unknown name.
    """
    unknown = values.keys() - FIELDS
    if unknown:
        raise ConfigurationError(f"bind({sorted(unknown)[0]}=…): known are {', '.join(sorted(FIELDS))}")
    nearest = _current.get()
    if nearest is None:
        raise OutsideScope
    for scope in list(_of_request(nearest)) or [nearest]:
        scope.values.update(values)


def _of_request(scope: Scope | None) -> Iterator[Scope]:
    """The scopes of the request under way, the innermost first: several where middleware are nested."""
    while scope is not None:
        if scope.is_request:
            yield scope
            if not scope.joined:
                return
        scope = scope.parent


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, bound to the caller's context: for threads and executors, which start without one.

    ::

        threading.Thread(target=carry(work)).start()
        pool.map(carry(work), items)
    """
    captured = contextvars.copy_context()

    @functools.wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        # A Context can be entered once at a time: each call gets a copy of its own.
        return captured.copy().run(function, *args, **kwargs)

    return carried


def current_trace() -> dict[str, str] | None:
    """The ids of the current OpenTelemetry span (W3C Trace Context, hex), or None without one.

    Without an import of ``opentelemetry.trace`` by the application there is no span to find, so nothing is
    imported here.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return {"traceId": f"{span.trace_id:032x}", "spanId": f"{span.span_id:016x}"}
