"""after_commit: what is rolled back leaves no record."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from auditbox.capture.decorator import audited
from auditbox.capture.handler import AuditHandler
from auditbox.context import audit_context
from auditbox.errors import OutboxFull, RecordError
from auditbox.integrations.django import AfterCommit, after_commit
from auditbox.testing import CapturedRecords
from auditbox.trail import AuditTrail

pytestmark = pytest.mark.usefixtures("database", "trail")
ORDER = "ORD-1208-2301-8479"


@contextmanager
def undone() -> Iterator[None]:
    """A transaction that is rolled back."""
    with suppress(_Undo), transaction.atomic():
        yield
        raise _Undo


class _Undo(Exception):
    pass


def events(records: CapturedRecords) -> list[str]:
    """The last words of the events."""
    return [record.event.rpartition(".")[2] for record in records]


def test_a_commit_and_a_rollback(records: CapturedRecords) -> None:
    """Nothing is stored before the commit, everything after it, nothing of what is rolled back."""
    with transaction.atomic():
        identity = after_commit.record("order.approved", object=ORDER)
        assert not records
    assert records.one().id == identity
    with undone():
        after_commit.record("order.shipped", object=ORDER)
    assert events(records) == ["approved"]


def test_savepoints(records: CapturedRecords) -> None:
    """An inner block that is rolled back takes its records along, and no others."""
    with transaction.atomic():
        after_commit.record("order.first", object=ORDER)
        with undone():
            after_commit.record("order.second", object=ORDER)
        with transaction.atomic():
            after_commit.record_many([{"event": "order.third", "object": ORDER}])
    assert events(records) == ["first", "third"]


def test_values_are_those_of_the_call(records: CapturedRecords) -> None:
    """Documents, actor and request as they were, whatever happens until the commit."""
    order = {"status": "Approved"}
    with transaction.atomic():
        with audit_context(actor="USR-0001", request={"id": "r-1"}):
            after_commit.record("order.approved", object=ORDER, documents={"order": order})
        order["status"] = "Lost"
    record = records.one()
    assert record.documents is not None
    assert record.documents["order"] == {"status": "Approved"}
    assert (record.auditbox["actor"]["id"], record.auditbox["request"]["id"]) == ("USR-0001", "r-1")


def test_a_mistake_is_raised_at_once() -> None:
    """Where it can still be mended, not at the commit."""
    with transaction.atomic(), pytest.raises(RecordError, match="object"):
        after_commit.record("order.approved")


def test_the_decorator_and_the_handler(records: CapturedRecords) -> None:
    """Both take it as their trail."""

    @audited("order.approved", object=ORDER, trail="auditbox.integrations.django.after_commit")
    def approve() -> None:
        log.info("shipped", extra={"audit": {"event": "order.shipped", "object": ORDER}})

    log = logging.getLogger("test_commit")
    handler = AuditHandler(AfterCommit())  # type: ignore[arg-type]
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with transaction.atomic():
            approve()
            assert not records
        with undone():
            approve()
    finally:
        log.removeHandler(handler)
    assert events(records) == ["shipped", "approved"]


def test_in_async_code_it_is_stored_at_once(records: CapturedRecords) -> None:
    """There are no transactions in async code."""
    asyncio.run(after_commit.arecord("order.approved", object=ORDER))
    assert events(records) == ["approved"]


def bodies(trail: AuditTrail) -> list[Any]:
    """What is in the outbox."""
    trail.close()
    database = sqlite3.connect(trail.outbox.path)
    found = [
        json.loads(body)["event"].rpartition(".")[2] for (body,) in database.execute("SELECT body FROM entry")
    ]
    database.close()
    return found


def test_an_outbox_that_is_full_after_the_commit(
    trail: AuditTrail, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The commit's other hooks run, the record waits in memory, and is there once there is room again."""

    def full(drafts: Any) -> None:
        raise OutboxFull

    called = []
    with monkeypatch.context() as broken:
        broken.setattr(trail.outbox, "append", full)
        with transaction.atomic():
            after_commit.record("order.approved", object=ORDER)
            transaction.on_commit(lambda: called.append(1))
        assert called
        assert "waits in memory" in caplog.text
        with pytest.raises(OutboxFull):
            after_commit.record("order.refused", object=ORDER)
    after_commit.record("order.shipped", object=ORDER)
    assert bodies(trail) == ["approved", "shipped"]


def test_nothing_is_opened_for_it(trail: AuditTrail, records: CapturedRecords) -> None:
    """Outside a transaction the database is not even connected to."""
    connection.close()
    after_commit.record("order.approved", object=ORDER)
    assert connection.connection is None


WITHOUT_DATABASE = """
import django
from django.conf import settings
settings.configure(DATABASES={}, INSTALLED_APPS=["auditbox.integrations.django"], LOGGING_CONFIG=None,
    ROOT_URLCONF=__name__, MIDDLEWARE=["auditbox.integrations.django.AuditMiddleware"], ALLOWED_HOSTS=["*"],
    AUDITBOX={"OUTBOX": "audit.db", "EXTENSION": "shop",
              "ROUTES": {"POST /orders/{order}/": {"event": "order.changed", "object": "{order}"}}})
django.setup()
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from auditbox.integrations.django import after_commit
from auditbox.testing import capture

def view(request, order):
    after_commit.record("order.touched", object=order)
    return HttpResponse()

urlpatterns = [path("orders/<str:order>/", view)]
with capture() as records:
    assert Client().post("/orders/ORD-0001/").status_code == 200
print([record.event for record in records])
"""


def test_without_a_database(tmp_path: Path) -> None:
    """``DATABASES = {}``, where Django's own on_commit raises: captured directly."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_DATABASE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.strip() == "['extensions.shop.order.touched', 'extensions.shop.order.changed']", ended
    assert list(tmp_path.iterdir()) == []
