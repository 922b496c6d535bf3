"""The end of the process, while threads can still run: what is under way is brought to an end before it.

A daemon thread that the interpreter's end finds at work is torn out of it, whatever it holds, and CPython can
then wait for ever for one that is gone already (python/cpython#91414). So ours end first. This is registered
when it is imported: handlers that an application registers later run earlier, and their captures count, too.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from weakref import WeakMethod

LONGEST = 5.0
"""Seconds that the end of the process waits for delivery."""

_actions: dict[int, WeakMethod[Callable[[], object]]] = {}
"""By the references' ids: to find one that is gone in a list would take all the longer the more there are."""
_deadline: float | None = None


def register(action: Callable[[], object]) -> None:
    """This bound method is called at the end, if its object still lives; in the order of registration."""
    reference = WeakMethod(action, lambda gone: _actions.pop(id(gone), None))
    _actions[id(reference)] = reference


def has_begun() -> bool:
    """Whether the process is ending: no thread is started any more, and nothing is put off."""
    return _deadline is not None


def remaining() -> float:
    """Seconds that are left for what waits."""
    return LONGEST if _deadline is None else max(0.0, _deadline - time.monotonic())


def _end() -> None:
    global _deadline
    _deadline = time.monotonic() + LONGEST
    for action in [reference() for reference in list(_actions.values())]:
        if action is not None:
            action()


atexit.register(_end)
