"""What the scripts have in common: options, verdicts, raw figures, plots, the exit status."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bars import Bars
from benchmarks.measure import machine, ratios, save, shown


def parser(script: str | None, **defaults: float) -> argparse.ArgumentParser:
    """For ``--rounds``, ``--count`` and the like with these defaults, and what every script knows."""
    parser = argparse.ArgumentParser(description=script, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--json", metavar="FOLDER", help="keep the raw figures")
    parser.add_argument("--svg", metavar="FILE", help="draw the result")
    parser.add_argument(
        "--no-goal", action="store_true", help="do not judge: the run only shows that it works"
    )
    return parser


def options(script: str | None, **defaults: float) -> argparse.Namespace:
    """What was given on the command line, see :func:`parser`."""
    return parser(script, **defaults).parse_args()


class Report:
    """What a run found, and whether it reached its goals.

    Args:
        name: of the script, and of its raw figures.
        options: see :func:`options`.
    """

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self._name, self._options = name, options
        self._kept: dict[str, Any] = {}
        self._goals: dict[str, Any] = {}
        self._missed = False
        print(machine())

    def keep(self, what: str, figures: object) -> None:
        """Raw figures that no table shows."""
        self._kept[what] = figures

    def table(
        self, title: str, columns: list[str], rounds: Mapping[str, Sequence[tuple[float, ...]]]
    ) -> None:
        """Prints the medians of each subject's rounds, and keeps all of them."""
        self._kept[title] = rounds
        print(f"\n{title:<34}" + "".join(f"{column:>14}" for column in columns))
        for name, measured in rounds.items():
            medians = (median(column) for column in zip(*measured, strict=True))
            print(f"{name:<34}" + "".join(f"{value:>14,.1f}" for value in medians))
        print()

    def compare(
        self,
        what: str,
        ours: list[float],
        theirs: list[float],
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> None:
        """A ratio, round by round, and the goal that its median should reach."""
        self._judge(what, ratios(ours, theirs), at_most, at_least)

    def absolute(
        self, what: str, values: list[float], *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        """A figure of ours that has a goal by itself."""
        range_ = {"median": median(values), "min": min(values), "max": max(values)}
        self._judge(what, range_, at_most, at_least)

    def _judge(
        self, what: str, found: dict[str, float], at_most: float | None, at_least: float | None
    ) -> None:
        verdict = ""
        if at_most is not None or at_least is not None:
            reached = (
                found["median"] <= at_most if at_most is not None else found["median"] >= (at_least or 0)
            )
            self._missed |= not reached
            bound = f"at most {at_most:g}" if at_most is not None else f"at least {at_least:g}"
            verdict = f"   goal {bound}: {'reached' if reached else 'MISSED'}"
        self._goals[what] = {**found, "at_most": at_most, "at_least": at_least}
        print(f"{what}: {shown(found)}{verdict}")

    def end(self, bars: Bars) -> None:
        """Keeps what was asked for, and ends the program; a missed goal is exit status 1."""
        if self._options.svg:
            Path(self._options.svg).write_text(bars.svg(), encoding="utf-8")
        save(self._name, {"rounds": self._kept, "goals": self._goals}, self._options.json)
        raise SystemExit(1 if self._missed and not self._options.no_goal else 0)


def column(rounds: Sequence[tuple[float, ...]], number: int) -> list[float]:
    """One figure of every round."""
    return [measured[number] for measured in rounds]
