"""What one caller wants done to an outbox, and how it is told what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from auditbox.encoding.interruptions import is_interruption
from auditbox.errors import OutboxBusy

if TYPE_CHECKING:
    from auditbox.outbox.base import Draft


class Interrupted(OutboxBusy):
    """Interrupted by an exception of the thread that committed: it may or may not have been committed."""

    drafts: Sequence[Draft] = ()
    """What may have been appended; whoever stores it again looks for it first."""


def is_the_threads_own(error: BaseException) -> bool:
    """Whether an error that came up in a job belongs to the thread that does it, and not to the job.

    It does where a signal handler has raised it, or where the thread had no stack left.
    """
    return isinstance(error, RecursionError) or is_interruption(error)


class Job:
    """What one caller wants done: drafts to append, or work to do by itself.

    Args:
        drafts: entries to append, together with those of other jobs.
        work: called with the connection; in a transaction of its own unless ``bare``.
        patient: False asks for an answer without any wait.
    """

    __slots__ = ("bare", "done", "drafts", "error", "patient", "result", "turn", "work")

    def __init__(
        self,
        drafts: Sequence[Draft] = (),
        work: Callable[[Any], Any] | None = None,
        *,
        bare: bool = False,
        patient: bool = True,
    ) -> None:
        self.drafts, self.work, self.bare, self.patient = drafts, work, bare, patient
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.turn: Any = None

    def wake(self) -> None:
        """Lets the thread that waits for this job look again."""
        if self.turn is not None:
            try:
                self.turn.release()
            except RuntimeError:
                return  # awake already

    def finish(self, result: Any = None, error: BaseException | None = None) -> None:
        """Says what came of it."""
        self.result, self.error, self.done = result, error, True
