"""``auditbox tail``."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from auditbox.cli import made, options, output
from auditbox.cli.entries import about, lane
from auditbox.outbox.inspection import Inspection, Story

_POLL = 0.25
_NUMBERS, _STATES = 6, len("delivered")
"""The room for a number (as in ``cat -n``: what follows is not known yet) and for a state."""
_ONCE = (
    "auditbox: each entry is shown once, in its state at that moment; what becomes of one says "
    "`auditbox dead show NUMBER`, of all `auditbox status`"
)


@click.command("tail")
@options.outbox
@options.as_json
@click.option("-n", "count", type=click.IntRange(min=0), default=10, show_default=True, metavar="N")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is captured from now on, until Ctrl-C.")
@options.wait
def command(path: Path, as_json: bool, count: int, follow: bool, wait: bool) -> None:
    """The newest entries, oldest first: number, time of capture, state, object, event, summary.

    Behind the object stands lane=NAME where the capture named a lane. With -f each entry is shown once, as it
    is captured; its state is that of the moment. With -f and --wait a new outbox is shown from its beginning.
    """
    new = wait and not made.is_made(path)
    if new:
        made.until_made(path, threading.Event())
    view = Inspection(path)
    last = 0 if new and follow else _newest(view, count, as_json)
    if follow:
        output.warn(_ONCE)
    while follow:
        time.sleep(_POLL)
        fresh = view.after(last)
        _print(fresh, as_json)
        if fresh:
            last = fresh[-1].seq
        elif view.last_seq() < last:  # a new outbox stands in the place of the old one
            last = 0


def _newest(view: Inspection, count: int, as_json: bool) -> int:
    """Shows so many; the number after which what is captured from now on begins."""
    last = view.last_seq()
    stories = view.newest(count)
    _print(stories, as_json)
    return max([last, *(story.seq for story in stories)])


def _print(stories: Sequence[Story], as_json: bool) -> None:
    for story in stories:
        print(output.to_json(asdict(story)) if as_json else _line(story))
    sys.stdout.flush()


def _line(story: Story) -> str:
    at = output.iso(story.captured_at) if story.captured_at else "?"
    record = story.record if isinstance(story.record, dict) else {}
    named = (f"lane={lane(story)}",) if lane(story) else ()
    number, state = str(story.seq).rjust(_NUMBERS), story.state.ljust(_STATES)
    parts = (number, at, state, about(story), *named, record.get("event"), record.get("summary"))
    return "  ".join(output.printable(part) for part in parts)
