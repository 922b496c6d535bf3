"""``auditbox reconcile``: does the Audit API have what this outbox delivered, once and as it was captured?

Every number that the outbox has given is accounted for: by its entry, its tombstone, or the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

import click

from auditbox.api import api_root
from auditbox.cli import delivery, options, output, remote
from auditbox.cli.progress import Lines
from auditbox.cli.reconcile.check import Finding, check
from auditbox.cli.reconcile.numbers import Numbers
from auditbox.cli.status import why
from auditbox.errors import ConfigurationError, WrongDestination
from auditbox.outbox.inspection import Inspection, Story

_OTHERS = ("pending", "dead", "discarded")
_WRONG = ("missing", "doubled", "altered")
_COUNTS = ("delivered", "forgotten", *_OTHERS, "gap", *_WRONG)
_EXPLAINED = 20
"""Numbers of each state that are explained one by one."""


@dataclass(frozen=True, slots=True)
class Explained:
    """Why a number is not expected in the trail, or all up to ``last``; without any: all further ones."""

    explained: str
    seq: int | None
    last: int | None
    id: str | None
    object: str | None
    text: str


@click.command("reconcile")
@options.outbox
@delivery.credentials
@click.option("--since", type=remote.moment, metavar="TIME", help="Captured since: 2026-01-31, 2h, 7d.")
@click.option("--until", type=remote.moment, metavar="TIME", help="Captured before.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line: the findings, then the counts.")
@click.pass_context
def command(
    ctx: click.Context,
    path: Path,
    url: str | None,
    token_file: Path | None,
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
) -> None:
    """Compare an outbox with what the Audit API has.

    Accounts for every number that the outbox gave in that time, by default ever. What was delivered must be
    in the trail, once, and as it was captured; where it is no longer kept here (keep_delivered), by its
    number and id. What is pending, dead, discarded or was skipped is explained. Nothing is changed.

    Exit status: 0 all is there, 1 something is missing, doubled or altered, 2 it cannot be told.
    """
    with Numbers(path) as numbers, remote.connect(_address(url, numbers), token_file) as api:
        numbers.fill(since, until)
        counts: Counter[str] = Counter()
        with Lines() as progress:
            total = numbers.counts().get("delivered", 0)
            for finding in check(numbers, api, lambda seen: progress.show({"compared": (seen, total)})):
                counts[finding.finding] += finding.count
                _print(finding, finding.finding, as_json)
        counts.update(numbers.counts())
        for explained in _explained(numbers, counts):
            _print(explained, explained.explained, as_json)
        print(output.to_json({name: counts[name] for name in _COUNTS}) if as_json else _verdict(counts))
    ctx.exit(1 if any(counts[kind] for kind in _WRONG) else 0)


def _address(url: str | None, numbers: Numbers) -> str:
    """Where the records of this outbox are."""
    known = numbers.destination
    if known is not None and not known.startswith(("http://", "https://")):
        raise ConfigurationError(f"outbox {numbers.path} belongs to {known}, which is no Audit API")
    if url and known and api_root(url) != known:
        raise WrongDestination(f"outbox {numbers.path} belongs to {known}, not to {api_root(url)}")
    if not (url or known):
        raise ConfigurationError(
            f"where outbox {numbers.path} delivers to is not known: set MPT_API_BASE_URL, or pass --url"
        )
    return url or known or ""


def _print(line: Finding | Explained, word: str, as_json: bool) -> None:
    seq = line.seq if line.last is None else f"{line.seq}-{line.last}"
    parts = (word.ljust(9), seq, line.id, line.object, line.text)
    text = "  ".join(str(part) for part in parts if part is not None)
    print(output.to_json(asdict(line)) if as_json else output.printable(text), flush=True)


def _explained(numbers: Numbers, counts: Counter[str]) -> Iterator[Explained]:
    """What is not expected in the trail, and why; the gaps are counted with it."""
    view = Inspection(numbers.path)
    waits = why(view.status()) or "on its way"
    for state in _OTHERS:
        for known in islice(numbers.of_state(state), _EXPLAINED):
            text = known.reason or _reason(view.story(str(known.seq)), waits)
            there = f"; the Audit API has it as {known.first}" if known.first else ""
            yield Explained(state, known.seq, None, known.id, known.lane, text + there)
        if (rest := counts[state] - _EXPLAINED) > 0:
            yield Explained(state, None, None, None, None, f"and {rest:,} more")
    for gap in numbers.gaps():
        counts["gap"] += gap.last - gap.seq + 1
        there = f"; the Audit API has {output.counted(gap.copies, 'record')} of it" if gap.copies else ""
        yield Explained(
            "gap", gap.seq, gap.last if gap.last > gap.seq else None, None, None, gap.reason + there
        )


def _reason(story: Story | None, waits: str) -> str:
    if story is None or story.state == "delivered":
        return "delivered meanwhile"
    said = (story.problem or {}).get("reason")
    if story.state in {"dead", "discarded"}:
        return str(said or "no reason is known")
    return f"{story.state}: {said or waits}"


def _verdict(counts: Counter[str]) -> str:
    if not counts.total():
        return "nothing was captured in that time, and so there is nothing to compare"
    wrong = ", ".join(f"{counts[kind]:,} {kind}" for kind in _WRONG if counts[kind])
    text = f"{counts['delivered']:,} delivered: {wrong or 'all there, once, as captured'}"
    if counts["forgotten"]:
        text += f" ({counts['forgotten']:,} no longer kept here: by number and id)"
    other = [f"{counts[state]:,} {state}" for state in _OTHERS if counts[state]]
    other += [f"{counts['gap']:,} numbers without an entry"] if counts["gap"] else []
    return "; ".join([text, ", ".join(other)] if other else [text])
