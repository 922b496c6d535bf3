"""The table of transitions: the model loses, doubles and reorders nothing, and the SQLite code agrees."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from auditbox.outbox import transitions
from auditbox.outbox.base import Draft, Exchanged, Look, Now
from auditbox.outbox.mark import Mark, Sent
from auditbox.outbox.rows import relay_checksum
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.relay.window import Window

from .machine import VERIFY_AFTER, DeliveryMachine, World, run_at_random
from .model import ModelMark, ModelOutbox

RUNS = int(os.environ.get("AUDITBOX_MODEL_RUNS", "4000"))
"""Random runs of the model: about one in a millisecond."""


class Modelled(ModelOutbox):
    """The model by itself, with the states that a power cut may bring back: those since the last sync."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[ModelOutbox] = []
        self.sync()

    def exchange(self, *arguments: Any, **options: Any) -> Exchanged:  # type: ignore[override]
        before = self.reserved
        exchanged = super().exchange(*arguments, **options)
        if self.reserved != before:
            self.sync()
        return exchanged

    def settle(self, epoch: int, settlements: list[Any], now: Now, longest_wait: float) -> Exchanged:
        return self.exchange(epoch, settlements, 0, now, longest_wait)

    def sync(self) -> None:
        self.history = [self.copy()]

    def commit(self) -> None:
        self.history.append(self.copy())

    def lose_power(self, choose: Callable[[int], int]) -> None:
        self.commit()
        noted = self.notes.sent if choose(2) else None
        self.come_back(choose(len(self.history)))
        self.notes.sent = noted

    def come_back(self, number: int) -> None:
        vars(self).update(vars(self.history[number]))
        self.notes.sent = None  # the kernel's memory
        self.sync()
        if self.clock is not None:
            self.recover()

    def known(self) -> set[str]:
        return self.forgotten | {draft.id for draft in self.entries.values()}

    def dead(self) -> list[tuple[int, str, str]]:
        return [
            (seq, self.entries[seq].id, row.lane) for seq, row in self.open.items() if row.state == "dead"
        ]

    def replay(self, letter: tuple[int, str, str], now: Now) -> bool:  # type: ignore[override]
        return super().replay(letter[0], now)

    def discard(self, letter: tuple[int, str, str], now: Now) -> None:  # type: ignore[override]
        super().discard(letter[0], now)

    def verify(self) -> None:
        for row in self.open.values():
            live = [
                r
                for r in self.open.values()
                if r.lane == row.lane and r.state in ("sending", "verify", "retry")
            ]
            assert len(live) <= 1, "two live rows in one lane"

    def close(self) -> None:
        pass


class BothMarks:
    """Notes both, and says what both say."""

    def __init__(self, real: Mark | None, model: ModelMark) -> None:
        assert real is not None
        self.real, self.model = real, model

    def note(self, sent: Sent) -> bool:
        noted, expected = self.real.note(sent), self.model.note(sent)
        assert noted == expected
        return noted

    def holds(self) -> bool:
        held = self.real.holds()
        assert held == self.model.holds()
        return held

    def close(self) -> None:
        self.real.close()


class Lockstep:
    """The model and the SQLite code, asked the same and compared after every step."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.copies: list[Path] = []
        self.model, self.reader = Modelled(), None
        self.start(self.new_path())
        self.sync()

    def new_path(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder.name)) / "audit.db"

    def start(self, path: Path) -> None:
        if self.reader is not None:
            self.reader.close()
            self.real.close()
        self.path, self.real = path, SqliteOutbox(path, keep_delivered=1e12)
        self.reader: sqlite3.Connection | None = None
        self.real.last_seq()

    def copy(self) -> Path:
        """Database and WAL as they are, between two transactions."""
        target = self.new_path()
        for suffix in ("", "-wal"):
            shutil.copy(f"{self.path}{suffix}", f"{target}{suffix}")
        return target

    def sync(self) -> None:
        self.model.sync()
        self.copies = [self.copy()]

    def commit(self) -> None:
        self.model.commit()
        self.copies.append(self.copy())

    def lose_power(self, choose: Callable[[int], int]) -> None:
        self.commit()
        number = choose(len(self.copies))
        self.model.come_back(number)
        self.start(self.copies[number])
        self.copies = [self.copy()]

    def known(self) -> set[str]:
        return self.model.known()

    def append(self, drafts: list[Draft]) -> None:
        self.real.append(drafts)
        self.model.append(drafts)

    def take_over(self, now: Now, verify_after: float, clock: str | None = None) -> int:
        epoch = self.real.take_over(now, verify_after, clock)
        assert epoch == self.model.take_over(now, verify_after, clock)
        return epoch

    def settle(self, epoch: int, settlements: list[Any], now: Now, longest_wait: float) -> Exchanged:
        return self.exchange(epoch, settlements, 0, now, longest_wait)

    def exchange(self, *arguments: Any, **options: Any) -> Exchanged:
        reserved = self.model.reserved
        try:
            expected = self.model.exchange(*arguments, **options)
        except Exception as error:
            try:
                self.real.exchange(*arguments, **options)
            except type(error):
                raise error from None
            raise AssertionError("only the model refused") from error
        found = self.real.exchange(*arguments, **options)
        assert found == expected
        if self.model.reserved != reserved:  # and synced
            self.copies = [self.copy()]
        return found

    @property
    def name(self) -> str:
        return self.real.name

    @property
    def reserved(self) -> int:
        """As far as this process has made sure of it."""
        return self.real.reserved

    def look(self, *arguments: Any) -> Look:
        found, expected = self.real.look(*arguments), self.model.look(*arguments)
        assert found == expected
        return found

    def mark(self, epoch: int) -> BothMarks:
        return BothMarks(self.real.mark(epoch), self.model.mark(epoch))

    def dead(self) -> list[tuple[int, str, str]]:
        found = self.real.dead_letters()
        assert found == sorted(self.model.dead())
        return found

    def replay(self, letter: tuple[int, str, str], now: Now) -> bool:
        overtaken = self.real.replay([letter], now) == [letter[1]]
        assert overtaken == self.model.replay(letter, now)
        return overtaken

    def discard(self, letter: tuple[int, str, str], now: Now) -> None:
        self.real.discard([letter], "a reason", now)
        self.model.discard(letter, now)

    def forget(self, before: float, limit: int) -> int:
        forgotten = self.real._store.write(lambda db: transitions.forget(db, before, limit))
        assert forgotten == self.model.forget(before, limit)
        return forgotten

    def verify(self) -> None:
        self.model.verify()
        assert self.dump() == self.model.dump()

    def dump(self) -> dict[str, Any]:
        if self.reader is None:
            self.reader = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        query = self.reader.execute
        cursor, epoch, stored = query("SELECT cursor, epoch, checksum FROM relay").fetchone()
        assert stored == relay_checksum(cursor, epoch)
        rows = query(
            "SELECT seq, lane, state, due, attempts, maybe_sent, sent_at, first_refused_at, error FROM open"
        )
        return {
            "cursor": cursor,
            "epoch": epoch,
            "reserved": query("SELECT reserved FROM lead").fetchone()[0],
            "ledger": ledger(self.reader),
            "entries": {
                seq: (id, lane, body)
                for seq, id, lane, body in query("SELECT seq, id, lane, body FROM entry")
            },
            "receipts": dict(query("SELECT seq, outcome FROM receipt")),
            "open": {
                row[0]: (*row[1:5], bool(row[5]), *row[6:8], json.loads(row[8]) if row[8] else None)
                for row in rows
            },
        }

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()
        self.real.close()
        self.folder.cleanup()


class Windowed:
    """The relay's window before an outbox: most that is sent goes on record later, or at the next kill.

    Everything else is the outbox's."""

    def __init__(self, outbox: Any) -> None:
        self.outbox = outbox
        self.windows: dict[int, Window] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.outbox, name)

    def take_over(self, now: Now, verify_after: float, clock: str | None = None) -> int:
        epoch: int = self.outbox.take_over(now, verify_after, clock)
        self.windows[epoch] = Window(self.outbox, epoch)
        return epoch

    def exchange(
        self, epoch: int, settlements: list[Any], limit: int, now: Now, longest_wait: float
    ) -> Exchanged:
        return self.windows[epoch].exchange(settlements, limit, now, longest_wait)

    def settle(self, epoch: int, settlements: list[Any], now: Now, longest_wait: float) -> Exchanged:
        return self.windows[epoch].settle(settlements, now, longest_wait)


def ledger(db: sqlite3.Connection) -> dict[str, int]:
    """The sums over all days."""
    names = ("entries", "delivered", "dead", "discarded")
    rows = db.execute("SELECT entries, delivered, dead, discarded FROM ledger").fetchall()
    return {
        name: sum(counts) for name, counts in zip(names, zip(*rows, strict=True), strict=False) if sum(counts)
    }


class ModelMachine(DeliveryMachine):
    """Lost, doubled and out of order are 0 in the model of the table."""

    def make(self) -> Modelled:
        return Modelled()


class WindowMachine(DeliveryMachine):
    """The same with the window before the model."""

    def make(self) -> Any:
        return Windowed(Modelled())


class SqliteMachine(DeliveryMachine):
    """The SQLite code does what the model does, step by step."""

    def make(self) -> Lockstep:
        return Lockstep()


@pytest.mark.parametrize("first", range(0, RUNS, RUNS // 4))
def test_random_runs_lose_double_and_reorder_nothing(first: int) -> None:
    """However kills, clocks, stalls and answers fall, each record arrives once, in the order of its lane."""
    for seed in range(first, first + RUNS // 4):
        run_at_random(Modelled(), seed, 120).drain()


@pytest.mark.parametrize("first", range(0, RUNS, RUNS // 4))
def test_random_runs_with_the_window_lose_double_and_reorder_nothing(first: int) -> None:
    """The same where most claims and deliveries are only noted, and on record later."""
    for seed in range(first, first + RUNS // 4):
        run_at_random(Windowed(Modelled()), seed, 120).drain()


@pytest.mark.parametrize("before", [lambda outbox: outbox, Windowed], ids=["by itself", "with the window"])
@pytest.mark.parametrize("seed", range(12))
def test_random_runs_of_the_sqlite_code_agree_with_the_model(seed: int, before: Callable[..., Any]) -> None:
    """Step by step the file holds what the model holds."""
    subject = before(Lockstep())
    try:
        world = run_at_random(subject, seed, 150)
        subject.verify()
        world.drain()
        subject.verify()
    finally:
        subject.close()


def test_programs_that_live_shortly_settle_what_is_in_doubt() -> None:
    """A look-up that waits goes on waiting when another process of the same machine takes over."""
    subject = Lockstep()
    try:
        world = World(subject)
        world.append(["A"])
        world.exchange(1)
        for part in (0.4, 0.4, 0.3):
            world.kill([("stored", 0.0)], second_leader=False)
            world.exchange(1)
            assert not world.in_flight("verify")
            world.pass_time(part * VERIFY_AFTER)
        world.exchange(1)
        assert world.in_flight("verify")
        world.kill([("stored", 0.0)], second_leader=False)  # interrupted while it looks: looks again at once
        world.exchange(1)
        (claim,) = world.in_flight("verify")
        world.look_up(claim, "yes")
        world.exchange(0)
        assert subject.real.depth().pending == 0
    finally:
        subject.close()


TestModel = ModelMachine.TestCase
TestModel.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWindow = WindowMachine.TestCase
TestWindow.settings = TestModel.settings
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(
    max_examples=40, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
