"""Captures on event loops: what the tasks of one turn of a loop capture is committed together, at its end.

The first capture of a turn is committed at once and by itself, where nobody else is writing: a lone one costs
what it costs without a loop. Whoever comes later in the same turn waits for its end. Where a commit would
have to wait, for another writer or for the disk, a thread does it, and the loop goes on.

What could not be stored is told to the task that waits for it; where none does any more, it is spilled.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from auditbox.outbox import ending, forking
from auditbox.outbox.job import Interrupted

if TYPE_CHECKING:
    import asyncio

    from auditbox.outbox.aside import Aside
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
        spill: keeps a draft that could not be stored, and says why; from whatever thread.
    """

    def __init__(
        self,
        store: Callable[[Sequence[Draft]], None],
        try_store: Callable[[Sequence[Draft]], bool],
        spill: Callable[[Draft, Exception], None],
    ) -> None:
        self.store, self.try_store, self.spill = store, try_store, spill
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}
        forking.register(self)
        ending.register(self.flush)

    def append(self, draft: Draft) -> asyncio.Future[None] | None:
        """Stores a draft; what is returned must be awaited, and raises if it could not be stored.

        It is stored, or spilled, also when the task that waits for it is cancelled: :meth:`left` must be told
        of whatever ends the wait.

        Returns:
            None where it is stored already.

        Raises:
            OutboxError: it could not be stored.
        """
        loop = _asyncio().get_running_loop()
        turn = self._loops.get(loop) or self._enter(loop)
        return turn.append(draft)

    def left(self, draft: Draft, stored: asyncio.Future[None], raised: BaseException) -> None:
        """A task waits no longer for its draft: this was raised, which may be anything but the answer."""
        with suppress(RuntimeError):  # a closed loop: nobody else is to be told
            stored.cancel()
        if stored.cancelled():
            return  # what becomes of it is seen to when it is known
        error = stored.exception()  # it was known, and the task cancelled before it could be told
        if isinstance(error, Exception) and error is not raised:
            self.spill(draft, error)

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
    """What waits on one event loop. It is called there, but for :meth:`flush` and what commits."""

    __slots__ = ("_aside", "_first", "_loop", "_outcomes", "_turns", "_under_way", "_waiting")

    def __init__(self, turns: Turns, loop: asyncio.AbstractEventLoop) -> None:
        self._turns, self._loop = turns, loop
        self._waiting: deque[Waiting] = deque()
        self._under_way = False
        """Whether the end of a turn is to come: whoever captures until then waits for it."""
        self._first: object = None
        """The task that captured first in this turn; alone, it need not wait for anybody."""
        self._aside: Aside | None = None
        self._outcomes: deque[tuple[list[Waiting], Exception | None]] = deque()
        """What came of batches elsewhere than on the loop, and is to be told on it."""

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
        error: Exception | None = None
        try:
            if not self._turns.try_store(_drafts(batch)) and self._in_thread(batch):
                return
        except Exception as raised:  # noqa: BLE001 - which is told to those that wait
            error = raised
        self._answer(batch, error)
        self._loop.call_soon(self._end)

    def _in_thread(self, batch: list[Waiting]) -> bool:
        """Commits where waiting disturbs nobody; False where there is no thread any more, and it is done."""
        if self._aside is None:
            from auditbox.outbox.aside import Aside

            self._aside = Aside()
        if self._aside.do(partial(self._commit, batch, self._ended)):
            return True
        self._turns.store(_drafts(batch))
        return False

    def _commit(self, batch: list[Waiting], then: Callable[[], None]) -> None:
        """Commits, on whatever thread, and has the loop tell and go on."""
        error: Exception | None = None
        try:
            self._turns.store(_drafts(batch))
        except Exception as raised:  # noqa: BLE001 - which is told to those that wait
            error = raised
        self._outcomes.append((batch, error))
        try:
            self._loop.call_soon_threadsafe(then)
        except RuntimeError:  # a closed loop
            self._tell(self._spill)

    def _ended(self) -> None:
        self._tell(self._answer)
        self._end()

    def flush(self) -> None:
        """Commits all that waits, from whatever thread."""
        if self._aside is not None and (ending.has_begun() or self._loop.is_closed()):
            self._aside.end()
        while batch := self._taken(_MOST):
            self._commit(batch, partial(self._tell, self._answer))
        if self._is_over():
            self._tell(self._spill)

    def _is_over(self) -> bool:
        """Whether the loop tells nobody anything any more."""
        return self._loop.is_closed() or (ending.has_begun() and not self._loop.is_running())

    def _taken(self, most: int) -> list[Waiting]:
        batch: list[Waiting] = []
        with suppress(IndexError):  # flush may take at the same time
            while len(batch) < most:
                batch.append(self._waiting.popleft())
        return batch

    def _tell(self, tell: Callable[[list[Waiting], Exception | None], None]) -> None:
        with suppress(IndexError):  # flush may take at the same time
            while True:
                batch, error = self._outcomes.popleft()
                tell(batch, error)

    def _answer(self, batch: list[Waiting], error: Exception | None) -> None:
        """Lets the tasks go on, each with an exception of its own; what nobody waits for is spilled."""
        for draft, stored in batch:
            if stored.done():
                if error is not None:
                    self._turns.spill(draft, _copy(error, draft))
            elif error is None:
                stored.set_result(None)
            else:
                stored.set_exception(_copy(error, draft))

    def _spill(self, batch: list[Waiting], error: Exception | None) -> None:
        """Nobody is left to be told."""
        if error is not None:
            for draft, _ in batch:
                self._turns.spill(draft, _copy(error, draft))


def _drafts(batch: list[Waiting]) -> list[Draft]:
    return [draft for draft, _ in batch]


def _copy(error: Exception, draft: Draft) -> Exception:
    copied = type(error)(*error.args)
    copied.__cause__ = error
    if isinstance(copied, Interrupted):
        copied.drafts = (draft,)
    return copied
