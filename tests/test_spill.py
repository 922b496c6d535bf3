"""Records that wait in memory: stored once, by whoever is to store them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Coroutine, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from auditbox import AuditMiddleware, AuditTrail, audited
from auditbox.errors import OutboxBusy, OutboxFull
from auditbox.outbox.base import Draft
from auditbox.outbox.job import Interrupted

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


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
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


def torn(append: Callable[[Sequence[Draft]], None], *, stores: bool) -> Callable[[Sequence[Draft]], None]:
    """An append whose leader is torn after its commit, or before."""

    def appended(drafts: Sequence[Draft]) -> None:
        if stores:
            append(drafts)
        raise Interrupted

    return appended


def busy(_: object) -> None:
    raise OutboxBusy


@pytest.mark.parametrize("stores", [True, False])
def test_an_action_whose_record_stays_in_doubt_is_recorded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: bool
) -> None:
    """It waits under its own id, and is looked for before it is stored."""
    trail = AuditTrail(tmp_path / "audit.db", extension="shop")
    trail.record("order.sent", object=ORDER)

    @audited("order.approved", object=ORDER, trail=trail)
    def approve() -> None:
        pass

    store = trail.outbox._store
    with monkeypatch.context() as broken:
        broken.setattr(trail, "_append_alone", lambda draft: False)
        broken.setattr(store, "append", torn(store.append, stores=stores))
        broken.setattr(store, "read", busy)
        approve()
    (kept,) = trail._spill.kept
    assert (kept.id in stored(trail.outbox.path)) == stores
    trail.record("order.sent", object=ORDER)
    assert stored(trail.outbox.path)[1] == kept.id
    assert len(stored(trail.outbox.path)) == 3
    trail.close()


@pytest.mark.parametrize("raised", [Interrupted, ZeroDivisionError])
@pytest.mark.parametrize("stores", [True, False])
def test_a_retry_that_is_interrupted_stores_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: type[Exception], stores: bool
) -> None:
    """By its leader's exception, or by one of its own thread, after the commit or before."""
    trail = AuditTrail(tmp_path / "audit.db", extension="shop")
    kept = [spill(trail) for _ in range(2)]
    append = trail._spill._append

    def interrupted(drafts: Sequence[Draft]) -> None:
        if stores:
            append(drafts)
        raise raised

    with monkeypatch.context() as broken:
        broken.setattr(trail._spill, "_append", interrupted)
        try:
            trail._spill.retry()
        except ZeroDivisionError:
            assert raised is ZeroDivisionError
    assert len(trail._spill.kept) == 2
    trail.close()
    assert stored(trail.outbox.path) == kept


async def decorated(trail: AuditTrail, acted: list[int]) -> None:
    @audited("order.approved", object=ORDER, trail=trail)
    async def approve() -> None:
        acted.append(1)

    await approve()


async def served(trail: AuditTrail, acted: list[int]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        acted.append(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: MutableMapping[str, Any]) -> None:
        pass

    routes = {"POST /orders/{order}/approve": {"event": "order.approved", "object": "{order}"}}
    scope = {"type": "http", "method": "POST", "path": f"/orders/{ORDER}/approve", "headers": []}
    await AuditMiddleware(app, trail=trail, routes=routes)(scope, receive, send)


async def called(trail: AuditTrail, acted: list[int]) -> None:
    acted.append(1)
    await trail.arecord("order.approved", object=ORDER)


@pytest.mark.parametrize("act", [decorated, served, called])
@pytest.mark.parametrize("fails", [True, False])
def test_the_record_of_a_cancelled_task_is_stored_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    act: Callable[[AuditTrail, list[int]], Coroutine[Any, Any, None]],
    fails: bool,
) -> None:
    """Cancelled as it waits for another writer. Where its write fails, it waits in memory and is logged."""
    trail = AuditTrail(tmp_path / "audit.db", extension="shop")
    trail.record("order.sent", object=ORDER)
    append, gate, acted = trail.outbox.append, threading.Event(), list[int]()

    def late(drafts: Sequence[Draft]) -> None:
        gate.wait(30)
        if fails:
            raise OutboxFull("no room")
        append(drafts)

    async def main() -> None:
        task = asyncio.create_task(act(trail, acted))
        while not acted:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()

    with monkeypatch.context() as broken:
        broken.setattr(trail.outbox, "try_append", lambda drafts: False)
        broken.setattr(trail.outbox, "append", late)
        asyncio.run(main())
        trail._turns.flush()
    said = f"record of extensions.shop.order.approved about {ORDER!r} waits in memory: OutboxFull: no room"
    assert caplog.text.count(said) == fails
    assert len(trail._spill.kept) == fails
    trail.close()
    assert acted == [1]
    assert len(stored(trail.outbox.path)) == 2
