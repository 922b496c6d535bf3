"""The project of this folder under real servers, in processes of its own, against the emulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

WAYS = {"approve": "order.approved", "ship": "order.shipped", "cancel": "order.cancelled"}
GUNICORN = ("gunicorn", "--bind", "fd://{fd}", "--preload", "--no-control-socket", "--workers", "4")
WSGI = "django.core.wsgi:get_wsgi_application()"
SYNC = (*GUNICORN, WSGI)
THREADS = (*GUNICORN, "--worker-class", "gthread", "--threads", "4", WSGI)
UVICORN = ("uvicorn", "--fd", "{fd}", "--no-access-log", "--lifespan", "off", "--workers", "2", "--factory")
ASGI = (*UVICORN, "django.core.asgi:get_asgi_application")
BOTH = pytest.mark.parametrize("stage", ["newest", "oldest"], indirect=True)
SERVERS = pytest.mark.parametrize("command", [SYNC, THREADS, ASGI], ids=["sync", "gthread", "uvicorn"])


@pytest.fixture
def environment(stage: Any, tmp_path: Path) -> dict[str, str]:
    """The project's settings, and a database with its tables."""
    made = {"DJANGO_SETTINGS_MODULE": "app", "DATABASE": str(tmp_path / "db.sqlite3")}
    stage.environment.update(made)
    assert stage.run("django", "migrate", "--run-syncdb", "--verbosity", "0").returncode == 0
    return made


def expected(job: Any) -> tuple[Any, ...]:
    """What the record of a request has to say; only the middleware knows the answer's status."""
    status = 200 if job.way == "ship" else None
    return job.id, job.order, WAYS[job.way], job.user, f"/orders/{{order_id}}/{job.way}", status


@BOTH
@SERVERS
def test_many_users_a_kill_and_a_reload(
    stage: Any, environment: dict[str, str], make_jobs: Any, facts: Any, command: tuple[str, ...]
) -> None:
    """Several workers, one killed half-way, then a graceful reload: one record each, nobody else's."""
    killed, reloaded, last = (make_jobs(name, 40, WAYS) for name in ("killed", "reloaded", "last"))
    with stage.serving(*command) as server:
        answered = stage.send(server, killed, {40: server.kill_worker})
        assert len(answered) >= len(killed) // 2
        before = server.workers()
        answered |= stage.send(server, reloaded, {20: server.reload})
        server.wait_without(before)
        answered |= stage.send(server, last)
        assert answered >= set(last)
        assert server.get("/health").json() == {"status": "ok"}
        server.end()
    stage.check([*killed, *reloaded, *last], answered, expected, facts)


@SERVERS
def test_failures_and_strangers(
    stage: Any, environment: dict[str, str], facts: Any, command: tuple[str, ...]
) -> None:
    """What is rolled back leaves no record; who is not authenticated is not served, and leaves none."""
    headers = {"authorization": "Bearer USR-0556-8733", "x-request-id": "r"}
    with stage.serving(*command) as server:
        assert server.post("/orders/ORD-0001/cancel", headers=headers).status_code == 200
        assert server.post("/orders/ORD-0001/approve", headers=headers).status_code == 409
        assert server.post("/orders/ORD-0001/ship").status_code == 401
        assert server.post("/orders/ORD-0001/approve").status_code == 401
        assert server.post("/orders/ORD-0001/cancel").status_code == 401
        server.end()
    (cancelled,) = stage.records()
    known = ("r", "ORD-0001", "order.cancelled", "USR-0556-8733", "/orders/{order_id}/cancel", None)
    assert facts(cancelled) == known
    assert cancelled.documents["cancellation"]["order_number"] == "ORD-0001"


@BOTH
def test_the_commands(stage: Any, environment: dict[str, str]) -> None:
    """``check`` finds nothing, and ``audit`` tells what waits and delivers it."""
    assert stage.run("django", "check", "--tag", "auditbox").returncode == 0
    assert stage.run("django", "audit", "flush").stdout == "nothing was captured yet\n"
    assert not stage.outbox.exists()
    headers = {"authorization": "Bearer USR-0556-8733"}
    with stage.serving(*SYNC, MPT_API_TOKEN="") as server:
        assert server.post("/orders/ORD-0001/ship", headers=headers).status_code == 200
        server.end()
    waiting = stage.run("django", "audit", "status", "--max-age", "0")
    assert waiting.returncode == 1
    assert "pending       1" in waiting.stdout
    flushed = stage.run("django", "audit", "flush", "--timeout", "60")
    told = "1 of 1 delivered or discarded, 0 pending, 0 dead letters\n"
    assert (flushed.returncode, flushed.stdout) == (0, told), flushed
