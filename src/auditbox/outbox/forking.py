"""Safe across ``os.fork``: every open outbox lets go before, and either side starts afresh after.

A child that inherits an open WAL connection loses every commit it makes, even when it leaves the inherited
connection alone: its close in the child drops the parent's locks.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol


class Forkable(Protocol):
    """What takes part in a fork."""

    def before_fork(self) -> None: ...
    def after_fork_in_parent(self) -> None: ...
    def after_fork_in_child(self) -> None: ...


_members: weakref.WeakSet[Forkable] = weakref.WeakSet()
_held: list[Forkable] = []


def register(member: Forkable) -> None:
    """From now on this one takes part in every fork, for as long as it lives."""
    _members.add(member)


_turn = threading.RLock()
"""Forks of several threads take turns: CPython's own lock is taken only after the hooks before a fork."""


def _before() -> None:
    _turn.acquire()
    # What writes behind comes first: it writes into what the others close.
    _held[:] = sorted(_members, key=lambda member: getattr(member, "last_before_fork", False))
    for member in _held:
        member.before_fork()


def _after(action: Callable[[Forkable], None]) -> None:
    held, _held[:] = list(_held), []
    try:
        for member in held:
            action(member)
    finally:
        _turn.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(lambda member: member.after_fork_in_parent()),
        after_in_child=lambda: _after(lambda member: member.after_fork_in_child()),
    )
