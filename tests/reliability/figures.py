"""The figures of a run: printed, and kept for the report where ``AUDITBOX_FIGURES`` names a file."""

from __future__ import annotations

import json
import os
from typing import Any


def report(name: str, **numbers: Any) -> None:
    """One line of the report."""
    print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in numbers.items()))
    if path := os.environ.get("AUDITBOX_FIGURES"):
        line = json.dumps({"name": name, **numbers}, default=str) + "\n"
        with open(path, "a", encoding="utf-8") as file:
            file.write(line)


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")
