"""Captures that go elsewhere than into an outbox, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auditbox.outbox.base import Draft

Interceptor = Callable[["Sequence[Draft]"], None]

interceptor: Interceptor | None = None
"""What takes every capture of this process, if anything does."""


@contextmanager
def intercepted(taker: Interceptor) -> Iterator[None]:
    """Hands every capture of this process to this one instead of an outbox."""
    global interceptor
    outer, interceptor = interceptor, taker
    try:
        yield
    finally:
        interceptor = outer
