"""``auditbox dead``: what the sink refuses for good."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from auditbox import settings
from auditbox.cli import delivery, options, output
from auditbox.cli.entries import about, lane
from auditbox.outbox.base import Draft, Entry, Now
from auditbox.outbox.correction import corrected
from auditbox.outbox.inspection import Inspection, Letter


@click.group("dead", no_args_is_help=False)
def command() -> None:
    """Dead letters: records that the Audit API refuses for good. They are kept until you decide."""


@command.command("list")
@options.outbox
@options.as_json
def list_letters(path: Path, as_json: bool) -> None:
    """All dead letters, oldest first, without the records themselves: see show."""
    letters = Inspection(path).dead_letters()
    if as_json:
        print(output.to_json([asdict(letter) for letter in letters]))
    elif letters:
        _table(letters)
    else:
        print("no dead letters")


def _table(letters: Sequence[Letter]) -> None:
    """The lanes have a column where some capture named one; else they are the objects."""
    columns: dict[str, Callable[[Letter], object]] = {
        "SEQ": lambda letter: letter.seq,
        "ID": lambda letter: letter.id,
        "OBJECT": about,
        "LANE": lane,
        "EVENT": lambda letter: letter.event or "",
        "CAPTURED": lambda letter: output.iso(letter.captured_at) if letter.captured_at else "",
        "PROBLEM": _reason,
    }
    if not any(map(lane, letters)):
        del columns["LANE"]
    output.table(tuple(columns), [[value(letter) for value in columns.values()] for letter in letters])


@command.command("show")
@options.outbox
@click.argument("entry")
@click.pass_context
def show(ctx: click.Context, path: Path, entry: str) -> None:
    """Everything about one entry, as JSON.

    By its id or number; it need not be dead. "attempts" counts the requests that sent it and came to
    something (a refusal, or no answer at all), since its capture or its last replay; look-ups are not
    counted, nor what never reached the API.
    """
    story = Inspection(path).story(entry)
    if story is None:
        output.warn(f"auditbox: no entry {entry} in {path}; delivered ones are forgotten after a while")
        ctx.exit(1)
    event = story.record.get("event") if isinstance(story.record, dict) else None
    print(output.pretty_json({**asdict(story), "event": event, "object": story.object}))


def _selection(function: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """How dead letters are chosen; ``names`` are those of the option that goes by what the API had said."""
    for option in (
        click.option(*names, "reason_like", metavar="TEXT", help="Those whose problem holds this text."),
        click.option("--all", "everything", is_flag=True, help="All dead letters."),
        click.argument("entries", nargs=-1, metavar="[ENTRY]..."),
    ):
        function = option(function)
    return function


@command.command("replay")
@options.outbox
@partial(_selection, names=("--reason", "--reason-like"))
@click.pass_context
def replay(
    ctx: click.Context, path: Path, entries: tuple[str, ...], everything: bool, reason_like: str | None
) -> None:
    """Send dead letters again.

    By id or number, by what the API had said (--reason), or all. They go back into the line of their object,
    before what still waits there, and what may have arrived is looked up first. Where later records of the
    object are in the trail already, their order cannot be had any more: this says so for each.
    """
    chosen = _chosen(path, entries, everything, reason_like)
    outbox = delivery.open_outbox(path)
    try:
        overtaken = outbox.replay([(one.seq, one.id, one.lane) for one in chosen], _now())
    finally:
        outbox.close()
    for letter in chosen:
        late = "; out of order: later records of its object have arrived" if letter.id in overtaken else ""
        print(output.printable(f"{letter.seq} {letter.id} will be sent again{late}"))
    if not chosen and not entries:
        print("no dead letters" if everything else "no such dead letters")
    if chosen:
        _say_where_nobody_relays(path)
    ctx.exit(_verdict(chosen, entries))


@command.command("discard")
@options.outbox
@partial(_selection, names=("--reason-like",))
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

    By id or number, by what the API had said (--reason-like), or all. A tombstone keeps number and reason for
    ever; the entry itself is kept as long as delivered ones are.
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


@command.command("fix")
@options.outbox
@click.argument("entry")
@click.option(
    "--set", "changes", multiple=True, required=True, metavar="FIELD=VALUE", help="May be repeated."
)
@click.option("--reason", required=True, metavar="TEXT", help="Why; the tombstone keeps it.")
@click.option("--extension", metavar="NAME", help="Makes a short event a whole one; else AUDITBOX_EXTENSION.")
@click.pass_context
def fix(
    ctx: click.Context, path: Path, entry: str, changes: tuple[str, ...], reason: str, extension: str | None
) -> None:
    """Capture a corrected copy of a dead letter, and give the dead letter up.

    Both in one transaction. FIELD is event, summary, details, object.id, object.name, object.objectType or
    documents.NAME.... The copy keeps the time of occurrence, names the id that it replaces
    (documents.auditbox.replaces), and is delivered after whatever was captured before it.
    """
    if not reason.strip():
        raise click.BadParameter("say why", param_hint="--reason")
    wanted = dict(_assignment(change) for change in changes)
    story = Inspection(path).story(entry)
    if story is None or story.state != "dead":
        output.warn(f"auditbox: {entry} is no dead letter")
        ctx.exit(1)
    if not story.intact:
        raise click.UsageError(f"{entry} is damaged: what it said is not known for certain; discard it")
    body = json.dumps(story.record).encode()
    extension = settings.extension(extension or settings.from_environment(os.environ).get("extension"))
    draft = _corrected(Entry(story.seq, story.id, story.lane, body), wanted, extension)
    outbox = delivery.open_outbox(path)
    try:
        number = outbox.fix((story.seq, story.id, story.lane), draft, reason.strip(), _now())
    finally:
        outbox.close()
    if number is None:
        output.warn(f"auditbox: {entry} is no dead letter any more; nothing was changed")
        ctx.exit(1)
    print(f"{story.seq} {story.id} is discarded; {number} {draft.id} replaces it")
    _say_where_nobody_relays(path)


def _corrected(entry: Entry, wanted: dict[str, str], extension: str | None) -> Draft:
    event = wanted.get("event", "").strip()
    if event and extension is None and not event.startswith(("extensions.", "platform.")):
        raise click.UsageError(
            f"whose event {event} is, is not known here: set AUDITBOX_EXTENSION, pass --extension NAME, "
            f"or write extensions.<extension>.{event}"
        )
    return corrected(entry, wanted, extension)


def _assignment(change: str) -> tuple[str, str]:
    field, sign, value = change.partition("=")
    if not sign or not field:
        raise click.BadParameter(
            f"{change}: FIELD=VALUE, such as object.id=ORD-1208-2301-8479", param_hint="--set"
        )
    return field, value


def _say_where_nobody_relays(path: Path) -> None:
    if not Inspection(path).relay()[0]:
        output.warn("auditbox: no relay is running: they go out once one does")


def _chosen(path: Path, entries: Sequence[str], everything: bool, reason_like: str | None) -> list[Letter]:
    if sum((bool(entries), everything, reason_like is not None)) != 1:
        raise click.UsageError(
            "name entries by id or number, or say --all, or what the API had said (--help)"
        )
    letters = Inspection(path).dead_letters()
    if reason_like is not None:
        return [one for one in letters if reason_like.lower() in _reason(one).lower()]
    return [one for one in letters if everything or one.id in entries or str(one.seq) in entries]


def _reason(letter: Letter) -> str:
    return str((letter.problem or {}).get("reason", ""))


def _verdict(chosen: Sequence[Letter], entries: Sequence[str]) -> int:
    """1, and a line for each, where something was named that is no dead letter."""
    known = {one.id for one in chosen} | {str(one.seq) for one in chosen}
    unknown = [entry for entry in entries if entry not in known]
    for entry in unknown:
        output.warn(f"auditbox: {entry} is no dead letter")
    return 1 if unknown else 0


def _now() -> Now:
    return Now(time.time(), time.monotonic(), time.time())
