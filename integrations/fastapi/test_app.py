"""The application of this folder under a real uvicorn, in a process of its own, against the emulator."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from auditbox.api import AuditApi
from auditbox.emulator import running
from auditbox.relay.policy import Policy
from auditbox.trail import AuditTrail

HERE = Path(__file__).parent
TOKEN = "idt:TKN-1234-5678:secret"
WAYS = {"approve": "order.approved", "ship": "order.shipped", "cancel": "order.cancelled"}


class App:
    """The application's process."""

    def __init__(self, outbox: Path, url: str) -> None:
        environment = {"AUDITBOX_OUTBOX": str(outbox), "MPT_API_BASE_URL": url, "MPT_API_TOKEN": TOKEN}
        # Listening before the process starts: no request comes too early. Only the process keeps it open.
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "uvicorn",
                    "app:app",
                    "--fd",
                    str(listener.fileno()),
                    "--no-access-log",
                ],
                cwd=HERE,
                env={**os.environ, **environment},
                pass_fds=[listener.fileno()],
            )

    def end(self, how: signal.Signals) -> int:
        """Sends the signal and waits."""
        self.process.send_signal(how)
        return self.process.wait(60)


@contextmanager
def started(outbox: Path, url: str) -> Iterator[App]:
    """The running application; it is gone afterwards in any case."""
    app = App(outbox, url)
    try:
        yield app
    finally:
        app.process.kill()
        app.process.wait()


Job = tuple[str, str, str, str]


def jobs(prefix: str, orders: int) -> list[Job]:
    """For each order three requests, each of another user: (request id, order, way, user)."""
    return [
        (f"{prefix}-{order}-{way}", f"ORD-{order:04d}-{index:04d}", way, f"USR-{order:04d}-{index:04d}")
        for order in range(orders)
        for index, way in enumerate(WAYS)
    ]


def send(url: str, wanted: list[Job], kill_after: int | None = None, app: App | None = None) -> set[Job]:
    """Sends the requests at the same time; gives those that were answered."""
    answered: set[Job] = set()

    def one(client: httpx.Client, job: Job) -> None:
        request, order, way, user = job
        headers = {"authorization": f"Bearer {user}", "x-request-id": request}
        try:
            answer = client.post(f"/orders/{order}/{way}", headers=headers)
        except httpx.TransportError:
            return
        assert answer.status_code == 200
        answered.add(job)
        if app is not None and len(answered) == kill_after:
            app.end(signal.SIGKILL)

    with httpx.Client(base_url=url, timeout=30) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda job: one(client, job), wanted))
    return answered


def arrived(url: str) -> list[Any]:
    """All records that the Audit API has, with their documents."""
    with AuditApi(url, token=TOKEN) as api:
        return list(api.records.iterate(select=["+documents"]))


def facts(record: Any) -> tuple[str, str, str, str, str]:
    """What a record says: request id, object, event, actor and route."""
    own = record.auditbox
    event = record.event.removeprefix("extensions.shop.")
    return own["request"]["id"], record.object.id, event, own["actor"]["id"], own["request"]["route"]


def expected(job: Job) -> tuple[str, str, str, str, str]:
    """What the record of a request has to say."""
    request, order, way, user = job
    return request, order, WAYS[way], user, f"/orders/{{order_id}}/{way}"


def deliver_the_rest(outbox: Path, url: str) -> None:
    """What the application's process left behind is still in its outbox."""
    policy = Policy(verify_after=0.5)
    with AuditTrail(outbox, sink=url, token=TOKEN, policy=policy) as rest:
        assert rest.flush(timeout=60)


def test_every_answered_request_has_its_record(tmp_path: Path) -> None:
    """Three ways to capture, many users at once: one record each, with its own actor, object and route."""
    outbox = tmp_path / "audit.db"
    with running() as emulator, started(outbox, emulator.url) as app:
        wanted = jobs("r", 40)
        assert send(app.url, wanted) == set(wanted)
        assert httpx.get(f"{app.url}/health").json() == {"status": "ok"}
        assert httpx.post(f"{app.url}/orders/ORD-0001/ship").status_code in (401, 403)
        assert app.end(signal.SIGTERM) in (0, -signal.SIGTERM)  # uvicorn ends, then raises the signal again
        deliver_the_rest(outbox, emulator.url)
        assert Counter(map(facts, arrived(emulator.url))) == Counter(map(expected, wanted))


def test_a_failure_is_a_record_too(tmp_path: Path) -> None:
    """An order that is cancelled cannot be approved: the client gets a 409, the trail a failure."""
    outbox = tmp_path / "audit.db"
    with running() as emulator, started(outbox, emulator.url) as app:
        headers = {"authorization": "Bearer USR-0556-8733", "x-request-id": "r"}
        assert httpx.post(f"{app.url}/orders/ORD-0001/cancel", headers=headers).status_code == 200
        assert httpx.post(f"{app.url}/orders/ORD-0001/approve", headers=headers).status_code == 409
        assert httpx.post(f"{app.url}/orders/wrong/approve", headers=headers).status_code == 422
        app.end(signal.SIGTERM)
        deliver_the_rest(outbox, emulator.url)
        failed, cancelled = arrived(emulator.url)
        assert facts(cancelled)[2] == "order.cancelled"
        assert cancelled.documents["order"] == {"id": "ORD-0001", "status": "Cancelled"}
        assert facts(failed)[2] == "order.approval_failed"
        assert failed.auditbox["outcome"]["status"] == "failure"
        assert "cancelled" in failed.auditbox["outcome"]["error"]


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """kill -9 under load, then a restart: what was answered is there once, what was not at most once."""
    outbox = tmp_path / "audit.db"
    first, second = jobs("first", 60), jobs("second", 20)
    with running() as emulator:
        with started(outbox, emulator.url) as app:
            answered = send(app.url, first, kill_after=40, app=app)
            assert 40 <= len(answered) < len(first)
        with started(outbox, emulator.url) as app:
            answered |= send(app.url, second)
            app.end(signal.SIGTERM)
        deliver_the_rest(outbox, emulator.url)
        counted = Counter(map(facts, arrived(emulator.url)))
        assert set(map(expected, answered)) <= set(counted)
        assert set(counted) <= set(map(expected, first + second))
        assert set(counted.values()) == {1}
        assert answered >= set(second)
