"""A bounded place in memory for records of actions that happened while the outbox could not store them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from auditbox.errors import OutboxError, error_text, shown
from auditbox.outbox import ending, forking
from auditbox.outbox.job import Interrupted

if TYPE_CHECKING:
    from auditbox.outbox.base import Draft

logger = logging.getLogger("auditbox.spill")


class Spill:
    """Keeps drafts until they can be appended; ``kept`` is what it holds.

    The documented exception from the promise: what is in here is lost with the process, and it is
    delivered later than what was captured after it. After a fork it stays with the parent.

    Args:
        append: stores drafts.
        append_missing: stores drafts unless they are stored already.
        size: the most that it holds.
    """

    def __init__(
        self,
        append: Callable[[Sequence[Draft]], None],
        append_missing: Callable[[Sequence[Draft]], None],
        size: int = 1000,
    ) -> None:
        self._append, self._append_missing = append, append_missing
        self._size = size
        self._empty()
        forking.register(self)
        ending.register(self.end)

    def _empty(self) -> None:
        self.kept: deque[Draft] = deque()
        self._doubtful: set[str] = set()
        """The ids of those of which it is not known whether they are stored."""
        self._lock = threading.Lock()

    def before_fork(self) -> None:
        """What is kept could not be stored: a fork does not wait for it."""

    def after_fork_in_parent(self) -> None:
        """It is stored here."""

    def after_fork_in_child(self) -> None:
        """What is kept is the parent's, or both sides would store it."""
        self._empty()

    def keep(
        self,
        draft: Draft | None,
        error: Exception,
        event: str,
        about: object,
        causes: Mapping[str, str] | None = None,
    ) -> None:
        """Keeps a draft, or says what is lost where there is none or no room for it.

        Args:
            draft: the record; None where it cannot be made.
            error: why it is not in the outbox.
            event, about: the record's event and object, for the log.
            causes: by their fields, why values of the record could not be found out.
        """
        reason, thing = error_text(error), shown(about)
        if draft is None or len(self.kept) >= self._size:
            why = "; ".join([reason, *(f"{field}: {cause}" for field, cause in (causes or {}).items())])
            logger.error("audit record of %s about %s is lost: %s", event, thing, why)
            return
        if isinstance(error, Interrupted):
            self._doubtful.add(draft.id)
        self.kept.append(draft)
        logger.warning("audit record of %s about %s waits in memory: %s", event, thing, reason)

    def retry(self) -> None:
        """Appends what is kept, oldest first; leaves it where it is if that still fails."""
        lock = self._lock
        if not self.kept or not lock.acquire(blocking=False):
            return
        try:
            while self.kept:
                draft = self.kept[0]
                self._store(draft)
                self.kept.popleft()
                self._doubtful.discard(draft.id)
        except OutboxError:
            return
        finally:
            lock.release()

    def _store(self, draft: Draft) -> None:
        """Stores a draft; one of which it is in doubt whether it is stored is looked for first."""
        if draft.id in self._doubtful:
            self._append_missing((draft,))
            return
        self._doubtful.add(draft.id)  # until it is known: the exception of a signal handler may fall into it
        try:
            self._append((draft,))
        except Interrupted:
            raise
        except OutboxError:
            self._doubtful.discard(draft.id)
            raise

    def end(self) -> None:
        """At the end of the process: tries once more, and says what is lost with it."""
        self.retry()
        if self.kept:
            logger.error(
                "%d audit records that waited in memory are lost: the outbox could not store them",
                len(self.kept),
            )
