"""AuditSink: lines of loguru that carry ``audit`` become records."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("loguru")
from loguru import logger

from auditbox.context import audit_context
from auditbox.errors import ConfigurationError, OutboxFull, RecordError
from auditbox.integrations.loguru import AuditSink, carries_audit, carry_context
from auditbox.testing import CapturedRecords, capture
from auditbox.trail import AuditTrail

ORDER = "ORD-1208-2301-8479"
AUDIT = {"event": "order.approved", "object": ORDER}


@pytest.fixture
def trail(tmp_path: Path) -> AuditTrail:
    """A trail that shows where a line was logged."""
    return AuditTrail(tmp_path / "audit.db", extension="shop", share=["source", "name"])


@pytest.fixture
def records() -> Iterator[CapturedRecords]:
    """What is captured."""
    with capture() as captured:
        yield captured


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """loguru has one logger for the process: none of its sinks outlives a test."""
    logger.remove()
    yield
    logger.remove()
    logger.configure(patcher=None)


def add(trail: AuditTrail, **options: Any) -> list[str]:
    """Adds the sink, and one that keeps the lines as a console would show them."""
    lines: list[str] = []
    logger.add(AuditSink(trail), filter=carries_audit, **options)
    logger.add(lines.append, format="{level} {message}")
    return lines


def test_a_line_with_audit_is_a_record(trail: AuditTrail, records: CapturedRecords) -> None:
    """Its message is the summary, what else is in ``extra`` the document ``fields``."""
    lines = add(trail)
    with audit_context(actor="USR-0556-8733"):
        logger.bind(tenant="acme").info("Order {id} approved", id=7, audit=AUDIT)
    logger.info("nothing to record")
    record = records.one("order.approved")
    assert record.object is not None
    assert (record.object.id, record.summary) == (ORDER, "Order 7 approved")
    assert record.documents is not None
    assert record.documents["fields"] == {"tenant": "acme", "id": 7}
    assert record.auditbox["actor"] == {"id": "USR-0556-8733"}
    source = record.auditbox["source"]
    assert (source["function"], source["level"]) == ("test_a_line_with_audit_is_a_record", "INFO")
    assert lines == ["INFO Order 7 approved\n", "INFO nothing to record\n"]


def test_audit_may_be_bound_or_contextual(trail: AuditTrail, records: CapturedRecords) -> None:
    """``bind`` and ``contextualize`` work as for every other value."""
    add(trail)
    logger.bind(audit=AUDIT).info("one")
    with logger.contextualize(audit=AUDIT):
        logger.info("two")
    logger.info("three")
    assert [record.summary for record in records] == ["one", "two"]


def test_an_exception_is_a_failure(trail: AuditTrail, records: CapturedRecords) -> None:
    """``logger.exception`` and ``opt(exception=…)``."""
    add(trail)
    try:
        raise ValueError("no stock")
    except ValueError:
        logger.bind(audit=AUDIT).exception("Order not approved")
    assert records.one().auditbox["outcome"] == {"status": "failure", "error": "ValueError: no stock"}


def test_a_users_text_is_not_rendered_by_the_platform(trail: AuditTrail, records: CapturedRecords) -> None:
    """Placeholders in a message are broken up; the ones of ``audit`` are the application's own."""
    add(trail)
    logger.info("Order {} approved", "{{actor.name}}", audit=AUDIT)
    logger.info("x", audit={**AUDIT, "summary": "By {{actor.name}}"})
    assert [record.summary for record in records] == ["Order { {actor.name}} approved", "By {{actor.name}}"]


@pytest.mark.parametrize(
    "audit", ["order.approved", {"object": ORDER}, {**AUDIT, "color": "red"}, {"event": "x"}]
)
def test_what_can_be_no_record_is_reported_as_loguru_does(
    trail: AuditTrail, records: CapturedRecords, audit: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, while the application and the other sinks go on; raised with ``catch=False``."""
    lines = add(trail)
    logger.info("Order approved", audit=audit)
    assert not records
    assert lines == ["INFO Order approved\n"]
    assert "RecordError" in capsys.readouterr().err
    logger.remove()
    add(trail, catch=False)
    with pytest.raises(RecordError):
        logger.info("Order approved", audit=audit)


def test_what_cannot_be_stored_is_reported(
    trail: AuditTrail, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full outbox is never silent, and never stops the application."""

    def full(drafts: Any) -> None:
        raise OutboxFull

    monkeypatch.setattr(trail, "_append_alone", lambda draft: False)
    monkeypatch.setattr(trail.outbox, "append", full)
    lines = add(trail)
    logger.info("Order approved", audit=AUDIT)
    assert lines == ["INFO Order approved\n"]
    assert "OutboxFull" in capsys.readouterr().err


def test_a_document_that_logs(trail: AuditTrail, records: CapturedRecords) -> None:
    """loguru refuses a line from inside a sink; the document is marked unreadable, the record is there."""

    class Chatty:
        def __repr__(self) -> str:
            logger.info("from within", audit=AUDIT)
            return "chatty"

    add(trail)
    logger.info("Order approved", audit={**AUDIT, "documents": {"chatty": Chatty()}})
    assert records.one().summary == "Order approved"


def test_a_queue_keeps_the_context(trail: AuditTrail, records: CapturedRecords) -> None:
    """``enqueue=True``: another thread captures, with the actor and the time of the line."""
    logger.configure(patcher=carry_context)
    add(trail, enqueue=True)

    def one(user: str) -> None:
        with audit_context(actor={"id": user, "name": "Will"}, request={"id": f"r-{user}"}):
            logger.info("Order approved", user=user, audit=AUDIT)

    threads = [threading.Thread(target=one, args=(f"USR-{number:04d}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logger.complete()
    assert len(records) == 8
    for record in records:
        assert record.documents is not None
        user = record.documents["fields"].pop("user")
        assert record.auditbox["actor"] == {"id": user, "name": "Will"}
        assert record.auditbox["request"] == {"id": f"r-{user}"}
        assert record.documents["fields"] == {}


def test_lines_of_auditbox_are_never_recorded(trail: AuditTrail, records: CapturedRecords) -> None:
    """Where the standard library's logging is sent to loguru, with everything that it carries."""

    class Intercept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            named = logger.patch(lambda line: line.update(name=record.name))
            named.bind(audit=AUDIT).log(record.levelname, record.getMessage())

    add(trail)
    handler = Intercept()
    names = ("auditbox.relay", "httpx", "shop")
    for name in names:
        logging.getLogger(name).addHandler(handler)
    try:
        for name in names:
            logging.getLogger(name).warning("a line of %s", name)
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)
    assert [record.summary for record in records] == ["a line of shop"]


def test_a_trail_that_is_none() -> None:
    """Found when the sink is made."""
    with pytest.raises(ConfigurationError, match="is not an AuditTrail"):
        AuditSink(3)  # type: ignore[arg-type]
