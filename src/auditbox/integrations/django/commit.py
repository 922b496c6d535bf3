"""Records that wait for the database: a change that is rolled back leaves none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from auditbox.capture.lookup import trail_finder

if TYPE_CHECKING:
    from auditbox.trail import AuditTrail


class AfterCommit:
    """A trail whose captures inside a transaction are stored when it has committed, or not at all.

    Takes the place of a trail: ``AfterCommit().record(…)``, ``@audited(…, trail=after_commit)``, or
    ``"trail": "auditbox.integrations.django.after_commit"`` for ``AuditHandler`` in ``LOGGING``. Everything
    is read, checked and encoded at once; only the write waits. Outside a transaction, and where there is
    no database (``DATABASES = {}``), it is stored at once.

    A process that dies between the commit and the write (some ten microseconds later) loses the record of
    a change that has happened. Where that must not be, capture before the commit, with the trail itself.

    Args:
        trail: the trail, a dotted name, or None for the process's default.
        using: the alias of the database whose transaction counts.
    """

    def __init__(self, trail: AuditTrail | str | None = None, *, using: str = DEFAULT_DB_ALIAS) -> None:
        self._find, self._using = trail_finder(trail), using

    @property
    def fail_closed(self) -> bool:
        """As the trail has it."""
        return self._find().fail_closed

    @property
    def shares_source(self) -> bool:
        """As the trail has it."""
        return self._find().shares_source

    def ready(self) -> None:
        """Raises the OutboxError that a capture would meet now."""
        self._find().ready()

    def record(self, event: str, /, **fields: Any) -> str:
        """As ``AuditTrail.record``; the id is known at once.

        Raises:
            RecordError: a value breaks a rule; nothing will be stored.
            OutboxError: outside a transaction: it could not be stored. After a commit nothing raises: the
                record waits in memory and is retried.
        """
        return self.record_many([{"event": event, **fields}])[0]

    def record_many(self, records: Iterable[Mapping[str, Any]]) -> list[str]:
        """As ``AuditTrail.record_many``."""
        trail = self._find()
        drafts = trail.compose(records)
        if not drafts:
            return []
        if connections[self._using].in_atomic_block:
            # The change has happened then, and other receivers follow: nothing raises.
            transaction.on_commit(partial(trail.store, drafts, done=True), using=self._using, robust=True)
        else:
            trail.store(drafts)
        return [draft.id for draft in drafts]

    async def arecord(self, event: str, /, **fields: Any) -> str:
        """As ``AuditTrail.arecord``: Django has no transactions in async code, so nothing is waited for."""
        return await self._find().arecord(event, **fields)

    def spill(self, error: Exception, event: str, fields: Mapping[str, Any]) -> None:
        """As ``AuditTrail.spill``."""
        self._find().spill(error, event, fields)


after_commit = AfterCommit()
"""The default trail, after the commit of the default database."""
