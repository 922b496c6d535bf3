"""``auditbox dead``: what the sink refuses for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from auditbox.cli import delivery, options, output
from auditbox.outbox.base import Now
from auditbox.outbox.inspection import Inspection, Story


@click.group("dead", no_args_is_help=False)
def command() -> None:
    """Dead letters: records that the Audit API refuses for good. They are kept until you decide."""


@command.command("list")
@options.outbox
@options.as_json
def list_letters(path: Path, as_json: bool) -> None:
    """All dead letters, oldest first."""
    letters = Inspection(path).dead_letters()
    if as_json:
        print(output.to_json([asdict(letter) for letter in letters]))
    elif letters:
        output.table(("SEQ", "ID", "OBJECT", "EVENT", "CAPTURED", "PROBLEM"), list(map(_row, letters)))
    else:
        print("no dead letters")


def _row(letter: Story) -> tuple[object, ...]:
    at = output.iso(letter.captured_at) if letter.captured_at else ""
    event = letter.record.get("event", "") if isinstance(letter.record, dict) else ""
    return letter.seq, letter.id, letter.lane, event, at, (letter.problem or {}).get("reason", "")


@command.command("show")
@options.outbox
@click.argument("entry")
@click.pass_context
def show(ctx: click.Context, path: Path, entry: str) -> None:
    """Everything about one entry, as JSON.

    By its id or number; it need not be dead.
    """
    story = Inspection(path).story(entry)
    if story is None:
        output.warn(f"auditbox: no entry {entry} in {path}; delivered ones are forgotten after a while")
        ctx.exit(1)
    print(output.pretty_json(asdict(story)))


def _selection(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--reason-like", metavar="TEXT", help="Those whose problem holds this text."),
        click.option("--all", "everything", is_flag=True, help="All dead letters."),
        click.argument("entries", nargs=-1, metavar="[ENTRY]..."),
    ):
        function = option(function)
    return function


@command.command("replay")
@options.outbox
@_selection
@click.pass_context
def replay(
    ctx: click.Context, path: Path, entries: tuple[str, ...], everything: bool, reason_like: str | None
) -> None:
    """Send dead letters again.

    By id or number; what may have arrived before is looked up first. Says which of them come after later
    records of their object.
    """
    chosen = _chosen(path, entries, everything, reason_like)
    outbox = delivery.open_outbox(path)
    try:
        overtaken = outbox.replay([(one.seq, one.id, one.lane) for one in chosen], _now())
    finally:
        outbox.close()
    for letter in chosen:
        late = "; later records of its object have arrived before it" if letter.id in overtaken else ""
        print(output.printable(f"{letter.seq} {letter.id} is sent again{late}"))
    if chosen and not Inspection(path).relay()[0]:
        output.warn("auditbox: no relay is running: they go out once one does")
    ctx.exit(_verdict(chosen, entries))


@command.command("discard")
@options.outbox
@_selection
@click.option("--reason", required=True, metavar="TEXT", help="Why; the entry's tombstone keeps it.")
@click.pass_context
def discard(
    ctx: click.Context,
    path: Path,
    entries: tuple[str, ...],
    everything: bool,
    reason_like: str | None,
    reason: str,
) -> None:
    """Give dead letters up for good.

    By id or number. Nothing is deleted: the entry stays, with a tombstone that says why.
    """
    if not reason.strip():
        raise click.BadParameter("say why", param_hint="--reason")
    chosen = _chosen(path, entries, everything, reason_like)
    outbox = delivery.open_outbox(path)
    try:
        outbox.discard([(one.seq, one.id, one.lane) for one in chosen], reason.strip(), _now())
    finally:
        outbox.close()
    for letter in chosen:
        print(output.printable(f"{letter.seq} {letter.id} is discarded"))
    ctx.exit(_verdict(chosen, entries))


def _chosen(path: Path, entries: Sequence[str], everything: bool, reason_like: str | None) -> list[Story]:
    if sum((bool(entries), everything, reason_like is not None)) != 1:
        raise click.UsageError("name entries by id or number, or say --all or --reason-like TEXT")
    letters = Inspection(path).dead_letters()
    if reason_like is not None:
        return [one for one in letters if reason_like.lower() in _reason(one).lower()]
    return [one for one in letters if everything or one.id in entries or str(one.seq) in entries]


def _reason(letter: Story) -> str:
    return str((letter.problem or {}).get("reason", ""))


def _verdict(chosen: Sequence[Story], entries: Sequence[str]) -> int:
    """1, and a line for each, where something was named that is no dead letter."""
    known = {one.id for one in chosen} | {str(one.seq) for one in chosen}
    unknown = [entry for entry in entries if entry not in known]
    for entry in unknown:
        output.warn(f"auditbox: {entry} is no dead letter")
    return 1 if unknown else 0


def _now() -> Now:
    return Now(time.time(), time.monotonic(), time.time())
