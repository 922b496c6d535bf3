"""The extension of this folder under a real uvicorn, in processes of its own, against the emulator."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

WAYS = {"approve": "order.approved", "ship": "order.shipped", "process": "order.processed"}
UVICORN = ("uvicorn", "--fd", "{fd}", "--no-access-log", "--workers", "2")
SDK = {
    "MPT_API_TOKEN": "",
    "SDK_EXTENSION_API_KEY": "idt:EXT-1234-5678:secret",
    "SDK_EXTENSION_ID": "EXT-1234-5678",
    "SDK_EXTENSION_URL": "https://shop.example",
    "SDK_OBSERVABILITY_ENABLED": "false",
}


def expected(job: Any) -> tuple[Any, ...]:
    """What the record of a request has to say; only the middleware knows the answer's status."""
    status = 200 if job.way == "ship" else None
    return job.id, job.order, WAYS[job.way], job.user, f"/orders/{{order_id}}/{job.way}", status


def claims(account: str) -> str:
    """A JSON Web Token as the platform sends it to an extension; the SDK leaves its check to the platform."""
    known = {"accountId": account, "accountType": "Vendor", "extensionId": SDK["SDK_EXTENSION_ID"]}
    payload = {f"https://claims.softwareone.com/{name}": value for name, value in known.items()}
    parts = ({}, {**payload, "exp": int(time.time()) + 3600}, {})
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )


@pytest.fixture
def sdk(stage: Any, environments: Any) -> Any:
    """The same stage with the extension that is built on the SDK, in an environment of its own."""
    base = environments.interpreter("3.12")
    if base is None:
        pytest.skip("mpt-extension-sdk needs Python 3.12, and there is none here")
    stage.example /= "sdk"
    stage.python = environments.python(
        stage.example / "requirements.txt", "mpt-extension-sdk==6.8.0", base=base
    )
    stage.environment.update(SDK)
    return stage


def test_two_workers_a_kill_and_a_reload(stage: Any, make_jobs: Any, facts: Any) -> None:
    """No shutdown hook, a worker killed, all replaced: one record each, with its own order and account."""
    play(stage, make_jobs, facts, "app:app", str)


@pytest.mark.timeout(400)  # the first time its environment is made
def test_the_same_on_the_sdk(sdk: Any, make_jobs: Any, facts: Any) -> None:
    """The real package's application, loggers, context variables and authentication."""
    play(sdk, make_jobs, facts, "shop_extension.asgi:app", claims)


def play(stage: Any, make_jobs: Any, facts: Any, app: str, token: Callable[[str], str]) -> None:
    """One worker is killed half-way, then all are replaced gracefully."""
    killed, reloaded, last = (make_jobs(name, 40, WAYS) for name in ("killed", "reloaded", "last"))
    with stage.serving(*UVICORN, app) as server:
        answered = stage.send(server, killed, {40: server.kill_worker}, token)
        before = server.workers()
        answered |= stage.send(server, reloaded, {20: server.reload}, token)
        server.wait_without(before)
        answered |= stage.send(server, last, token=token)
        assert answered >= set(last)
        server.end()
    stage.check([*killed, *reloaded, *last], answered, expected, facts)


def test_the_extensions_key_will_do(stage: Any) -> None:
    """Without MPT_API_TOKEN the SDK's own key delivers; a caller without a token leaves no record."""
    headers = {"authorization": "Bearer ACC-0001-0002", "x-request-id": "r"}
    with stage.serving(*UVICORN, "app:app", **SDK) as server:
        assert server.post("/orders/ORD-0001/process", headers=headers).status_code == 200
        assert server.post("/orders/ORD-0001/process").status_code in (401, 403)
        server.end()
    [record] = stage.records()
    assert (record.object.id, record.auditbox["actor"]) == ("ORD-0001", {"id": "ACC-0001-0002"})
