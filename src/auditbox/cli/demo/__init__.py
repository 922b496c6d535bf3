"""``auditbox demo``."""

from __future__ import annotations

from importlib import import_module

import click

from auditbox.cli import options


@click.command("demo")
@click.option("--serve", is_flag=True, help="Leave the Audit API and the application running, until Ctrl-C.")
@click.option(
    "--requests", type=click.IntRange(min=50), default=400, show_default=True, metavar="N", help="How many."
)
@options.as_json
@click.pass_context
def command(ctx: click.Context, serve: bool, requests: int, as_json: bool) -> None:
    """See it survive: an outage, a kill -9, and nothing lost.

    A small web application under uvicorn and an Audit API, each in a process of its own, and real HTTP
    requests. The API goes down for three seconds; the application is killed with SIGKILL and started again.
    At the end the API is asked what it has. Exit status: 0 if nothing was lost, doubled or out of order.
    """
    import_module("auditbox.emulator")  # says what to install, where that is missing
    from auditbox.cli.demo.play import play

    ctx.exit(0 if play(requests, as_json=as_json, serve=serve) else 1)
