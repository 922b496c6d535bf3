"""``auditbox flush``."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from auditbox.cli import delivery, options, output
from auditbox.cli.progress import Progress, progress
from auditbox.outbox import waiting
from auditbox.outbox.inspection import Inspection

_POLL = 0.1


@click.command("flush")
@options.outbox
@delivery.credentials
@click.option("--timeout", type=options.seconds, default=30.0, show_default=True, metavar="S")
@click.pass_context
def command(ctx: click.Context, path: Path, url: str | None, token_file: Path | None, timeout: float) -> None:
    """Wait until everything captured so far is delivered.

    With a token (MPT_API_TOKEN) this process delivers itself whenever no other one does; without one it only
    waits for a relay that runs elsewhere. Exit status: 0 all delivered, 1 not all.
    """
    deadline, token = time.monotonic() + timeout, delivery.token_of(token_file)
    view = Inspection(path)
    upto, pending, dead = view.unsettled()
    if pending:
        with _relaying(path, url, token), progress() as shown:
            pending, dead = _wait(view, shown, upto, deadline, alone=token is None)
    print(output.settled(upto, pending, dead))
    if pending:
        output.warn(f"auditbox: it waits: {_reason(view, token)}")
    if dead:
        output.warn("auditbox: dead letters are shown by: auditbox dead list")
    ctx.exit(1 if pending or dead else 0)


@contextmanager
def _relaying(path: Path, url: str | None, token: str | Path | None) -> Iterator[None]:
    """Stands by as a relay for the time of the block: it delivers whenever no other one does."""
    if token is None:
        yield
        return
    logging.getLogger("auditbox").addHandler(logging.NullHandler())  # the last line says what went wrong
    outbox, worker = delivery.make_worker(path, url, token)
    try:
        worker.start()
        yield
    finally:
        worker.stop(timeout=2.0)
        outbox.close()


def _wait(view: Inspection, shown: Progress, upto: int, deadline: float, *, alone: bool) -> tuple[int, int]:
    _, pending, dead = view.unsettled(upto)
    first = pending
    while pending and time.monotonic() < deadline and not (alone and not view.relay()[0]):
        time.sleep(min(_POLL, max(0.0, deadline - time.monotonic())))
        _, pending, dead = view.unsettled(upto)
        shown.show({"delivered": (first - pending, first)})
    return pending, dead


def _reason(view: Inspection, token: str | Path | None) -> str:
    status = view.status()
    if token is None and not status.relay_alive:
        return (
            "no relay is running: set MPT_API_TOKEN and this command delivers (an application with a sink "
            "relays from its next record on)"
        )
    # With a token there was one all the time, if only this command's own, which has ended by now.
    return waiting.why(status.pending, True, status.waits) or "there was not enough time"
