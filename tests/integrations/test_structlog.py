"""AuditProcessor: events of structlog that carry ``audit`` become records."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("structlog")
import structlog

from auditbox.capture.handler import AuditHandler
from auditbox.context import audit_context
from auditbox.errors import ConfigurationError, OutboxFull
from auditbox.integrations.structlog import AuditProcessor
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


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    """What reaches the end of the chain."""
    return []


@pytest.fixture
def log(trail: AuditTrail, lines: list[dict[str, Any]]) -> Any:
    """A logger with the processor in its chain."""

    def last(logger: Any, method: str, event_dict: Any) -> Any:
        lines.append(dict(event_dict))
        raise structlog.DropEvent

    before = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level]
    return structlog.wrap_logger(
        None, processors=[*before, AuditProcessor(trail), last], wrapper_class=structlog.BoundLogger
    )


def test_an_event_with_audit_is_a_record(log: Any, records: CapturedRecords, lines: list[Any]) -> None:
    """Its text is the summary, its pairs the document ``fields``; the line goes on without ``audit``."""
    with audit_context(actor="USR-0556-8733"):
        log.bind(tenant="acme").info("Order approved", total=12, audit=AUDIT)
    record = records.one("order.approved")
    assert record.object is not None
    assert (record.object.id, record.summary) == (ORDER, "Order approved")
    assert record.documents is not None
    assert record.documents["fields"] == {"tenant": "acme", "total": 12}
    assert record.auditbox["actor"] == {"id": "USR-0556-8733"}
    assert record.auditbox["source"] == {"level": "INFO"}
    assert lines == [{"event": "Order approved", "level": "info", "tenant": "acme", "total": 12}]


def test_other_events_pass_untouched(log: Any, records: CapturedRecords, lines: list[Any]) -> None:
    """Without ``audit`` nothing is captured and nothing is changed."""
    log.warning("Stock is low", sku="X1")
    assert not records
    assert lines == [{"event": "Stock is low", "level": "warning", "sku": "X1"}]


def test_what_audit_names_wins(log: Any, records: CapturedRecords) -> None:
    """Summary, documents and outcome of ``audit`` are taken as they are, beside the line's own pairs."""
    given = {**AUDIT, "summary": "Approved", "documents": {"order": {"total": 1}}, "outcome": "success"}
    log.info("ignored", sku="X1", audit=given)
    record = records.one()
    assert record.summary == "Approved"
    assert record.documents is not None
    assert (record.documents["order"], record.documents["fields"]) == ({"total": 1}, {"sku": "X1"})
    assert record.auditbox["outcome"] == {"status": "success"}


@pytest.mark.parametrize("form", ["flag", "instance", "tuple"])
def test_an_exception_is_a_failure(log: Any, records: CapturedRecords, form: str) -> None:
    """``exc_info`` in each of its forms; a line without one has no outcome."""
    try:
        raise ValueError("no stock")
    except ValueError as error:
        given = {"flag": True, "instance": error, "tuple": (ValueError, error, None)}[form]
        log.error("Order not approved", exc_info=given, audit=AUDIT)
    log.info("Order approved", audit=AUDIT)
    failed, approved = records
    assert failed.auditbox["outcome"] == {"status": "failure", "error": "ValueError: no stock"}
    assert "outcome" not in approved.auditbox


@pytest.mark.parametrize(
    "audit", ["order.approved", {"object": ORDER}, {**AUDIT, "color": "red"}, {"event": "x"}]
)
def test_what_can_be_no_record_does_not_disturb_the_application(
    log: Any, records: CapturedRecords, lines: list[Any], audit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The line is logged as ever, and an ERROR line of auditbox says what is wrong."""
    log.info("Order approved", audit=audit)
    assert not records
    assert lines == [{"event": "Order approved", "level": "info"}]
    assert [(line.name.partition(".")[0], line.levelname) for line in caplog.records] == [
        ("auditbox", "ERROR")
    ]


def test_what_cannot_be_stored_waits_in_memory(
    log: Any, trail: AuditTrail, lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full outbox does not raise into the application; the record is there once there is room again."""

    def full(drafts: Any) -> None:
        raise OutboxFull

    with monkeypatch.context() as broken:
        broken.setattr(trail, "_append_alone", lambda draft: False)
        broken.setattr(trail.outbox, "append", full)
        log.info("Order approved", audit=AUDIT)
        assert len(lines) == 1
    log.info("Order shipped", audit={**AUDIT, "event": "order.shipped"})
    trail.close()
    with sqlite3.connect(trail.outbox.path) as database:
        bodies = [json.loads(body) for (body,) in database.execute("SELECT body FROM entry ORDER BY seq")]
    database.close()
    assert [body["event"].rpartition(".")[2] for body in bodies] == ["approved", "shipped"]


def test_a_document_that_logs_itself(log: Any, records: CapturedRecords) -> None:
    """A ``__repr__`` that logs the very same line ends, and the line is recorded."""

    class Chatty:
        def __repr__(self) -> str:
            log.info("Order approved", audit={**AUDIT, "documents": {"chatty": self}})
            return "chatty"

    log.info("Order approved", audit={**AUDIT, "documents": {"chatty": Chatty()}})
    assert 1 <= len(records) <= 3
    assert records[-1].documents is not None
    assert "chatty" in records[-1].documents["chatty"]


def test_async_logging_keeps_the_context(log: Any, trail: AuditTrail, records: CapturedRecords) -> None:
    """``await log.ainfo`` runs the chain in a thread; each task's line has its own actor."""

    async def one(user: str) -> None:
        with audit_context(actor=user):
            await bound.ainfo("Order approved", user=user, audit=AUDIT)

    async def all_of_them() -> None:
        await asyncio.gather(*(one(f"USR-{number:04d}") for number in range(20)))

    bound = structlog.wrap_logger(
        structlog.PrintLogger(), processors=[AuditProcessor(trail), structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )  # fmt: skip
    asyncio.run(all_of_them())
    assert len(records) == 20
    for record in records:
        assert record.documents is not None
        assert record.auditbox["actor"]["id"] == record.documents["fields"]["user"]


def test_with_the_standard_librarys_handler_there_is_one_record(
    trail: AuditTrail, records: CapturedRecords
) -> None:
    """A chain that ends in ``logging``, with AuditHandler at its end, doubles nothing."""
    standard = logging.getLogger("test_structlog.shop")
    handler = AuditHandler(trail)
    standard.addHandler(handler)
    try:
        log = structlog.wrap_logger(
            standard,
            processors=[AuditProcessor(trail), structlog.stdlib.render_to_log_kwargs],
            wrapper_class=structlog.stdlib.BoundLogger,
        )
        log.warning("Order approved", sku="X1", audit=AUDIT)
    finally:
        standard.removeHandler(handler)
    assert records.one().auditbox["source"] == {"level": "WARNING", "logger": "test_structlog.shop"}


def test_where_the_line_was_logged(trail: AuditTrail, records: CapturedRecords) -> None:
    """What CallsiteParameterAdder adds is the source, not a field."""
    added = structlog.processors.CallsiteParameterAdder(
        [structlog.processors.CallsiteParameter.FUNC_NAME, structlog.processors.CallsiteParameter.LINENO]
    )
    log = structlog.wrap_logger(
        structlog.PrintLogger(),
        processors=[added, AuditProcessor(trail), structlog.processors.JSONRenderer()],
    )
    log.msg("Order approved", audit=AUDIT)
    record = records.one()
    assert record.auditbox["source"]["function"] == "test_where_the_line_was_logged"
    assert record.documents is not None
    assert "fields" not in record.documents


def test_a_trail_that_is_none() -> None:
    """Found when the chain is configured."""
    with pytest.raises(ConfigurationError, match="is not an AuditTrail"):
        AuditProcessor(3)  # type: ignore[arg-type]
