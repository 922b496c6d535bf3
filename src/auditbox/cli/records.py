"""``auditbox records``: the trail as the Audit API has it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from auditbox.api import AuditApi, Expression, F
from auditbox.cli import options, output, remote
from auditbox.cli.watch import Watch
from auditbox.errors import NotFound
from auditbox.records import AuditRecord

COLUMNS = {
    "TIME": "timestamp",
    "ID": "id",
    "EVENT": "event",
    "OBJECT": "object.id",
    "OBJECT NAME": "object.name",
    "OBJECT TYPE": "object.objectType",
    "ACTOR": "actor.name|actor.id",
    "ACTOR ID": "actor.id",
    "ACCOUNT": "actor.account.id",
    "SUMMARY": "summary",
    "DETAILS": "details",
}
_WHOLE = re.compile(r"(extensions|platform)[.*]")
"""How a whole event begins; of any other the beginning is left out."""
_SHOWN = ("TIME", "ID", "EVENT", "OBJECT", "ACTOR")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options of a filter say."""

    filters: tuple[str, ...]
    about: str | None
    event: str | None
    actor: str | None
    since: datetime | None


def _event_name(text: str) -> str:
    """An event as it is asked for.

    Raises:
        click.BadParameter: it is a pattern that the API does not have.
    """
    name = re.sub(r"^\*+|\*+$", "*", text)
    if "*" in name.strip("*"):
        raise click.BadParameter(
            f"{text!r}: * is anything at the ends alone, as in extensions.shop.* or *.approved; for both, "
            "say one here and the other as --filter \"like(event,'*.approved')\""
        )
    return name


def _filters(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--render", is_flag=True, help="Fill in the placeholders, and show the details."),
        click.option("--select", metavar="NAMES", help="Further parts, for --json: documents,viewers."),
        click.option("--filter", "filters", multiple=True, metavar="RQL", help="All must hold; repeatable."),
        click.option(
            "--since", type=remote.moment, metavar="TIME", help="2026-01-31, …T09:00:00Z, 90s, 2h, 7d."
        ),
        click.option("--actor", metavar="ID", help="The API's actor: a user, or the token that submitted."),
        click.option(
            "--event",
            metavar="NAME",
            type=_event_name,
            help="Whole, or from a dot on (order.approved); * at an end is anything (order.*).",
        ),
        click.option("--object", "about", metavar="ID", help="What the records are about."),
    ):
        function = option(function)
    return function


def condition(asked: Asked, until: datetime | None = None) -> Expression | None:
    """All of what is asked, as one filter; None where nothing is."""
    parts = [
        F.object.id == asked.about if asked.about else None,
        _event(asked.event) if asked.event else None,
        F.actor.id == asked.actor if asked.actor else None,
        F.timestamp >= asked.since if asked.since else None,
        F.timestamp < until if until else None,
        *(_Raw(rql) for rql in asked.filters if rql.strip()),
    ]
    whole: Expression | None = None
    for part in parts:
        if part is not None:
            whole = part if whole is None else whole & part
    return whole


class _Raw(Expression):
    """RQL as somebody wrote it; in brackets, because ``;`` and ``|`` in it bind weaker than a comma."""

    def __init__(self, rql: str) -> None:
        self._rql = rql

    def __str__(self) -> str:
        return f"({self._rql})"


def _event(name: str) -> Expression:
    if not name.startswith("*") and not _WHOLE.match(name):
        name = f"*.{name}"
    return F.event.like(name) if "*" in name else F.event == name


@click.group("records", no_args_is_help=False)
def command() -> None:
    """The trail as the Audit API has it; MPT_API_BASE_URL and MPT_API_TOKEN say which, and who asks."""


@command.command("list")
@_filters
@click.option("--until", type=remote.moment, metavar="TIME", help="Before this time.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=50, show_default=True, metavar="N", help="0: all."
)
@remote.formats(remote.ARRAY)
@remote.credentials
def list_records(
    url: str | None,
    token_file: Path | None,
    until: datetime | None,
    limit: int,
    shape: str | None,
    select: str | None,
    render: bool,
    **asked: Any,
) -> None:
    """The newest records first.

    As a table, as a JSON array in the API's own shape, or as CSV; however many there are, they are read page
    by page and printed as they come.
    """
    _say_what_is_not_shown(select, shape)
    with remote.connect(url, token_file) as api:
        wanted = condition(Asked(**asked), until)
        size = min(limit + 1, 100) if limit else 100
        found = api.records.iterate(wanted, select=select, render=render, limit=size)
        rows, rest = _parted(found, limit)
        remote.show(rows, shape, COLUMNS, _shown(render))
        if next(rest, None) is not None:
            output.warn(f"auditbox: there are more than {limit:,}: --limit 0 shows all")


def _say_what_is_not_shown(select: str | None, shape: str | None) -> None:
    if select and shape != "json":
        form = "CSV" if shape == "csv" else "the table"
        output.warn(f"auditbox: {form} does not show what --select names ({select}): --json does")


def _parted(found: Iterable[AuditRecord], limit: int) -> tuple[Iterator[AuditRecord], Iterator[AuditRecord]]:
    """The first ones, and, after these, the rest."""
    rows = iter(found)
    return (islice(rows, limit) if limit else rows), rows


@command.command("get")
@remote.credentials
@click.argument("id")
@click.option("--render", is_flag=True, help="Fill in the placeholders of summary and details.")
@remote.formats("On one line.")
@click.pass_context
def get(
    ctx: click.Context, url: str | None, token_file: Path | None, id: str, render: bool, shape: str | None
) -> None:
    """One record, whole, as JSON."""
    with remote.connect(url, token_file) as api:
        try:
            record = api.records.get(id, render=render)
        except NotFound as error:
            if not remote.is_missing(error):
                raise
            output.warn(f"auditbox: no record {id} that this token's account may see")
            ctx.exit(1)
    remote.show_one(record, shape, COLUMNS)


@command.command("watch")
@_filters
@click.option("--interval", type=options.seconds, default=1.0, show_default=True, metavar="S")
@remote.formats("A JSON object a line.")
@remote.credentials
def watch(
    url: str | None,
    token_file: Path | None,
    interval: float,
    shape: str | None,
    select: str | None,
    render: bool,
    **asked: Any,
) -> None:
    """New records as they come, oldest first, until Ctrl-C.

    With --since, those from that time on, too. It goes on when the API is away for a while.
    """
    _say_what_is_not_shown(select, shape)
    columns = COLUMNS if shape == "csv" else {name: COLUMNS[name] for name in _shown(render)}
    with remote.connect(url, token_file) as api:
        watch = _watch(api, Asked(**asked), select, render)
        watch.begin()
        output.warn("auditbox: watching; Ctrl-C ends it")
        if shape == "csv":
            remote.csv_line(columns)
            sys.stdout.flush()
        for record in watch.follow(interval):
            _print(record.to_wire(), shape, columns)


def _watch(api: AuditApi, asked: Asked, select: str | None, render: bool) -> Watch:
    def read(since: datetime | None, order: str, limit: int | None) -> Iterable[AuditRecord]:
        since = max((time for time in (since, asked.since) if time is not None), default=None)
        wanted = condition(replace(asked, since=since))
        if limit:
            return api.records.list(wanted, order=order, limit=limit)
        return api.records.iterate(wanted, order=order, select=select, render=render)

    return Watch(read, from_start=asked.since is not None)


def _print(row: Mapping[str, Any], shape: str | None, columns: Mapping[str, str]) -> None:
    values = [remote.value_at(row, path) for path in columns.values()]
    if shape == "csv":
        remote.csv_line(values)
    else:
        print(output.to_json(row) if shape else "  ".join(map(output.printable, values)))
    sys.stdout.flush()


def _shown(render: bool) -> tuple[str, ...]:
    return (*_SHOWN, "DETAILS" if render else "SUMMARY")
