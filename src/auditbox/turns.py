"""Captures on event loops: what the tasks of one turn of a loop capture is committed together, at its end.

The first capture of a turn is committed at once and by itself, where nobody else is writing: a lone one costs
what it costs without a loop. Whoever comes later in the same turn waits for its end. Where a commit would
have to wait, for another writer or for the disk, a thread does it, and the loop goes on.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

from auditbox.outbox import ending, forking

if TYPE_CHECKING:
    import asyncio

    from auditbox.outbox.base import Draft

_MOST = 24
"""Captures that one turn commits and answers. More would keep the loop from everything else for longer: those
that are answered all go on in the next turn."""


@functools.cache
def _asyncio() -> ModuleType:
    """Where a loop runs it is there already, and elsewhere nobody needs it."""
    import asyncio

    return asyncio


Waiting = tuple["Draft", "asyncio.Future[None]"]


class Turns:
    """Appends for the tasks of any event loop. One per trail.

    Args:
        store: stores drafts, all or none; may wait.
        try_store: the same, but False at once where it would have to wait.
    """

    def __init__(
        self, store: Callable[[Sequence[Draft]], None], try_store: Callable[[Sequence[Draft]], bool]
    ) -> None:
        self.store, self.try_store = store, try_store
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}
        forking.register(self)
        ending.register(self.flush)

    def append(self, draft: Draft) -> asyncio.Future[None] | None:
        """Stores a draft; what is returned must be awaited, and raises if it could not be stored.

        It is stored, too, when the task that waits for it is cancelled.

        Returns:
            None where it is stored already.

        Raises:
            OutboxError: it could not be stored.
        """
        loop = _asyncio().get_running_loop()
        turn = self._loops.get(loop) or self._enter(loop)
        return turn.append(draft)

    def flush(self) -> None:
        """Commits what waits for the end of a turn, which a loop that was stopped or closed never sees."""
        for turn in list(self._loops.values()):
            turn.flush()

    def before_fork(self) -> None:
        """Commits what waits, or both sides would."""
        self.flush()

    def after_fork_in_parent(self) -> None:
        """The loops go on here."""

    def after_fork_in_child(self) -> None:
        """The tasks that wait are the parent's."""
        self._loops = {}

    def _enter(self, loop: asyncio.AbstractEventLoop) -> _Loop:
        self.flush()
        self._loops = {known: turn for known, turn in self._loops.items() if not known.is_closed()}
        entered = self._loops[loop] = _Loop(self, loop)
        return entered


class _Loop:
    """What waits on one event loop. All but :meth:`flush` is called on it."""

    __slots__ = ("_first", "_loop", "_turns", "_under_way", "_waiting")

    def __init__(self, turns: Turns, loop: asyncio.AbstractEventLoop) -> None:
        self._turns, self._loop = turns, loop
        self._waiting: deque[Waiting] = deque()
        self._under_way = False
        """Whether the end of a turn is to come: whoever captures until then waits for it."""
        self._first: object = None
        """The task that captured first in this turn; alone, it need not wait for anybody."""

    def append(self, draft: Draft) -> asyncio.Future[None] | None:
        """See :meth:`Turns.append`."""
        if not self._waiting:
            task = _asyncio().current_task()
            if not self._under_way:
                self._under_way, self._first = True, task
                self._loop.call_soon(self._end)
            if task is self._first and self._turns.try_store((draft,)):
                return None
        stored = self._loop.create_future()
        self._waiting.append((draft, stored))
        return stored

    def _end(self) -> None:
        """The end of a turn: commits what has come in it."""
        self._under_way, self._first = False, None
        if not (batch := self._taken(_MOST)):
            return
        self._under_way = True
        drafts = [draft for draft, _ in batch]
        try:
            if not self._turns.try_store(drafts) and self._in_thread(batch, drafts):
                return
            _answer(batch)
        except Exception as error:  # noqa: BLE001 - which is told to those that wait
            _answer(batch, error)
        self._loop.call_soon(self._end)

    def _in_thread(self, batch: list[Waiting], drafts: list[Draft]) -> bool:
        """Commits where waiting disturbs nobody; False where there is no thread any more, and it is done."""
        try:
            done = self._loop.run_in_executor(None, self._turns.store, drafts)
        except RuntimeError:  # the loop's executor has shut down
            self._turns.store(drafts)
            return False
        done.add_done_callback(lambda done: self._ended(batch, done))
        return True

    def _ended(self, batch: list[Waiting], done: asyncio.Future[Any]) -> None:
        if done.cancelled():  # with its executor, before it began
            self._waiting.extendleft(reversed(batch))
        else:
            _answer(batch, done.exception())
        self._end()

    def flush(self) -> None:
        """Commits all that waits, from whatever thread."""
        while batch := self._taken(_MOST):
            error: Exception | None = None
            try:
                self._turns.store([draft for draft, _ in batch])
            except Exception as raised:  # noqa: BLE001 - which is told to those that wait
                error = raised
            with suppress(RuntimeError):  # a closed loop: nobody is left to be told
                self._loop.call_soon_threadsafe(_answer, batch, error)

    def _taken(self, most: int) -> list[Waiting]:
        batch: list[Waiting] = []
        with suppress(IndexError):  # flush may take at the same time
            while len(batch) < most:
                batch.append(self._waiting.popleft())
        return batch


def _answer(batch: list[Waiting], error: BaseException | None = None) -> None:
    """Lets the tasks go on, each with an exception of its own."""
    for _, stored in batch:
        if stored.done():  # cancelled meanwhile
            continue
        if error is None:
            stored.set_result(None)
        else:
            stored.set_exception(_copy(error))


def _copy(error: BaseException) -> BaseException:
    copied = type(error)(*error.args)
    copied.__cause__ = error
    return copied
