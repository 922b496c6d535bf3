"""``auditbox emulator``."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import click

from auditbox.cli import options, output
from auditbox.errors import ConfigurationError


@click.command("emulator")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS")
@click.option("--db", metavar="FILE", help="Where the records are kept; else in memory.")
@click.option("--strict", is_flag=True, help="The platform's rules on accounts, visibility and objects.")
@click.option("--seed", metavar="FILE", type=click.Path(path_type=Path), help="What is there to begin with.")
@click.option("--faults", metavar="FILE", type=click.Path(path_type=Path), help="What goes wrong, as JSON.")
@click.option("--latency", type=options.seconds, default=0.0, metavar="S", help="Each request takes longer.")
@click.option("--allow-remote", is_flag=True, help="Let other machines in, with --host. There is no TLS.")
def command(
    port: int,
    host: str,
    db: str | None,
    strict: bool,
    seed: Path | None,
    faults: Path | None,
    latency: float,
    allow_remote: bool,
) -> None:
    """The Audit API on your own machine: any `idt:` token may write, until Ctrl-C."""
    from auditbox.emulator import serve

    script = None if faults is None else _read(faults)
    if allow_remote:
        output.warn(f"auditbox: whoever reaches {host} gets in, without TLS")
    token = "" if strict else " MPT_API_TOKEN=idt:TKN-1234-5678:local"
    ready = partial(_ready, token=token)
    serve(host, port, db, strict, seed, ready, allow_remote=allow_remote, faults=script, latency=latency)


def _read(faults: Path) -> Any:
    try:
        return json.loads(faults.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--faults: {faults} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"--faults: {faults} is no JSON: {error}") from error


def _ready(url: str, *, token: str) -> None:
    print(f"MPT_API_BASE_URL={url}{token}", flush=True)
