"""``auditbox doctor``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from auditbox.cli import delivery, options, output
from auditbox.errors import ConfigurationError, OutboxError
from auditbox.outbox import checkup
from auditbox.outbox.checkup import Check
from auditbox.outbox.inspection import Inspection
from auditbox.sinks.base import Delivery, Later, VerifyOutcome

_PATIENCE = 15.0
_WRONG_CLOCK = 300.0
_NOBODY = "ORD-0000-0000-0000"
_EVENT = "extensions.auditbox.doctor"


@click.command("doctor")
@options.outbox
@delivery.credentials
@options.as_json
@click.pass_context
def command(ctx: click.Context, path: Path, url: str | None, token_file: Path | None, as_json: bool) -> None:
    """Look at everything that delivery depends on, and say what to do.

    The file and what is in it, the disk, SQLite, the relay, the clock, the token, the Audit API. Changes
    nothing and sends nothing. Exit status: 0 nothing has failed (there may be warnings), 1 something has,
    2 there is no outbox.
    """
    path = path.expanduser().resolve()
    if not path.exists():
        raise click.UsageError(f"there is no outbox at {path}: name the file that the application writes")
    checks = list(_checks(path, url, token_file))
    if as_json:
        print(output.to_json([asdict(check) for check in checks]))
    else:
        output.table(("CHECK", "STATE", "FOUND"), [(one.check, one.state, one.found) for one in checks])
        for check in checks:
            if check.advice and check.state != "ok":
                print(output.printable(f"{check.check}: {check.advice}"))
    ctx.exit(1 if any(check.state == "failed" for check in checks) else 0)


def _checks(path: Path, url: str | None, token_file: Path | None) -> Iterator[Check]:
    yield from checkup.examine(path)
    view = Inspection(path)
    try:
        yield checkup.relay(view)
        yield checkup.letters(view)
        destination = url or view.status().destination
    except OutboxError as error:
        yield Check("relay", "unknown", str(error))
        destination = url
    yield from _remote(destination, token_file)


def _remote(url: str | None, token_file: Path | None) -> Iterator[Check]:
    """The token, the API and the clock, by one look-up of a record that does not exist."""
    if url is None or not url.startswith(("http://", "https://")):
        yield Check("api", "unknown", "where it is, is not known here", "set MPT_API_BASE_URL, or pass --url")
        return
    from auditbox.sinks.audit_api import AuditApiSink

    token = delivery.token_of(token_file)
    if token is None:
        yield Check("token", "unknown", "none is set here", "set MPT_API_TOKEN, or pass --token-file FILE")
        return
    try:
        sink = AuditApiSink(url, token, deadline=_PATIENCE)
        sink.check()
    except ConfigurationError as error:
        yield Check("token", "failed", str(error), "correct it; nothing is lost meanwhile")
        return
    try:
        body = json.dumps({"event": _EVENT, "object": {"id": _NOBODY}}).encode()
        outcome = sink.verify(Delivery(0, "", _NOBODY, body, sent_at=time.time()))
        yield from _judged(outcome, sink.destination)
        yield _clock(sink.clock(), time.time())
    finally:
        sink.close()


def _judged(outcome: VerifyOutcome, url: str) -> Iterator[Check]:
    problem, cause = (outcome.problem, outcome.cause) if isinstance(outcome, Later) else (None, None)
    if problem is None:
        yield Check("token", "ok", "accepted")
        yield Check("api", "ok", f"{url} answers")
    elif cause == "unauthorized":
        yield Check("token", "failed", problem.reason, "renew the token; nothing is lost meanwhile")
        yield Check("api", "ok", f"{url} answers")
    elif problem.status == 429 or (problem.status or 0) >= 500:
        advice = "nothing to do here, the other side has to; captures go on and nothing is lost"
        yield Check("api", "failed", f"{url}: {problem.reason}", advice)
    elif problem.status is not None:
        yield Check(
            "api", "failed", f"{url}: {problem.reason}", "check the address and what stands before it"
        )
    else:
        yield Check(
            "api", "failed", f"{url}: {problem.reason}", "check the address, the network and the proxy"
        )


def _clock(theirs: float, ours: float) -> Check:
    if not theirs:
        return Check("clock", "unknown", "the API has not said what time it is")
    if abs(theirs - ours) > _WRONG_CLOCK:
        advice = "set this machine's clock: times of occurrence are taken from it"
        return Check("clock", "warning", f"{abs(theirs - ours):,.0f} s away from the API's", advice)
    return Check("clock", "ok", "agrees with the API's")
