"""Safe across ``os.fork``: every open outbox lets go before, and either side starts afresh after.

A child that inherits an open WAL connection loses every commit it makes, even when it leaves the inherited
connection alone: its close in the child drops the parent's locks.
"""

from __future__ import annotations

import logging  # noqa: F401 - whose hook for forks must be registered before ours: it then takes its lock after us
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Protocol

from auditbox.encoding import importing


class Forkable(Protocol):
    """What takes part in a fork."""

    def before_fork(self) -> None: ...
    def after_fork_in_parent(self) -> None: ...
    def after_fork_in_child(self) -> None: ...


_members: dict[weakref.ref[Forkable], None] = {}
"""In the order in which they came. A list of them is made in one step, whoever registers or goes meanwhile;
and one that goes is taken out by a call of C, in which no signal handler runs."""
_held: list[Forkable] = []


def register(member: Forkable) -> None:
    """From now on this one takes part in every fork, for as long as it lives."""
    _members[weakref.ref(member, _members.__delitem__)] = None


def under_way() -> bool:
    """Whether a fork has begun, and nobody goes on after it yet."""
    return bool(_held)


_LONGEST_IMPORT = 1.0
_turn = threading.RLock()
"""Forks of several threads take turns: CPython's own lock is taken only after the hooks before a fork."""


def _before() -> None:
    _turn.acquire()
    importing.acquire()
    # What writes behind comes first: it writes into what the others close.
    alive = [member for reference in list(_members) if (member := reference()) is not None]
    _held[:] = sorted(alive, key=lambda member: getattr(member, "last_before_fork", False))
    try:
        _each(_held, lambda member: member.before_fork())
    finally:
        _wait_for_imports()


def _after(action: Callable[[Forkable], None]) -> None:
    held, _held[:] = list(_held), []
    try:
        _each(held, action)
    finally:
        importing.release()
        _turn.release()


def _each(members: Iterable[Forkable], action: Callable[[Forkable], None]) -> None:
    """Of every member, also where that of another one raises, which the interpreter only shows."""
    errors: list[Exception] = []
    for member in members:
        try:
            action(member)
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)
    if errors:
        raise errors[0]


def _wait_for_imports() -> None:
    """Until no other thread is importing: the child would inherit the module's lock, and nobody to free it.

    Our relay imports its HTTP client when it first sends. Bounded, because the import may need what another
    library's hook holds for this very fork.
    """
    deadline = time.monotonic() + _LONGEST_IMPORT
    while any(map(_is_importing, list(sys.modules.values()))) and time.monotonic() < deadline:
        time.sleep(0.001)


def _is_importing(module: object) -> bool:
    spec = getattr(module, "__spec__", None)
    return getattr(spec, "_initializing", False) is True


HOOKS = (_before, _after)
"""In these, or between them, a thread forks."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(lambda member: member.after_fork_in_parent()),
        after_in_child=lambda: _after(lambda member: member.after_fork_in_child()),
    )
