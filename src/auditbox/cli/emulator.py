"""``auditbox emulator``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditbox.cli import options, output

if TYPE_CHECKING:
    from auditbox.emulator import Seed

_ANY = "idt:TKN-1234-5678:local"


@click.command("emulator")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS")
@click.option("--db", metavar="FILE", help="Where the records are kept; else in memory.")
@click.option("--strict", is_flag=True, help="The platform's rules on accounts, visibility and objects.")
@click.option("--seed", metavar="FILE", type=click.Path(path_type=Path), help="What is there to begin with.")
@click.option("--faults", metavar="FILE", type=click.Path(path_type=Path), help="What goes wrong.")
@click.option("--latency", type=options.seconds, default=0.0, metavar="S", help="Each request takes longer.")
@click.option("--no-streaming", is_flag=True, help="Answer 501 to who asks for a stream.")
@click.option("--max-body", type=click.IntRange(1), metavar="BYTES", help="A larger request is a 413.")
@click.option("--max-limit", type=click.IntRange(1), metavar="ROWS", help="The most that a page has; 100.")
@click.option("--max-stream", type=click.IntRange(0), metavar="ROWS", help="A longer stream is a 413.")
@click.option("--token-lifetime", type=options.seconds, metavar="S", help="Of the tokens that it issues.")
@click.option("--allow-remote", is_flag=True, help="Let other machines in, with --host. There is no TLS.")
def command(
    port: int,
    host: str,
    db: str | None,
    strict: bool,
    seed: Path | None,
    faults: Path | None,
    no_streaming: bool,
    allow_remote: bool,
    **limits: float | None,
) -> None:
    """The Audit API on your own machine: any `idt:` token may write, until Ctrl-C.

    Strict, the tokens of the seed may; it prints them.
    """
    from auditbox.emulator import load_seed, serve

    known = load_seed(seed, strict)
    if allow_remote:
        output.warn(f"auditbox: whoever reaches {host} gets in, without TLS")
    ready = partial(_ready, accounts=_accounts(known, strict))
    given = {name: value for name, value in limits.items() if value is not None}
    chosen: dict[str, Any] = {
        "allow_remote": allow_remote,
        "faults": faults,
        "streaming": not no_streaming,
        **given,
    }
    serve(host, port, db, strict, known, ready, **chosen)


def _accounts(seed: Seed, strict: bool) -> dict[str, str]:
    """Tokens that are good, each with whose it is; the one to begin with first."""
    accounts = {account.id: account for account in seed.accounts}
    known = [(token.token, accounts[token.account]) for token in seed.tokens if token.account in accounts]
    known.sort(key=lambda pair: pair[1].type != "Vendor")
    whose = {token: f"{account.type} {account.id} {account.name}" for token, account in known}
    return whose if whose or strict else {_ANY: "whoever"}


def _ready(url: str, *, accounts: Mapping[str, str]) -> None:
    first = next(iter(accounts), None)
    print(f"MPT_API_BASE_URL={url}" + (f" MPT_API_TOKEN={first}" if first else ""), flush=True)
    print(f"# {url}/docs describes the operations, and tries them", flush=True)
    for token, whose in accounts.items() if len(accounts) > 1 else ():
        print(f"# {token}  {output.printable(whose)}", flush=True)
    if first is None:
        output.warn("auditbox: the seed has no tokens, so that every request is a 401")
