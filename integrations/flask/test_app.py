"""The application of this folder under a real gunicorn, in processes of its own, against the emulator."""

from __future__ import annotations

import signal
from typing import Any

import pytest

WAYS = {"approve": "order.approved", "ship": "order.shipped", "cancel": "order.cancelled"}
GUNICORN = ("gunicorn", "--bind", "fd://{fd}", "--preload", "--no-control-socket")
SYNC = (*GUNICORN, "--workers", "4", "app:app")
THREADS = (*GUNICORN, "--workers", "4", "--worker-class", "gthread", "--threads", "4", "app:app")
BOTH = pytest.mark.parametrize("stage", ["newest", "oldest"], indirect=True)


def expected(job: Any) -> tuple[Any, ...]:
    """What the record of a request has to say; only the middleware knows the answer's status."""
    status = 200 if job.way == "ship" else None
    return job.id, job.order, WAYS[job.way], job.user, f"/orders/{{order_id}}/{job.way}", status


@BOTH
@pytest.mark.parametrize("command", [SYNC, THREADS], ids=["sync", "gthread"])
def test_many_users_a_kill_and_a_reload(
    stage: Any, make_jobs: Any, facts: Any, command: tuple[str, ...]
) -> None:
    """Four preloaded workers, one killed half-way, then a graceful reload: one record each, nobody else's."""
    killed, reloaded, last = (make_jobs(name, 40, WAYS) for name in ("killed", "reloaded", "last"))
    with stage.serving(*command) as server:
        answered = stage.send(server, killed, {40: server.kill_worker})
        assert len(answered) >= len(killed) - 8
        before = server.workers()
        answered |= stage.send(server, reloaded, {20: server.reload})
        server.wait_without(before)
        answered |= stage.send(server, last)
        assert answered >= set(last)
        assert server.get("/health").json() == {"status": "ok"}
        assert server.end() == 0
    stage.check([*killed, *reloaded, *last], answered, expected, facts)


def test_failures_and_strangers(stage: Any) -> None:
    """A 409 is a failure on record; who is not logged in is not served, and leaves no record."""
    headers = {"authorization": "Bearer USR-0556-8733", "x-request-id": "r"}
    with stage.serving(*GUNICORN, "app:app") as server:
        assert server.post("/orders/ORD-0001/cancel", headers=headers).status_code == 200
        assert server.post("/orders/ORD-0001/approve", headers=headers).status_code == 409
        assert server.post("/orders/ORD-0001/ship").status_code == 401
        server.end(signal.SIGTERM)
    failed, cancelled = stage.records()
    assert cancelled.event == "extensions.shop.order.cancelled"
    assert cancelled.documents["order"] == {"id": "ORD-0001", "status": "Cancelled"}
    assert failed.event == "extensions.shop.order.approval_failed"
    assert failed.auditbox["actor"] == {"id": "USR-0556-8733"}
    assert "cancelled" in failed.auditbox["outcome"]["error"]


@BOTH
def test_the_commands(stage: Any) -> None:
    """``flask audit`` tells what waits, delivers it, and touches no disk where nothing was captured."""
    assert stage.run("flask", "audit", "flush").stdout == "nothing was captured yet\n"
    assert not stage.outbox.exists()
    headers = {"authorization": "Bearer USR-0556-8733"}
    with stage.serving(*GUNICORN, "app:app", MPT_API_TOKEN="") as server:
        assert server.post("/orders/ORD-0001/ship", headers=headers).status_code == 200
        server.end()
    waiting = stage.run("flask", "audit", "status", "--max-age", "0")
    assert waiting.returncode == 1
    assert "pending       1" in waiting.stdout
    flushed = stage.run("flask", "audit", "flush", "--timeout", "60")
    told = "1 of 1 delivered or discarded, 0 pending, 0 dead letters\n"
    assert (flushed.returncode, flushed.stdout) == (0, told), flushed
    assert stage.run("flask", "audit", "status").returncode == 0
