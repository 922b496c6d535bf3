"""``auditbox status``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from auditbox.cli import options, output
from auditbox.outbox import waiting
from auditbox.outbox.inspection import Inspection, Status


@click.command("status")
@options.outbox
@options.as_json
@click.option("--max-age", type=options.seconds, metavar="S", help="1 if the oldest pending is older.")
@click.option("--max-dead", type=click.IntRange(min=0), metavar="N", help="1 if there are more dead letters.")
@click.pass_context
def command(
    ctx: click.Context, path: Path, as_json: bool, max_age: float | None, max_dead: int | None
) -> None:
    """What the outbox holds, and why delivery waits.

    With --max-age or --max-dead the exit status is a probe's: 0 within the limits, 1 beyond, 2 if the outbox
    cannot be read.
    """
    status = Inspection(path).status()
    alarms = _alarms(status, max_age, max_dead)
    if as_json:
        print(output.to_json({**asdict(status), "waits": why(status), "alarms": alarms}))
    else:
        output.pairs(_rows(status))
        for alarm in alarms:
            output.warn(f"auditbox: {alarm}")
    ctx.exit(1 if alarms else 0)


def _alarms(status: Status, max_age: float | None, max_dead: int | None) -> list[str]:
    alarms = []
    oldest = status.oldest_pending_seconds
    if max_age is not None and oldest is not None and oldest > max_age:
        alarms.append(
            f"the oldest pending entry is {output.age(oldest)} old, more than {output.age(max_age)}"
        )
    if max_dead is not None and status.dead > max_dead:
        alarms.append(f"{output.counted(status.dead, 'dead letter')}, more than {max_dead}")
    return alarms


def _rows(status: Status) -> list[tuple[str, object]]:
    sizes = f"{output.size(status.file_bytes)}, WAL {output.size(status.wal_bytes)}"
    return [
        ("outbox", f"{status.outbox} ({sizes})"),
        ("destination", status.destination or "not set yet"),
        ("captured", f"{status.captured:,}"),
        ("delivered", f"{status.delivered:,} still kept"),
        ("pending", _pending(status)),
        ("dead letters", f"{status.dead:,}" + (" (see: auditbox dead list)" if status.dead else "")),
        ("discarded", f"{status.discarded:,} still kept"),
        ("relay", _relay(status)),
        ("waits", why(status) or "no"),
    ]


def _pending(status: Status) -> str:
    text = f"{status.pending:,}"
    if status.oldest_pending_seconds is not None:
        text += f", the oldest for {output.age(status.oldest_pending_seconds)}"
    states = ", ".join(f"{count:,} {state}" for state, count in status.states.items() if count)
    return f"{text} ({states})" if states else text


def _relay(status: Status) -> str:
    if status.relay_heartbeat is None:
        return "running" if status.relay_alive else "never ran"
    since = max(0.0, (datetime.now(UTC) - status.relay_heartbeat).total_seconds())
    state = f"process {status.relay_pid}" if status.relay_alive else "not running"
    return f"{state}, last moved something {output.age(since)} ago"


def why(status: Status) -> str | None:
    """Why what is pending is not delivered yet, as far as the outbox tells."""
    return waiting.why(status.pending, status.relay_alive, status.waits)
