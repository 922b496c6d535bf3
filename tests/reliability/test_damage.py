"""Flipped bits, anywhere in the database or its WAL: the program starts, and nothing altered is ever sent."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from .figures import report
from .house import House
from .oracle import Ack, judge, read_acks, read_lines
from .sizes import PATIENCE, sized

LOST = re.compile(r"at least (\d+) lost|newest part is gone: (\d+) entries at least")
FLIPS = sized(60, 300)


def flip(house: House, case: Path, name: str) -> None:
    """Turns one bit of one of the outbox's files over."""
    file = case / name
    content = bytearray(file.read_bytes())
    place = house.random.randrange(len(content) * 8)
    content[place // 8] ^= 1 << place % 8
    with file.open("r+b") as same:  # the same file, not a new one
        same.write(content)
    (case / "bit").write_text(f"{name}, byte {place // 8}, bit {place % 8}")


@pytest.mark.timeout(PATIENCE * 6)
@pytest.mark.parametrize("name", ["audit.db", "audit.db-wal"])
def test_after_a_flipped_bit_the_program_starts_and_sends_nothing_altered(house: House, name: str) -> None:
    """What is intact arrives once; what is not is never sent, and its loss is said."""
    home = house.folder / "home"
    home.mkdir()
    wal = name.endswith("wal")
    house.run(
        "damage", home=str(home), delivered=60, captured=60, kill=wal, status=-signal.SIGKILL if wal else 0
    )
    old = read_acks([home / "old.acks"])
    cases = [house.folder / "cases" / f"{number:03d}" for number in range(FLIPS)]
    for case in cases:
        shutil.copytree(home, case)
    results = house.folder / "results"
    house.run("damage", visit=[str(case) for case in cases])  # a copy is nobody's outbox yet
    for case in cases:  # the same files, with what they held
        for suffix in ("", "-wal") if wal else ("",):
            shutil.copyfile(home / f"audit.db{suffix}", case / f"audit.db{suffix}")
    for case in cases:
        flip(house, case, name)
    house.run("damage", cases=[str(case) for case in cases], results=str(results), verify_after=0.05)
    findings = [json.loads(line) for line in results.read_text().splitlines()]
    assert len(findings) == FLIPS, house.logs()
    judged = [judge_case(old, *each) for each in zip(cases, findings, strict=True)]
    totals: Counter[str] = Counter()
    for one in judged:
        totals.update(one["counts"])
    report(f"7. bit flips in {name}", flips=FLIPS, **totals)
    wrong = [one for one in judged if one["wrong"]]
    assert wrong == [], f"seed {house.seed}: {json.dumps(wrong[:10], indent=1)}"


def judge_case(old: list[Ack], case: Path, finding: dict[str, Any]) -> dict[str, Any]:
    """What the oracle says of one damaged outbox."""
    acks = old + read_acks(sorted(case.glob("new.acks")))
    verdict = judge(acks, read_lines(case / "out.jsonl"))
    said = sum(
        int(found.group(1) or found.group(2)) for line in finding["said"] for found in LOST.finditer(line)
    )
    dead = sum("dead letter" in line for line in finding["said"])
    silent = max(0, len(verdict.lost) - said - dead)
    wrong = {
        "did not start": finding["error"],
        "still pending": finding["pending"],
        "doubled": len(verdict.doubled),
        "altered": len(verdict.altered),
        "out of order": len(verdict.disordered),
        "lost without a word": silent,
    }
    return {
        "bit": case.joinpath("bit").read_text(),
        "wrong": {name: value for name, value in wrong.items() if value},
        "said": finding["said"],
        "counts": {
            "started": int(not finding["error"]),
            "altered": len(verdict.altered),
            "doubled": len(verdict.doubled),
            "cases_with_loss": int(bool(verdict.lost)),
            "lost_and_said": len(verdict.lost) - silent,
            "lost_without_a_word": silent,
        },
    }
