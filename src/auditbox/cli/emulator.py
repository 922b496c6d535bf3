"""``auditbox emulator``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from auditbox.cli import output


@click.command("emulator")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS")
@click.option("--db", metavar="FILE", help="Where the records are kept; else in memory.")
@click.option("--strict", is_flag=True, help="The platform's rules on accounts, visibility and objects.")
@click.option("--seed", metavar="FILE", type=click.Path(path_type=Path), help="What is there to begin with.")
@click.option("--allow-remote", is_flag=True, help="Let other machines in, with --host. There is no TLS.")
def command(
    port: int, host: str, db: str | None, strict: bool, seed: Path | None, allow_remote: bool
) -> None:
    """The Audit API on your own machine: any `idt:` token may write, until Ctrl-C."""
    from auditbox.emulator import serve

    if allow_remote:
        output.warn(f"auditbox: whoever reaches {host} gets in, without TLS")
    token = "" if strict else " MPT_API_TOKEN=idt:TKN-1234-5678:local"
    ready = partial(_ready, token=token)
    serve(host, port, db, strict, seed, ready, allow_remote=allow_remote)


def _ready(url: str, *, token: str) -> None:
    print(f"MPT_API_BASE_URL={url}{token}", flush=True)
