"""How everything here is measured: subjects in turn, several rounds, medians and their range."""

from __future__ import annotations

import gc
import json
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Call = Callable[[], object]


def interleaved(
    subjects: Mapping[str, Call], *, rounds: int, count: int
) -> dict[str, list[tuple[float, float]]]:
    """For each subject (p50, p99) in microseconds of each round.

    The subjects take turns call by call, as in an application, whose own code runs between two captures: in a
    loop of its own each would keep the processor's caches to itself, and the machine's moods would
    meet one and not the other.
    """
    clock = time.perf_counter_ns
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in subjects}
    for turn in range(-1, rounds):
        times: dict[str, list[int]] = {name: [] for name in subjects}
        gc.collect()
        for _ in range(count if turn >= 0 else max(20, count // 10)):
            for name, call in subjects.items():
                begin = clock()
                call()
                times[name].append(clock() - begin)
        if turn >= 0:  # the first one warms up
            for name, taken in times.items():
                results[name].append(quantiles(taken))
    return results


def quantiles(taken: list[int]) -> tuple[float, float]:
    """The median and the 99th percentile of nanoseconds, in microseconds."""
    taken.sort()
    return taken[len(taken) // 2] / 1000, taken[len(taken) * 99 // 100] / 1000


def ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Ours over theirs, round by round: the median, and the range."""
    pairs = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {"median": statistics.median(pairs), "min": min(pairs), "max": max(pairs)}


def shown(ratio: Mapping[str, float]) -> str:
    """``0.71 (0.65 to 0.80)``."""
    return f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    return {
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
    }


def save(name: str, result: Mapping[str, Any], folder: str | None) -> None:
    """Raw figures as JSON, where they are asked for."""
    if folder is not None:
        path = Path(folder) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n", encoding="utf-8")
