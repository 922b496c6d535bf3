"""What a benchmark set out to reach, and whether it did."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.measure import ratios, shown


class Goal(NamedTuple):
    """A ratio and its bound."""

    name: str
    ours: list[float]
    theirs: list[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> dict[str, float]:
        """Round by round."""
        return ratios(self.ours, self.theirs)

    @property
    def reached(self) -> bool:
        """By the median."""
        found = self.ratio["median"]
        return found >= (self.at_least or 0.0) and found <= (self.at_most or float("inf"))


def judge(goals: list[Goal]) -> tuple[dict[str, Any], bool]:
    """Prints each; returns the ratios, and whether one was missed."""
    print()
    for goal in goals:
        bound = f"at least {goal.at_least:g}" if goal.at_least is not None else f"at most {goal.at_most:g}"
        verdict = "reached" if goal.reached else "MISSED"
        print(f"{goal.name:<52} {shown(goal.ratio):<26} goal {bound}: {verdict}")
    return {goal.name: goal.ratio for goal in goals}, not all(goal.reached for goal in goals)
