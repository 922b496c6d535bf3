"""How far something is, on stderr: bars with rich on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from auditbox.cli.output import has_rich, printable, warn

if TYPE_CHECKING:
    from rich.progress import TaskID

_PERIOD = 2.0
"""Seconds between two lines, where there are no bars."""


Counts = Mapping[str, tuple[int, int]]
"""By the names of things: how many are done, and how many there are."""


class Progress(Protocol):
    """Where counts are shown."""

    def show(self, counts: Counts) -> None:
        """So many of each thing are done."""
        ...

    def say(self, text: str) -> None:
        """A line that stays."""
        ...


def progress() -> AbstractContextManager[Progress]:
    """What suits this stderr."""
    return Bars() if sys.stderr.isatty() and has_rich() else Lines()


class Lines:
    """One line with all counts, every two seconds while they change."""

    def __init__(self) -> None:
        self._counts: Counts = {}
        self._printed: Counts = {}
        self._due = time.monotonic() + _PERIOD

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._print()

    def show(self, counts: Counts) -> None:
        """So many of each thing are done."""
        self._counts = counts
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _PERIOD
            self._print()

    def say(self, text: str) -> None:
        """A line that stays."""
        warn(text)

    def _print(self) -> None:
        if self._counts != self._printed:
            warn(", ".join(f"{name} {done}/{total}" for name, (done, total) in self._counts.items()))
            self._printed = self._counts


class Bars:
    """rich's progress bars."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, console=Console(stderr=True))
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, counts: Counts) -> None:
        """So many of each thing are done."""
        for name, (done, total) in counts.items():
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name)
            self._bars.update(self._tasks[name], completed=done, total=total)

    def say(self, text: str) -> None:
        """A line that stays."""
        self._bars.console.print(printable(text), markup=False, highlight=False)
