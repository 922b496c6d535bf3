"""How much of everything: the bounded form for every change, the long form of ``make soak``."""

from __future__ import annotations

import os
import random

SOAK = float(os.environ.get("AUDITBOX_SOAK") or 0)
"""How much of the long form: 0 is the usual one, 1 the whole, 0.25 a quarter of it at a time."""
PATIENCE = float(os.environ.get("AUDITBOX_PATIENCE") or (900.0 if SOAK else 90.0))
"""Seconds after which what is awaited counts as never coming; nothing is judged by how long it takes."""


def sized(usual: int, soak: int) -> int:
    """A number of repetitions."""
    return max(usual, round(soak * SOAK))


def new_seed() -> int:
    """What every choice of a test follows from; ``AUDITBOX_SEED`` repeats one."""
    given = os.environ.get("AUDITBOX_SEED")
    return int(given) if given else random.SystemRandom().randrange(10**6)
