"""``auditbox relay``."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from auditbox.cli import delivery, made, options, output
from auditbox.outbox.inspection import Inspection
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.relay.worker import Worker

_LOOK = 1.0
"""Seconds between two looks at who relays."""


@click.command("relay")
@options.outbox
@delivery.credentials
@options.wait
@click.option(
    "--change-destination",
    "change",
    is_flag=True,
    help="Deliver to --url what belongs elsewhere: an address that was wrong, and took nothing.",
)
@click.option(
    "--drain",
    type=options.seconds,
    default=5.0,
    show_default=True,
    metavar="S",
    help="How long to go on delivering after SIGTERM or SIGINT.",
)
def command(
    path: Path, url: str | None, token_file: Path | None, wait: bool, change: bool, drain: float
) -> None:
    """Deliver from an outbox, outside the application.

    One process relays at a time: while another one does, this one stands by and takes over when it ends.
    SIGTERM and SIGINT drain; what is left then stays in the outbox.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with _stopped_by_signals() as stop:
        if wait and not made.until_made(path, stop):
            return
        leads = True
        outbox, worker = delivery.make_worker(path, url, delivery.token_of(token_file), change=change)
        try:
            worker.start()
            leads = _follow(worker, outbox, Inspection(path), stop)
        finally:
            left = worker.close(drain if leads else 0.0)  # what another process delivers needs no wait
    output.warn(f"auditbox: stopped; {left.pending} pending")


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; the second one ends the process as ever."""
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        stop.set()
        for name, before in previous.items():
            signal.signal(name, before)

    previous = {name: signal.signal(name, handle) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for name, before in previous.items():
            signal.signal(name, before)


def _follow(worker: Worker, outbox: SqliteOutbox, view: Inspection, stop: threading.Event) -> bool:
    """Says who relays, whenever that changes, until it is stopped; whether this process does at the end.

    Another one is named when it is seen a second time: between its election and its first transaction the
    outbox still names the one before, which may be dead.
    """
    said = seen = None
    while True:
        alive, pid = view.relay()
        if worker.leads:
            pid, text = os.getpid(), f"relaying {view.path} to {outbox.destination}"
        else:
            text = f"process {pid} relays {view.path}; standing by"
        if pid != said and (worker.leads or (alive and pid == seen)):
            output.warn(f"auditbox: {text}")
            said = pid
        seen = pid if alive else None
        if stop.wait(_LOOK):
            return worker.leads
