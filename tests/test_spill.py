"""Records that wait in memory: stored once, by whoever is to store them."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from auditbox import AuditTrail
from auditbox.errors import OutboxFull

ORDER = "ORD-1208-2301-8479"


def stored(path: Path) -> list[str]:
    """The ids in an outbox, oldest first."""
    db = sqlite3.connect(path)
    ids = [id for (id,) in db.execute("SELECT id FROM entry ORDER BY seq")]
    db.close()
    return ids


def spill(trail: AuditTrail, error: Exception | None = None) -> str:
    """Has a record wait in memory; its id."""
    trail.spill(error or OutboxFull("no room"), "order.approved", {"object": ORDER})
    return trail._spill.kept[-1].id


def test_after_a_fork_what_waits_is_stored_by_the_parent_alone(tmp_path: Path) -> None:
    """The child drops its copy without a word about it, and captures as ever."""
    trail = AuditTrail(tmp_path / "audit.db", extension="shop")
    trail.record("order.sent", object=ORDER)
    kept = [spill(trail) for _ in range(3)]
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            trail.record("order.sent", object=ORDER)
            trail.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert not set(kept) & set(stored(trail.outbox.path))
    trail.close()
    ids = stored(trail.outbox.path)
    assert len(ids) == len(set(ids)) == 1 + 1 + 3
    assert ids[-3:] == kept
