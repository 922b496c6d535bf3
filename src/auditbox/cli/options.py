"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

outbox = click.option(
    "--outbox",
    "path",
    envvar="AUDITBOX_OUTBOX",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The outbox file; else AUDITBOX_OUTBOX.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Machine-readable, with stable keys.")
seconds = click.FloatRange(min=0)
wait = click.option(
    "--wait", is_flag=True, help="Wait for the outbox, if the application has not made it yet."
)
