"""Captures on event loops: together at the end of a turn, never lost, each told its own outcome."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditbox import AuditTrail, audit_context
from auditbox.errors import OutboxFull
from auditbox.outbox.base import Draft
from auditbox.outbox.job import Interrupted
from auditbox.turns import _MOST, Turns
from auditbox.uuid7 import uuid7

ORDER = "ORD-1208-2301-8479"


def draft() -> Draft:
    return Draft(uuid7(), ORDER, b"{}")


class Store:
    """Remembers batches; says no, or fails, as it is told."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: list[int] = []
        self.free = True
        self.error: Exception | None = None
        self.spilled: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def store(self, drafts: Sequence[Draft]) -> None:
        self.gate.wait(30)
        if self.error is not None:
            raise self.error
        self.batches.append([draft.id for draft in drafts])
        self.threads.append(threading.get_ident())

    def try_store(self, drafts: Sequence[Draft]) -> bool:
        if self.free:
            self.store(drafts)
        return self.free

    def spill(self, one: Draft, error: Exception) -> None:
        self.spilled.append(one.id)

    @property
    def ids(self) -> list[str]:
        return [id for batch in self.batches for id in batch]


async def capture(turns: Turns, made: Draft | None = None) -> str:
    """As AuditTrail.arecord."""
    made = made or draft()
    if (stored := turns.append(made)) is not None:
        try:
            await stored
        except BaseException as error:
            turns.left(made, stored, error)
            raise
    return made.id


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def turns(store: Store) -> Turns:
    return Turns(store.store, store.try_store, store.spill)


def test_a_lone_capture_is_stored_at_once(store: Store, turns: Turns) -> None:
    """And so is the next one of the same task: there is nobody to wait for."""

    async def main() -> None:
        for count in range(1, 4):
            assert turns.append(draft()) is None
            assert len(store.batches) == count

    asyncio.run(main())


def test_tasks_of_one_turn_are_committed_together_in_order(store: Store, turns: Turns) -> None:
    """The first by itself, then as many as a turn may keep the loop for."""

    async def main() -> list[str]:
        return await asyncio.gather(*(capture(turns) for _ in range(2 * _MOST + 3)))

    ids = asyncio.run(main())
    assert store.ids == ids
    assert [len(batch) for batch in store.batches] == [1, _MOST, _MOST, 2]


def test_the_loop_goes_on_while_a_commit_must_wait(store: Store, turns: Turns) -> None:
    """A thread waits for the other writer; what is captured meanwhile is committed after it."""
    store.free = False
    store.gate.clear()

    async def main() -> None:
        first = [asyncio.create_task(capture(turns)) for _ in range(3)]
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert store.batches == []
        second = [asyncio.create_task(capture(turns)) for _ in range(2)]
        await asyncio.sleep(0)
        store.gate.set()
        assert store.ids == [] or len(store.batches) > 0
        ids = await asyncio.gather(*first, *second)
        assert store.ids == ids

    asyncio.run(main())
    assert [len(batch) for batch in store.batches] == [3, 2]
    assert threading.get_ident() not in store.threads


@pytest.mark.parametrize("free", [True, False])
def test_what_a_cancelled_task_captured_is_stored(store: Store, turns: Turns, free: bool) -> None:
    """The action has happened, whatever becomes of its task."""
    store.free = free

    async def main() -> None:
        tasks = [asyncio.create_task(capture(turns)) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while len(store.ids) < 5:
            await asyncio.sleep(0.001)

    asyncio.run(main())
    assert len(set(store.ids)) == 5


@pytest.mark.parametrize("free", [True, False])
def test_what_a_cancelled_task_captured_is_spilled_where_it_cannot_be_stored(
    store: Store, turns: Turns, free: bool
) -> None:
    """Nobody else learns of it; the others are told, and nothing is spilled for them."""
    store.free, store.error = free, OutboxFull("no room")
    made = [draft() for _ in range(5)]

    async def main() -> None:
        tasks = [asyncio.create_task(capture(turns, one)) for one in made]
        if free:  # nobody cancels the first: it is told at once
            tasks.insert(0, asyncio.create_task(capture(turns)))
        await asyncio.sleep(0)
        for task in tasks[-3:]:
            task.cancel()
        raised = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in raised[-3:]] == [asyncio.CancelledError] * 3
        assert {type(error) for error in raised[:-3]} == {OutboxFull}
        while len(store.spilled) < 3:
            await asyncio.sleep(0.001)

    asyncio.run(main())
    assert store.spilled == [one.id for one in made[-3:]]
    assert store.ids == []


def test_a_task_that_is_cancelled_before_it_is_told_of_a_failure_spills(store: Store, turns: Turns) -> None:
    """The answer is there already; the cancellation takes its place."""
    store.free, store.error = False, OutboxFull("no room")
    made = draft()

    async def main() -> None:
        stored = turns.append(made)
        assert stored is not None
        task = asyncio.create_task(wait(stored))
        stored.add_done_callback(lambda _: task.cancel())  # registered first, so called first
        with pytest.raises(asyncio.CancelledError):
            await task

    async def wait(stored: asyncio.Future[None]) -> None:
        try:
            await stored
        except BaseException as error:
            turns.left(made, stored, error)
            raise

    asyncio.run(main())
    assert store.spilled == [made.id]


def test_a_loop_that_was_closed_spills_what_cannot_be_stored(store: Store, turns: Turns) -> None:
    """Whether it still waited for its turn, or a thread had it in hand when the loop was closed."""
    loop = asyncio.new_event_loop()
    made = [draft() for _ in range(4)]
    store.free = False
    store.gate.clear()
    tasks = [loop.create_task(capture(turns, one)) for one in made]

    async def turn() -> None:
        await asyncio.sleep(0)

    async def other() -> str:
        return await capture(turns)

    loop.run_until_complete(turn())
    loop.run_until_complete(turn())
    tasks.append(loop.create_task(capture(turns, last := draft())))
    loop.run_until_complete(turn())
    loop.close()
    store.error = OutboxFull("no room")
    store.gate.set()
    turns.flush()
    assert store.spilled == [one.id for one in (*made, last)]
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    del tasks, task
    gc.collect()
    assert len(store.spilled) == 5
    store.error, store.free = None, True
    assert [asyncio.run(other())] == store.ids


def test_a_commit_waits_for_no_work_of_the_application(store: Store, turns: Turns) -> None:
    """All threads of the loop's executor may be waiting for what is captured on the loop."""
    store.free = False

    async def main() -> str:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))

        def work() -> str:
            return asyncio.run_coroutine_threadsafe(capture(turns), loop).result(30)

        return await asyncio.to_thread(work)

    assert [asyncio.run(main())] == store.ids


def test_what_is_in_doubt_is_told_to_each_with_its_own_draft(store: Store, turns: Turns) -> None:
    """So that it can be looked for, whoever keeps it."""
    store.free, store.error = False, Interrupted()
    made = [draft() for _ in range(3)]

    async def main() -> list[str | BaseException]:
        return await asyncio.gather(*(capture(turns, one) for one in made), return_exceptions=True)

    assert [getattr(error, "drafts", None) for error in asyncio.run(main())] == [(one,) for one in made]


def test_each_caller_gets_an_exception_of_its_own(store: Store, turns: Turns) -> None:
    """With the same text; and the next capture starts anew."""

    async def main() -> list[BaseException | str]:
        store.error = OutboxFull("no room")
        raised = await asyncio.gather(*(capture(turns) for _ in range(6)), return_exceptions=True)
        store.error = None
        await capture(turns)
        return raised

    raised = asyncio.run(main())
    assert [str(error) for error in raised] == ["no room"] * 6
    assert all(type(error) is OutboxFull for error in raised)
    assert len({id(error) for error in raised}) == 6
    assert len(store.ids) == 1


def test_a_loop_that_was_closed_leaves_nothing_behind(store: Store, turns: Turns) -> None:
    """What waited for a turn that never ends is stored by a flush, or by the next loop's first capture."""
    for ending in (turns.flush, lambda: asyncio.run(capture(turns))):
        loop = asyncio.new_event_loop()
        made = [draft() for _ in range(3)]

        async def main(made: list[Draft] = made) -> None:
            for one in made:
                asyncio.create_task(wait(one))  # noqa: RUF006 - nobody waits for it
            await asyncio.sleep(0)
            asyncio.get_running_loop().stop()

        async def wait(one: Draft) -> None:
            if (stored := turns.append(one)) is not None:
                await stored

        store.free = False
        store.gate.set()
        task = loop.create_task(main())
        loop.run_forever()
        for pending in asyncio.all_tasks(loop):
            pending._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
        del task
        store.free = True
        ending()
        assert {one.id for one in made} <= set(store.ids)


def test_loops_of_several_threads_share_a_trail(tmp_path: Path) -> None:
    """Nothing is lost or doubled."""
    with AuditTrail(tmp_path / "audit.db", extension="shop") as trail:
        ids: list[str] = []

        async def main() -> None:
            found = await asyncio.gather(*(trail.arecord("order.sent", object=ORDER) for _ in range(100)))
            ids.extend(found)

        threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(ids)) == trail.status()["captured"] == 400


@pytest.mark.parametrize("durability", ["crash", "power", "none"])
def test_every_durability_stores_what_a_thousand_tasks_capture(tmp_path: Path, durability: str) -> None:
    """When the last of them goes on, all of it is stored; with "none", after a close."""

    async def main() -> None:
        async with AuditTrail(tmp_path / "audit.db", extension="shop", durability=durability) as trail:
            await asyncio.gather(*(trail.arecord("order.sent", object=ORDER) for _ in range(1000)))
            if durability != "none":
                assert trail.status()["captured"] == 1000

    asyncio.run(main())
    with AuditTrail(tmp_path / "audit.db", extension="shop") as trail:
        assert trail.status()["captured"] == 1000


def test_the_context_is_that_of_the_call(tmp_path: Path) -> None:
    """Not that of the turn's end, when other tasks have run."""
    from auditbox.testing import capture as captured

    async def one(trail: AuditTrail, order: str) -> None:
        with audit_context(object=order):
            await trail.arecord("order.sent")

    async def main(trail: AuditTrail) -> None:
        await asyncio.gather(*(one(trail, f"ORD-0000-0000-{number:04}") for number in range(50)))

    trail = AuditTrail(tmp_path / "audit.db", extension="shop")
    with captured() as records:
        asyncio.run(main(trail))
    assert [record.object.id for record in records] == [f"ORD-0000-0000-{number:04}" for number in range(50)]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.parametrize("durability", ["crash", "power"])
def test_a_fork_stores_what_waits_once(tmp_path: Path, durability: str) -> None:
    """By the parent; the child captures on a loop, and with a thread, of its own."""
    trail = AuditTrail(tmp_path / "audit.db", extension="shop", durability=durability)

    async def main() -> int:
        await trail.arecord("order.sent", object=ORDER)
        tasks = [asyncio.create_task(trail.arecord("order.sent", object=ORDER)) for _ in range(5)]
        await asyncio.sleep(0)
        pid = os.fork()
        if pid == 0:
            os._exit(_in_child(trail))
        await asyncio.gather(*tasks)
        return pid

    pid = asyncio.run(main())
    assert os.waitpid(pid, 0)[1] == 0
    assert trail.status()["captured"] == 6 + 3
    trail.close()


def _in_child(trail: AuditTrail) -> int:
    failed: list[BaseException] = []

    def run() -> None:
        async def main() -> None:
            await asyncio.gather(*(trail.arecord("order.sent", object=ORDER) for _ in range(3)))

        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - told by the status
            failed.append(error)

    thread = threading.Thread(target=run)  # the parent's loop still counts as running on this one
    thread.start()
    thread.join(30)
    return 1 if failed or thread.is_alive() else 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8), st.booleans(), st.booleans(), st.booleans()), max_size=12))
def test_every_capture_is_stored_once_and_told_the_truth(plan: list[tuple[int, bool, bool, bool]]) -> None:
    """However turns, other writers, failures and cancellations fall together."""
    store = Store()
    turns = Turns(store.store, store.try_store, store.spill)
    made: list[Draft] = []

    async def main() -> list[str | BaseException]:
        tasks: list[asyncio.Task[str]] = []
        for count, free, fails, cancels in plan:
            store.free, store.error = free, OutboxFull("no room") if fails else None
            drafts = [draft() for _ in range(count)]
            made.extend(drafts)
            fresh = [asyncio.create_task(capture(turns, one)) for one in drafts]
            await asyncio.sleep(0)
            if cancels:
                fresh[-1].cancel()
            tasks += fresh
            await asyncio.sleep(0)
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(main())
    turns.flush()
    told = [one.id for one, outcome in zip(made, outcomes, strict=True) if outcome == one.id]
    failed = [one.id for one, outcome in zip(made, outcomes, strict=True) if isinstance(outcome, OutboxFull)]
    assert len(store.ids) == len(set(store.ids))
    assert set(told) <= set(store.ids)
    assert sorted([*store.ids, *store.spilled, *failed]) == sorted(one.id for one in made)
    assert all(isinstance(outcome, (str, OutboxFull, asyncio.CancelledError)) for outcome in outcomes)


def test_the_thread_of_a_loop_does_not_outlive_its_process(tmp_path: Path) -> None:
    """Idle or not, whether the loop was closed or is left running: what was captured is stored."""
    program = """
import asyncio, sys, threading, auditbox
trail = auditbox.AuditTrail(sys.argv[1], extension="shop", durability="power")

def capture():
    return trail.arecord("order.sent", object="ORD-1208-2301-8479")

asyncio.run(capture())
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
asyncio.run_coroutine_threadsafe(capture(), loop).result()
for _ in range(3):
    asyncio.run_coroutine_threadsafe(capture(), loop)
stopped = asyncio.new_event_loop()
task = stopped.create_task(capture())
stopped.run_until_complete(asyncio.sleep(0))
assert any(thread.name == "auditbox-aside" for thread in threading.enumerate())
"""
    path = tmp_path / "audit.db"
    ended = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    with AuditTrail(path, extension="shop") as trail:
        assert trail.status()["captured"] in range(3, 7)
