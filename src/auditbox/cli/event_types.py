"""``auditbox event-types``: which kinds of events the Audit API knows, and how it calls them."""

from __future__ import annotations

import re
from pathlib import Path

import click

from auditbox.api import AuditApi, F
from auditbox.cli import output, remote
from auditbox.errors import NotFound
from auditbox.records import EventType

COLUMNS = {"ID": "id", "KEY": "key", "NAME": "name", "DESCRIPTION": "description"}
_ID = re.compile(r"AET(-\d+)+")


@click.group("event-types", no_args_is_help=False)
def command() -> None:
    """Event types; the first record of an event makes one that stays for ever, named after its summary."""


@command.command("list")
@click.option("--filter", "rql", metavar="RQL", help="Those for which this holds.")
@remote.formats(remote.ARRAY)
@remote.credentials
def list_event_types(url: str | None, token_file: Path | None, rql: str | None, shape: str | None) -> None:
    """All event types, by their key: as a table, as JSON or as CSV."""
    with remote.connect(url, token_file) as api:
        remote.show(api.event_types.iterate(rql), shape, COLUMNS, tuple(COLUMNS))


@command.command("get")
@click.argument("event_type", metavar="ID|KEY")
@remote.formats("On one line.")
@remote.credentials
@click.pass_context
def get(
    ctx: click.Context, url: str | None, token_file: Path | None, event_type: str, shape: str | None
) -> None:
    """One event type, as JSON; by its id or its key."""
    with remote.connect(url, token_file) as api:
        found = _find(ctx, api, event_type)
    remote.show_one(found, shape, COLUMNS)


@command.command("rename")
@click.argument("event_type", metavar="ID|KEY")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--description", metavar="TEXT", help="What it stands for.")
@remote.credentials
@click.pass_context
def rename(
    ctx: click.Context,
    url: str | None,
    token_file: Path | None,
    event_type: str,
    name: str | None,
    description: str | None,
) -> None:
    """Change the name of an event type, its description, or both.

    By its id or its key; the key itself can never change.
    """
    if name is None and description is None:
        raise click.UsageError("say the new NAME, or --description TEXT")
    for text in (name, description):
        if text is not None and not text.strip():
            raise click.UsageError("neither the name nor the description can be empty")
    with remote.connect(url, token_file) as api:
        known = _find(ctx, api, event_type)
        changed = api.event_types.update(known.id, name=name, description=description)
    parts = (changed.id, changed.key, changed.name, changed.description)
    print("  ".join(output.printable(part) for part in parts if part))


def _find(ctx: click.Context, api: AuditApi, wanted: str) -> EventType:
    """The event type with this id or key; ends with status 1 where there is none."""
    try:
        if _ID.fullmatch(wanted):
            return api.event_types.get(wanted)
        found = list(api.event_types.list(F.key == wanted, limit=1))
    except NotFound as error:
        if not remote.is_missing(error):
            raise
        found = []
    if not found:
        output.warn(f"auditbox: no event type {wanted}")
        ctx.exit(1)
    return found[0]
