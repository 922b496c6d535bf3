"""The application of this folder under real servers, in processes of its own, against the emulator."""

from __future__ import annotations

import signal
from typing import Any

import pytest

WAYS = {"approve": "order.approved", "ship": "order.shipped", "cancel": "order.cancelled"}
UVICORN = ("uvicorn", "--fd", "{fd}", "--no-access-log", "app:app")
HYPERCORN = ("hypercorn", "--bind", "fd://{fd}", "--workers", "2", "app:app")
BOTH = pytest.mark.parametrize("stage", ["newest", "oldest"], indirect=True)


def expected(job: Any) -> tuple[Any, ...]:
    """What the record of a request has to say; only the middleware knows the answer's status."""
    status = 200 if job.way == "ship" else None
    return job.id, job.order, WAYS[job.way], job.user, f"/orders/{{order_id}}/{job.way}", status


def test_every_answered_request_has_its_record(stage: Any, make_jobs: Any, facts: Any) -> None:
    """Three ways to capture, many users at once: one record each, with its own actor, object and route."""
    wanted = make_jobs("r", 40, WAYS)
    with stage.serving(*UVICORN) as server:
        assert stage.send(server, wanted) == set(wanted)
        assert server.get("/health").json() == {"status": "ok"}
        assert server.post("/orders/ORD-0001/ship").status_code in (401, 403)
        assert server.end() in (0, -signal.SIGTERM)  # uvicorn ends, then raises the signal again
    stage.check(wanted, set(wanted), expected, facts)


def test_a_failure_is_a_record_too(stage: Any, facts: Any) -> None:
    """An order that is cancelled cannot be approved: the client gets a 409, the trail a failure."""
    with stage.serving(*UVICORN) as server:
        headers = {"authorization": "Bearer USR-0556-8733", "x-request-id": "r"}
        assert server.post("/orders/ORD-0001/cancel", headers=headers).status_code == 200
        assert server.post("/orders/ORD-0001/approve", headers=headers).status_code == 409
        assert server.post("/orders/wrong/approve", headers=headers).status_code == 422
        server.end()
    failed, cancelled = stage.records()
    assert facts(cancelled)[2] == "order.cancelled"
    assert cancelled.documents["order"] == {"id": "ORD-0001", "status": "Cancelled"}
    assert facts(failed)[2] == "order.approval_failed"
    assert failed.auditbox["outcome"]["status"] == "failure"
    assert "cancelled" in failed.auditbox["outcome"]["error"]


def test_the_only_process_is_killed(stage: Any, make_jobs: Any, facts: Any) -> None:
    """kill -9 under load, then a restart: what was answered is there once, what was not at most once."""
    first, second = make_jobs("first", 60, WAYS), make_jobs("second", 20, WAYS)
    with stage.serving(*UVICORN) as server:
        answered = stage.send(server, first, {40: lambda: server.end(signal.SIGKILL)})
        assert 40 <= len(answered) < len(first)
    with stage.serving(*UVICORN) as server:
        answered |= stage.send(server, second)
        server.end()
    assert answered >= set(second)
    stage.check([*first, *second], answered, expected, facts)


@BOTH
def test_two_uvicorn_workers_a_kill_and_a_reload(stage: Any, make_jobs: Any, facts: Any) -> None:
    """One worker is killed half-way, then all are replaced gracefully: one record each, nobody else's."""
    killed, reloaded, last = (make_jobs(name, 40, WAYS) for name in ("killed", "reloaded", "last"))
    with stage.serving(*UVICORN, "--workers", "2") as server:
        answered = stage.send(server, killed, {40: server.kill_worker})
        before = server.workers()
        answered |= stage.send(server, reloaded, {20: server.reload})
        server.wait_without(before)
        answered |= stage.send(server, last)
        assert answered >= set(last)
        assert server.end() in (0, -signal.SIGTERM)
    stage.check([*killed, *reloaded, *last], answered, expected, facts)


def test_two_hypercorn_workers_a_reload_and_a_kill(stage: Any, make_jobs: Any, facts: Any) -> None:
    """As with uvicorn; hypercorn ends when one of its workers is killed, and is started again."""
    reloaded, killed, last = (make_jobs(name, 40, WAYS) for name in ("reloaded", "killed", "last"))
    with stage.serving(*HYPERCORN) as server:
        answered = stage.send(server, reloaded[:6])  # it takes signals only once its workers run
        before = server.workers()
        answered |= stage.send(server, reloaded[6:], {20: server.reload})
        server.wait_without(before)
        answered |= stage.send(server, killed, {40: server.kill_worker})
        server.process.wait(60)
    with stage.serving(*HYPERCORN) as server:
        answered |= stage.send(server, last)
        assert answered >= set(last)
        assert server.end() == 0
    stage.check([*reloaded, *killed, *last], answered, expected, facts)
