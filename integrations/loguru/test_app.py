"""The application of this folder under a real uvicorn with two workers, against the emulator."""

from __future__ import annotations

from typing import Any

import pytest

WAYS = {"approve": "order.approved", "ship": "order.shipped"}
UVICORN = ("uvicorn", "--fd", "{fd}", "--no-access-log", "--workers", "2", "app:app")
BOTH = pytest.mark.parametrize("stage", ["newest", "oldest"], indirect=True)


def expected(job: Any) -> tuple[Any, ...]:
    """What the record of a request has to say."""
    return job.id, job.order, WAYS[job.way], job.user, f"/orders/{{order_id}}/{job.way}", None


@BOTH
def test_many_users_a_kill_and_a_reload(stage: Any, make_jobs: Any, facts: Any) -> None:
    """One worker killed half-way, then a graceful reload: one record each, nobody else's."""
    killed, reloaded, last = (make_jobs(name, 40, WAYS) for name in ("killed", "reloaded", "last"))
    with stage.serving(*UVICORN) as server:
        answered = stage.send(server, killed, {30: server.kill_worker})
        assert len(answered) >= len(killed) // 2
        before = server.workers()
        answered |= stage.send(server, reloaded, {20: server.reload})
        server.wait_without(before)
        answered |= stage.send(server, last)
        assert answered >= set(last)
        assert server.get("/health").json() == {"status": "ok"}
        server.end()
    stage.check([*killed, *reloaded, *last], answered, expected, facts)


def test_fields_are_a_document(stage: Any) -> None:
    """What else the line says is in the record."""
    with stage.serving(*UVICORN) as server:
        headers = {"authorization": "Bearer USR-0556-8733"}
        assert server.post("/orders/ORD-0001/approve", headers=headers).status_code == 200
        server.end()
    (record,) = stage.records()
    assert record.summary == "Order ORD-0001 approved"
    assert record.documents["fields"] == {"total": 12}
    assert "INFO Order ORD-0001 approved" in stage.log.read_text()
