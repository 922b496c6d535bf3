"""Capture through a decorator: ``@audited("order.approved", object="{order.id}")``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from auditbox.capture.call import Plan
from auditbox.capture.fields import check_event
from auditbox.capture.wrappers import wrapped
from auditbox.errors import ConfigurationError

if TYPE_CHECKING:
    from auditbox.trail import AuditTrail

Function = TypeVar(
    "Function", bound="Callable[..., Any] | classmethod[Any, ..., Any] | staticmethod[..., Any]"
)


class Decorator(Protocol):
    """Gives back what it gets, typed as it was: parameters, return type, overloads and all."""

    def __call__(self, function: Function, /) -> Function:
        """The audited function."""
        ...


def audited(
    event: str,
    /,
    *,
    object: Any = None,
    failed: str | None = None,
    summary: Any = None,
    details: Any = None,
    documents: Any = None,
    actor: Any = None,
    lane: Any = None,
    trail: AuditTrail | str | None = None,
    fail_closed: bool | None = None,
) -> Decorator:
    """Records each call of a function, once it has done what it does.

    For functions, coroutine functions, generators, async generators (recorded when they are exhausted,
    closed or fail), methods, and classmethods and staticmethods on either side. What the function returns
    or raises stays as it is. Under a web framework's decorator (``@app.post``), not above it.

    Fields are constants, templates (``"{order.id}"``) or callables. Templates over arguments are read
    **before** the call; ``{result…}`` and, for ``failed``, ``{error}`` after it. A callable gets one
    :class:`~auditbox.capture.call.Call` after it. What fails while the record is made is left out of it
    and named in its outcome.

    Args:
        event: the event of a call that returned.
        object: the object's id, or a mapping with ``id``, ``name``, ``objectType``.
        failed: the event of a call that raised or was cancelled; without it such a call is not recorded.
        summary, details, lane: texts.
        documents: named values, or one callable that gives them.
        actor: an id or a mapping.
        trail: a trail, a dotted name (``"shop.audit:trail"``), or None for the process's default.
        fail_closed: True: check first that a record can be stored, and raise instead of calling the
            function if not; None: as the trail has it.

    Raises:
        ConfigurationError: at decoration: a template that is none, a name that the function does not
            have, an object that can never be one (``"order.id"`` without its braces), an event that is
            none, something that cannot be called.
    """
    check_event("event", event)
    if failed is not None:
        check_event("failed", failed)
    fields = {
        "object": object,
        "summary": summary,
        "details": details,
        "documents": documents,
        "actor": actor,
        "lane": lane,
    }

    def decorate(function: Any, /) -> Any:
        if isinstance(function, classmethod | staticmethod):
            return type(function)(decorate(function.__func__))
        _check(function)
        return wrapped(function, Plan(function, event, failed, fields, trail, fail_closed))

    return decorate


def _check(function: Any) -> None:
    if inspect.isclass(function) or not callable(function):
        raise ConfigurationError(
            f"@audited on {function!r}: decorate a function or a method (below @property, not above it)"
        )
