"""A relay outside the application: put together from the environment and what the outbox itself says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from auditbox import settings
from auditbox.errors import ConfigurationError
from auditbox.outbox.inspection import Inspection
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.relay.policy import Policy
from auditbox.relay.worker import Worker

NO_TOKEN = "there is no API token: set MPT_API_TOKEN, or pass --token-file FILE"
_OF_THE_OUTBOX = ("durability", "max_bytes", "keep_delivered")


def credentials(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say where to deliver, with which token. It is never an argument: ps would show it."""
    url = click.option(
        "--url",
        envvar="MPT_API_BASE_URL",
        metavar="URL",
        help="The Audit API; else MPT_API_BASE_URL, else where the outbox belongs.",
    )
    token = click.option(
        "--token-file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Holds the token, read again after a 401; else MPT_API_TOKEN, else AUDITBOX_TOKEN_FILE.",
    )
    return url(token(function))


def token_of(token_file: Path | None) -> str | Path | None:
    """The token or where to read it; None where neither is set."""
    given: str | Path | None = token_file or settings.from_environment(os.environ).get("token")
    return given


def open_outbox(path: Path, destination: str | None = None, *, change: bool = False) -> SqliteOutbox:
    """An outbox that exists, to change something in it; the command line never makes one.

    ``change``: it may go to another destination, as if the application said so, while nothing was delivered.

    Raises:
        OutboxUnusable: there is none, it cannot be used, or it belongs to another destination.
    """
    Inspection(path).last_seq()  # its errors are the clearer ones, and come before any file is made
    given = settings.from_environment(os.environ)
    options = {name: given[name] for name in _OF_THE_OUTBOX if name in given}
    outbox = SqliteOutbox(path, destination=destination, create=change, **options)
    outbox.last_seq()
    return outbox


def make_worker(
    path: Path, url: str | None, token: str | Path | None, *, change: bool = False
) -> tuple[SqliteOutbox, Worker]:
    """The outbox and a relay for it that has not been started.

    Raises:
        ConfigurationError: where to deliver, or the token, is unknown or unusable.
        OutboxUnusable: see :func:`open_outbox`.
    """
    from auditbox.sinks.audit_api import AuditApiSink

    if url is None:
        url = Inspection(path).status().destination
        if url is None:
            raise ConfigurationError(
                f"where outbox {path} delivers to is not known: set MPT_API_BASE_URL, or pass --url"
            )
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"outbox {path} belongs to {url}: only its own application delivers there"
            )
    if token is None:
        raise ConfigurationError(NO_TOKEN)
    given = settings.from_environment(os.environ)
    sink = AuditApiSink(url, token, transport=given.get("transport", "httpx"))
    sink.check()
    outbox = open_outbox(path, sink.destination, change=change)
    concurrency = given.get("concurrency", 16)
    settings.at_least("concurrency", concurrency, 1)
    return outbox, Worker(outbox, sink, Policy(), concurrency=concurrency)
