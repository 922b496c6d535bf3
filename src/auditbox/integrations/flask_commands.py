"""``flask audit status`` and ``flask audit flush``."""

from __future__ import annotations

import click
from flask import current_app
from flask.cli import AppGroup

from auditbox.cli.output import settled
from auditbox.cli.status import command as status_command
from auditbox.integrations.flushing import flushed
from auditbox.trail import AuditTrail

commands = AppGroup("audit", help="The audit records that this application has captured.")


@commands.command(
    "status",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.pass_context
def status(ctx: click.Context) -> None:
    """What the outbox holds, and why delivery waits; options as with `auditbox status`."""
    arguments = ["--outbox", str(_trail().outbox.path), *ctx.args]
    ctx.exit(status_command.main(arguments, prog_name="flask audit status", standalone_mode=False) or 0)


@commands.command("flush")
@click.option("--timeout", type=click.FloatRange(min=0), default=30.0, show_default=True, metavar="S")
@click.pass_context
def flush(ctx: click.Context, timeout: float) -> None:
    """Wait until everything captured so far is delivered; deliver it if no other process does.

    Exit status: 0 all delivered, 1 not all.
    """
    trail = _trail()
    if not trail.outbox.path.exists():
        click.echo("nothing was captured yet")
        return
    upto, pending, dead = flushed(trail, timeout)
    click.echo(settled(upto, pending, dead))
    if pending or dead:
        click.echo("see: flask audit status", err=True)
    ctx.exit(1 if pending or dead else 0)


def _trail() -> AuditTrail:
    trail: AuditTrail = current_app.extensions["auditbox"]
    return trail
