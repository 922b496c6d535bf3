"""The demo from its first request to its table."""

from __future__ import annotations

import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from auditbox.cli import output
from auditbox.cli.demo.app import TOKEN
from auditbox.cli.demo.stage import Stage
from auditbox.cli.demo.traffic import Traffic
from auditbox.cli.demo.verdict import ROUTES, Verdict, judge, read_back
from auditbox.cli.progress import Progress, progress
from auditbox.errors import AuditboxError

OUTAGE = 3.0
"""Seconds without an Audit API."""
_PATIENCE = 90.0
"""Seconds after which an act of the demo counts as failed."""


def play(requests: int, *, as_json: bool, serve: bool) -> bool:
    """Plays the demo and prints its table; whether nothing was lost, doubled or out of order."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="auditbox-demo-") as folder, Stage(Path(folder)) as stage:
        traffic = Traffic(stage.app, tuple(ROUTES), requests=requests, clients=8, orders=24)
        with progress() as shown, traffic:
            _Acts(stage, traffic, shown).play()
        verdict = judge(read_back(stage.api, TOKEN), traffic.acknowledged, traffic.unanswered)
        if as_json:
            print(output.to_json(verdict.to_json()), flush=True)
        else:
            _show(verdict)
        if serve:
            _serve(stage, sys.stderr if as_json else sys.stdout)
    return verdict.good


class _Acts:
    """What happens while the clients ask."""

    def __init__(self, stage: Stage, traffic: Traffic, shown: Progress) -> None:
        self._stage, self._traffic, self._shown = stage, traffic, shown

    def play(self) -> None:
        """All of it; returns when everything that was captured is delivered."""
        traffic = self._traffic
        traffic.allowed = int(traffic.total * 0.65)  # the rest is for the kill, however long the outage takes
        self._shown.say(f"Audit API on {self._stage.api}, application on {self._stage.app}")
        self._until(lambda: traffic.done >= traffic.total * 0.2)
        self._outage()
        self._until(lambda: traffic.done >= traffic.allowed)
        self._kill()
        self._until(lambda: traffic.over)
        self._shown.say("all requests are over; waiting for the last records to arrive")
        self._until(lambda: self._stage.pending() == 0)

    def _outage(self) -> None:
        self._stage.take_api_down()
        self._shown.say(f"the Audit API is down (SIGKILL), for {OUTAGE:.0f} s; the application goes on")
        end = time.monotonic() + OUTAGE
        self._until(lambda: time.monotonic() >= end)
        self._stage.bring_api_back()
        self._shown.say("the Audit API is back")

    def _kill(self) -> None:
        """Without pauses there is a request of every client in flight when the application dies."""
        traffic, before, pause = self._traffic, self._traffic.done, self._traffic.pause
        traffic.pause, traffic.allowed = 0.0, traffic.total
        self._until(lambda: traffic.done >= before + traffic.total // 20)
        died = self._stage.kill_app()
        traffic.pause = pause
        self._shown.say(f"the application was killed (SIGKILL, process {died}) and started again")

    def _until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not reached():
            if time.monotonic() >= deadline:
                raise AuditboxError(f"the demo made no headway: {self._stage.outbox.status().waits}")
            self._report()
            time.sleep(0.05)
        self._report()

    def _report(self) -> None:
        captured, pending, _ = self._stage.outbox.unsettled()
        counts = {
            "requests": (self._traffic.done, self._traffic.total),
            "records delivered": (captured - pending, captured),
        }
        self._shown.show(counts)


def _show(verdict: Verdict) -> None:
    total = verdict.total
    tallies = [*verdict.routes.values(), total]
    rows = [
        ("captured (acknowledged)", *(tally.captured for tally in tallies)),
        ("delivered", *(tally.delivered for tally in tallies)),
        ("lost", *(tally.lost for tally in tallies)),
        ("duplicated", *(tally.duplicated for tally in tallies)),
        ("out of order per object", *(tally.out_of_order for tally in tallies)),
    ]
    print()
    output.table(("", *verdict.routes, "all"), rows)
    print()
    if verdict.unanswered:
        print(
            f"{output.counted(verdict.unanswered, 'request')} got no answer because of the kill; of these, "
            f"{verdict.unanswered_delivered} had reached the disk and arrived"
        )
    if verdict.seconds:
        median, worst = statistics.median(verdict.seconds), max(verdict.seconds)
        print(f"from capture to delivery: median {output.age(median)}, worst {output.age(worst)}")
    for name in ("unexpected", "gaps"):
        if count := getattr(verdict, name):
            print(f"{name}: {count}")


def _serve(stage: Stage, out: TextIO) -> None:
    print(
        f"\nAudit API    {stage.api}\napplication  {stage.app}\noutbox       {stage.outbox.path}\n\n"
        f"  curl -X POST {stage.app}/orders/ORD-2025-1122-0001/approve\n"
        f"  curl -g -H 'Authorization: Bearer {TOKEN}' "
        f"'{stage.api}/public/v1/audit/records?limit=1&order=-timestamp&select=%2Bdocuments'\n\n"
        "Ctrl-C ends both.",
        file=out,
        flush=True,
    )
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print(file=out)
