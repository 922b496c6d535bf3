"""``auditbox reconcile``: does the Audit API have what this outbox delivered, once and as it was captured?"""

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
from auditbox.cli.reconcile.ledger import Ledger
from auditbox.cli.status import why
from auditbox.errors import ConfigurationError, WrongDestination
from auditbox.outbox.inspection import Inspection, Story

_STATES = ("delivered", "pending", "dead", "discarded")
_WRONG = ("missing", "doubled", "altered")
_EXPLAINED = 20
"""Entries of each state that are explained one by one."""


@dataclass(frozen=True, slots=True)
class Explained:
    """Why entries are not expected in the trail: one of them, or (without a number) all further ones."""

    explained: str
    seq: int | None
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

    Looks for every entry that is still kept (keep_delivered): what was delivered must be in the trail,
    once, and as it was captured. What is pending, dead or discarded is explained. Nothing is changed.

    Exit status: 0 all is there, 1 something is missing, doubled or altered, 2 it cannot be told.
    """
    with Ledger(path) as ledger, remote.connect(_address(url, ledger), token_file) as api:
        ledger.fill(since, until)
        counts: Counter[str] = Counter()
        with Lines() as progress:
            total = ledger.count("delivered")
            for finding in check(ledger, api, lambda seen: progress.show({"compared": (seen, total)})):
                counts[finding.finding] += 1
                _print(finding, finding.finding, as_json)
        counts.update({state: ledger.count(state) for state in _STATES})
        for explained in _explained(ledger, counts):
            _print(explained, explained.explained, as_json)
        print(
            output.to_json({name: counts[name] for name in _STATES + _WRONG}) if as_json else _verdict(counts)
        )
    ctx.exit(1 if any(counts[kind] for kind in _WRONG) else 0)


def _address(url: str | None, ledger: Ledger) -> str:
    """Where the records of this outbox are."""
    known = ledger.destination
    if known is not None and not known.startswith(("http://", "https://")):
        raise ConfigurationError(f"outbox {ledger.path} belongs to {known}, which is no Audit API")
    if url and known and api_root(url) != known:
        raise WrongDestination(f"outbox {ledger.path} belongs to {known}, not to {api_root(url)}")
    if not (url or known):
        raise ConfigurationError(f"where outbox {ledger.path} delivers to is not known: set MPT_API_BASE_URL")
    return url or known or ""


def _print(line: Finding | Explained, word: str, as_json: bool) -> None:
    parts = (word.ljust(9), line.seq, line.id, line.object, line.text)
    text = "  ".join(str(part) for part in parts if part is not None)
    print(output.to_json(asdict(line)) if as_json else output.printable(text), flush=True)


def _explained(ledger: Ledger, counts: Counter[str]) -> Iterator[Explained]:
    """What is not expected in the trail, and why."""
    view = Inspection(ledger.path)
    waits = why(view.status()) or "on its way"
    for state in _STATES[1:]:
        for known in islice(ledger.of_state(state), _EXPLAINED):
            text = _reason(view.story(str(known.seq)), waits)
            there = f"; the Audit API has it as {known.first}" if known.first else ""
            yield Explained(state, known.seq, known.id, known.lane, text + there)
        if (rest := counts[state] - _EXPLAINED) > 0:
            yield Explained(state, None, None, None, f"and {rest:,} more")


def _reason(story: Story | None, waits: str) -> str:
    if story is None or story.state == "delivered":
        return "delivered meanwhile"
    said = (story.problem or {}).get("reason")
    if story.state in {"dead", "discarded"}:
        return str(story.reason or said or "no reason is known")
    return f"{story.state}: {said or waits}"


def _verdict(counts: Counter[str]) -> str:
    wrong = ", ".join(f"{counts[kind]:,} {kind}" for kind in _WRONG if counts[kind])
    other = ", ".join(f"{counts[state]:,} {state}" for state in _STATES[1:] if counts[state])
    text = f"{counts['delivered']:,} delivered: {wrong or 'all there, once, as captured'}"
    return f"{text}; {other}" if other else text
