"""AuditHandler: which log lines become records, with what in them, and what happens when they cannot."""

from __future__ import annotations

import logging
import logging.config
import logging.handlers
import pickle
import queue
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace as otel_trace

from auditbox import default as defaults
from auditbox.capture.handler import AuditContextFilter, AuditHandler
from auditbox.context import Scope, audit_context
from auditbox.errors import ConfigurationError
from auditbox.outbox.inspection import Inspection
from auditbox.testing import CapturedRecords
from auditbox.trail import AuditTrail

from .conftest import ORDER, OTHER

APPROVED = {"event": "order.approved", "object": ORDER}


@pytest.fixture
def log(trail: AuditTrail) -> Iterator[logging.Logger]:
    """A logger with an AuditHandler."""
    logger = logging.getLogger("shop.audit-test")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(AuditHandler(trail))
    yield logger
    logger.handlers.clear()
    logger.filters.clear()


def lost(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was said of lost records."""
    return [said for said in caplog.records if said.name == "auditbox.capture"]


@pytest.fixture(autouse=True)
def _no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "_default", None)


def test_records_lines_that_carry_audit(log: logging.Logger, records: CapturedRecords) -> None:
    """The message is the summary; the rest is as given."""
    log.info("Order approved", extra={"audit": {**APPROVED, "documents": {"order": {"id": ORDER}}}})
    record = records.one("order.approved")
    assert record.object is not None
    assert (record.object.id, record.summary, record.details) == (ORDER, "Order approved", "Order approved")
    assert record.documents is not None
    assert record.documents["order"] == {"id": ORDER}


def test_leaves_all_other_lines_alone(log: logging.Logger, records: CapturedRecords) -> None:
    """It may sit on the root logger: lines without ``audit`` are not records."""
    log.info("Order approved")
    log.info("Order approved", extra={"order": ORDER, "audit": None})
    assert not records


def test_says_where_the_line_was_logged(log: logging.Logger, records: CapturedRecords) -> None:
    """Logger, level, function, file and line stand in the record's source."""
    log.warning("x", extra={"audit": APPROVED})
    source = records.one().auditbox["source"]
    assert (source["logger"], source["level"]) == ("shop.audit-test", "WARNING")
    assert (source["function"], source["file"]) == ("test_says_where_the_line_was_logged", __file__)
    assert source["line"] > 1


def test_does_not_change_what_was_given(log: logging.Logger, records: CapturedRecords) -> None:
    """The mapping is the application's: a constant may be used again and again."""
    before = dict(APPROVED)
    log.info("x", extra={"audit": APPROVED})
    log.info("y", extra={"audit": APPROVED})
    assert before == APPROVED
    assert [record.summary for record in records] == ["x", "y"]


def test_a_given_summary_wins(log: logging.Logger, records: CapturedRecords) -> None:
    """The message is only the default."""
    log.info("for the log", extra={"audit": {**APPROVED, "summary": "for people", "details": "{{order.id}}"}})
    assert (records.one().summary, records.one().details) == ("for people", "{{order.id}}")


@pytest.mark.parametrize(
    ("message", "args", "summary"),
    [
        ("Order %s of %s", (ORDER, "Ann"), f"Order {ORDER} of Ann"),
        ("Order %(id)s", ({"id": ORDER},), f"Order {ORDER}"),
        ("Order {{order.id}} of %s", ("Ann",), "Order {{order.id}} of Ann"),
        ("100 %", (), "100 %"),
        ("Note: %s", ("{{actor.name}}",), "Note: { {actor.name}}"),
        ("{{order.id}}: %s", ("{{actor.name}}",), "{{order.id}}: { {actor.name}}"),
        ("%s{{order.id}}%s", ("{", "{"), "{ {{order.id}}{"),
        ("{{a}}{{b}} %s", ("{{c}}",), "{{a}}{{b}} { {c}}"),
        ("{%s", ("{x}}",), "{ {x}}"),
        (ValueError("as a message"), (), "as a message"),
    ],
)
def test_the_message_as_summary(
    log: logging.Logger,
    records: CapturedRecords,
    message: Any,
    args: tuple[Any, ...],
    summary: str,
) -> None:
    """Arguments are put in; a ``{{`` that they bring is broken up, the literal's own placeholders stay."""
    log.info(message, *args, extra={"audit": APPROVED})
    assert records.one().summary == summary


def test_arguments_that_do_not_fit(trail: AuditTrail, records: CapturedRecords) -> None:
    """A mistake in the log line's format costs the text its values, not the record."""
    line = logging.makeLogRecord({"name": "shop", "msg": "Order %d", "args": ("many",), "audit": APPROVED})
    AuditHandler(trail).handle(line)
    assert records.one().summary == "Order %d"


def test_exception_info_is_a_failure(log: logging.Logger, records: CapturedRecords) -> None:
    """logger.exception() makes the outcome a failure that names the error."""
    try:
        raise ValueError("no stock")
    except ValueError:
        log.exception("Order failed", extra={"audit": APPROVED})
    assert records.one().auditbox["outcome"] == {"status": "failure", "error": "ValueError: no stock"}
    assert records.one().summary == "Order failed"


def test_a_given_outcome_wins(log: logging.Logger, records: CapturedRecords) -> None:
    """exc_info is only the default; and without an exception it is none."""
    log.info("x", exc_info=ValueError("x"), extra={"audit": {**APPROVED, "outcome": "success"}})
    log.info("x", exc_info=True, extra={"audit": APPROVED})
    assert [record.auditbox.get("outcome") for record in records] == [{"status": "success"}, None]


def test_context_counts(log: logging.Logger, records: CapturedRecords) -> None:
    """Actor and object come from the context where the line does not name them."""
    with audit_context(actor="USR-0556-8733", object=OTHER):
        log.info("x", extra={"audit": {"event": "order.approved"}})
    record = records.one()
    assert record.object is not None
    assert (record.object.id, record.auditbox["actor"]) == (OTHER, {"id": "USR-0556-8733"})


@pytest.mark.parametrize(
    ("audit", "words"),
    [
        ({**APPROVED, "evnt": 1}, "'evnt': unknown key; known are actor, "),
        ({"object": ORDER}, "event=None"),
        ({"event": "order.approved"}, "object=None"),
        ({**APPROVED, "object": "whatever"}, "object='whatever'"),
        ("order.approved", "a mapping such as"),
        (dict([*APPROVED.items(), (7, 1)]), "unknown key"),
    ],
)
@pytest.mark.parametrize("raise_exceptions", [True, False])
def test_a_wrong_line_is_reported_and_does_not_raise(
    log: logging.Logger,
    records: CapturedRecords,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    audit: Any,
    words: str,
    raise_exceptions: bool,
) -> None:
    """One ERROR line says what is lost and why, whatever logging.raiseExceptions says."""
    monkeypatch.setattr(logging, "raiseExceptions", raise_exceptions)
    log.info("x", extra={"audit": audit})
    assert not records
    [said] = lost(caplog)
    assert (said.levelname, said.exc_info) == ("ERROR", None)
    event = "order.approved" if "event" in audit and isinstance(audit, dict) else "a line of shop.audit-test"
    assert said.getMessage().startswith(f"audit record of {event}")
    assert "is lost: RecordError: " in said.getMessage()
    assert words in said.getMessage()
    assert capsys.readouterr().err == ""


def test_an_undeclared_event_is_reported_with_the_way_out(
    tmp_path: Path, records: CapturedRecords, caplog: pytest.LogCaptureFixture
) -> None:
    """In the words that the decorator has for it."""
    log = logging.Logger("shop")
    log.addHandler(AuditHandler(AuditTrail(tmp_path / "audit.db", extension="shop", events=["order.split"])))
    log.info("x", extra={"audit": APPROVED})
    assert [said.getMessage() for said in lost(caplog)] == [
        f"audit record of order.approved about {ORDER!r} is lost: UndeclaredEvent: event='order.approved': "
        "declare it in the trail's events={…}; declared: extensions.shop.order.split"
    ]


def test_an_unexpected_exception_has_its_traceback(
    log: logging.Logger, records: CapturedRecords, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a mistake in a program, not a value that breaks a rule."""

    class Broken(dict[str, Any]):
        def keys(self) -> Any:
            raise OSError("gone")

    log.info("x", extra={"audit": types.MappingProxyType(Broken(APPROVED))})
    [said] = lost(caplog)
    assert "is lost: OSError: gone" in said.getMessage()
    assert said.exc_info is not None
    assert isinstance(said.exc_info[1], OSError)


def test_what_is_said_of_a_lost_line_is_no_record_and_no_loop(
    trail: AuditTrail, records: CapturedRecords, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where that line comes back to this handler, and where what it shows logs a wrong line itself."""

    class Chatty:
        def __repr__(self) -> str:
            root.info("seen", extra={"audit": {"event": "order.seen", "object": self}})
            return "chatty"

    root = logging.getLogger()
    root.addHandler(handler := AuditHandler(trail))
    memory = logging.handlers.MemoryHandler(10, target=handler)
    try:
        with caplog.at_level("INFO"):
            root.error("y", extra={"audit": {**APPROVED, "object": Chatty()}})
            root.addHandler(memory)
            root.error("x", extra={"audit": {**APPROVED, "object": "whatever"}})
    finally:
        root.removeHandler(handler)
        root.removeHandler(memory)
    assert not records
    said = [line.getMessage() for line in lost(caplog)]
    assert sum("about 'whatever'" in line for line in said) == 2
    assert sum("order.approved about <Chatty>" in line for line in said) == 1
    assert len(said) < 20


def test_without_a_trail_it_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A handler whose default trail was never configured reports each line."""
    log = logging.Logger("shop")
    log.addHandler(AuditHandler())
    log.info("x", extra={"audit": APPROVED})
    assert "is lost: NoTrail: No trail is configured: call auditbox.configure" in caplog.text


def test_the_default_trail_may_come_later(trail: AuditTrail, records: CapturedRecords) -> None:
    """logging is configured before the trail, as programs do."""
    log = logging.Logger("shop")
    log.addHandler(AuditHandler())
    defaults.configure(trail)
    log.info("x", extra={"audit": APPROVED})
    assert records.one().event == "extensions.shop.order.approved"


@pytest.mark.parametrize("name", ["shop_with_trail:holder.trail", "shop_with_trail.holder.trail"])
def test_a_trail_by_its_name(
    trail: AuditTrail, records: CapturedRecords, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """dictConfig can name a trail that does not exist yet: it is looked up at the first line."""
    (tmp_path / "shop_with_trail.py").write_text("raise ImportError('too early')")
    monkeypatch.syspath_prepend(tmp_path)
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"audit": {"class": "auditbox.AuditHandler", "trail": name}},
        "loggers": {"shop.by-name": {"handlers": ["audit"], "level": "INFO", "propagate": False}},
    }
    logging.config.dictConfig(config)
    module: Any = types.ModuleType("shop_with_trail")
    module.holder = types.SimpleNamespace(trail=trail)
    monkeypatch.setitem(sys.modules, "shop_with_trail", module)
    logging.getLogger("shop.by-name").info("x", extra={"audit": APPROVED})
    assert records.one("order.approved")


def test_dict_config_with_a_factory(trail: AuditTrail, records: CapturedRecords) -> None:
    """``()`` takes the class itself, a trail instance, a level and filters."""
    config: dict[str, Any] = {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"big": {"()": lambda: lambda record: record.getMessage() != "small"}},
        "handlers": {"audit": {"()": AuditHandler, "trail": trail, "level": "WARNING", "filters": ["big"]}},
        "loggers": {"shop.factory": {"handlers": ["audit"], "level": "INFO", "propagate": False}},
    }
    logging.config.dictConfig(config)
    log = logging.getLogger("shop.factory")
    log.info("too low", extra={"audit": APPROVED})
    log.error("small", extra={"audit": APPROVED})
    log.error("big", extra={"audit": APPROVED})
    assert records.one().summary == "big"


@pytest.mark.parametrize("name", ["nope", "not a name", "no_such_module:trail", "no_such_module.trail", ""])
def test_a_name_that_no_trail_can_have_is_refused(name: str) -> None:
    """At construction, through dictConfig too: a name without a module, or of none that exists."""
    with pytest.raises(ConfigurationError, match=f"trail='{name}'"):
        AuditHandler(name)
    config = {"version": 1, "handlers": {"audit": {"class": "auditbox.AuditHandler", "trail": name}}}
    with pytest.raises(ValueError, match="audit") as caught:
        logging.config.dictConfig({**config, "incremental": False, "disable_existing_loggers": False})
    assert isinstance(caught.value.__cause__, ConfigurationError)


@pytest.mark.parametrize("name", ["json:no_such_name", "json:dumps", "json.no_such_module:trail"])
def test_a_wrong_name_is_reported(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A name that leads nowhere, or to something else, is an error at each line."""
    log = logging.Logger("shop")
    log.addHandler(AuditHandler(name))
    log.info("x", extra={"audit": APPROVED})
    assert "is lost: ConfigurationError: " in caplog.text
    assert name in caplog.text


def test_something_that_is_no_trail() -> None:
    """What cannot work is refused when the handler is made."""
    with pytest.raises(ConfigurationError, match="not an AuditTrail"):
        AuditHandler(42)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["auditbox", "auditbox.relay", "httpx", "httpcore.http11"])
def test_own_lines_are_no_records(trail: AuditTrail, records: CapturedRecords, name: str) -> None:
    """Delivery logs, through us and the HTTP client: that is never captured."""
    log = logging.Logger(name)
    log.addHandler(AuditHandler(trail))
    log.info("x", extra={"audit": APPROVED})
    assert not records


def test_a_document_that_logs_itself(log: logging.Logger, records: CapturedRecords) -> None:
    """A ``__repr__`` that logs the line it is part of ends: a line that is being captured is no new one."""

    class Chatty:
        def __repr__(self) -> str:
            log.info(
                "seen", extra={"audit": {"event": "order.seen", "object": ORDER, "documents": {"o": self}}}
            )
            return "chatty"

        __str__ = __repr__

    log.info("approved", extra={"audit": {**APPROVED, "documents": {"order": Chatty()}}})
    assert {record.summary for record in records} == {"approved", "seen"}
    assert records.one("order.approved").summary == "approved"


def test_a_signal_handler_that_logs_is_recorded(log: logging.Logger, records: CapturedRecords) -> None:
    """Another line that comes in the middle of a capture, on the same thread, is no repetition."""

    class Interrupted:
        def __str__(self) -> str:
            signal.raise_signal(signal.SIGUSR1)
            return "interrupted"

        __repr__ = __str__

    def on_signal(*_: Any) -> None:
        log.info("stopped", extra={"audit": {"event": "service.stopped", "object": OTHER}})

    outer = signal.signal(signal.SIGUSR1, on_signal)
    try:
        log.info("x", extra={"audit": {**APPROVED, "documents": {"order": Interrupted()}}})
    finally:
        signal.signal(signal.SIGUSR1, outer)
    assert records.all("service.stopped")
    assert records.one("order.approved")


def _queued(trail: AuditTrail, lines: Any) -> None:
    """Logs the lines through a queue whose listener, on another thread, has the AuditHandler."""
    lines_queue: queue.Queue[Any] = queue.Queue()
    handler = logging.handlers.QueueHandler(lines_queue)
    handler.addFilter(AuditContextFilter())
    log = logging.Logger("shop.queued")
    log.addHandler(handler)
    listener = logging.handlers.QueueListener(lines_queue, AuditHandler(trail))
    lines(log)
    listener.start()
    listener.stop()


def test_the_filter_carries_context_through_a_queue(trail: AuditTrail, records: CapturedRecords) -> None:
    """The listener's thread knows actor, object and trace as they were when the line was logged."""
    span = otel_trace.NonRecordingSpan(otel_trace.SpanContext(0xA, 0xB, is_remote=False))

    def lines(log: logging.Logger) -> None:
        token = otel_context.attach(otel_trace.set_span_in_context(span))
        with Scope({"actor": "USR-0556-8733", "request": {"id": "req-1"}}, is_request=True) as opened:
            with audit_context(object=OTHER):
                log.info("x", extra={"audit": {"event": "order.approved"}})
            opened.values["actor"] = "USR-0000-0001"
        otel_context.detach(token)

    _queued(trail, lines)
    record = records.one()
    assert record.object is not None
    assert record.object.id == OTHER
    assert record.auditbox["actor"] == {"id": "USR-0556-8733"}
    assert record.auditbox["request"] == {"id": "req-1"}
    assert record.auditbox["trace"] == {"traceId": "a".zfill(32), "spanId": "b".zfill(16)}


def test_a_queue_keeps_message_error_and_time(trail: AuditTrail, records: CapturedRecords) -> None:
    """QueueHandler formats lines and drops their exception: the record is as without a queue."""

    def lines(log: logging.Logger) -> None:
        log.error("Note %s", "{{x}}", exc_info=ValueError("no stock"), extra={"audit": APPROVED})

    before = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    _queued(trail, lines)
    record = records.one()
    assert record.summary == "Note { {x}}"
    assert record.auditbox["outcome"]["error"] == "ValueError: no stock"
    assert record.auditbox["occurredAt"] >= before


def test_the_time_is_the_lines_own(trail: AuditTrail, records: CapturedRecords) -> None:
    """A line that waited in a queue happened when it was logged, with or without the filter."""
    made: list[logging.LogRecord] = []

    def line() -> None:
        record = logging.makeLogRecord({"msg": "x", "name": "shop", "audit": APPROVED})
        record.created = 1_700_000_000.125
        made.append(record)

    thread = threading.Thread(target=line)
    thread.start()
    thread.join()
    AuditHandler(trail).handle(made[0])
    assert records.one().auditbox["occurredAt"] == "2023-11-14T22:13:20.125Z"


def test_what_the_filter_adds_can_be_pickled() -> None:
    """A multiprocessing queue pickles lines: what comes out carries the same context."""
    record = logging.makeLogRecord({"msg": "x", "audit": APPROVED})
    with audit_context(actor={"id": "USR-1"}):
        assert AuditContextFilter().filter(record) is True
    again = pickle.loads(pickle.dumps(record))
    assert again.auditbox_carried["context"]["actor"] == {"id": "USR-1"}


_CHILD = """
import logging, logging.handlers, pickle, queue, sys
from auditbox.capture.handler import AuditContextFilter
from auditbox.context import audit_context

lines = queue.Queue()
handler = logging.handlers.QueueHandler(lines)
handler.addFilter(AuditContextFilter())
log = logging.Logger("shop.child")
log.addHandler(handler)
with audit_context(actor="USR-0000-0009"):
    log.info("from a child", extra={"audit": {"event": "order.approved", "object": "ORD-1208-2301-8479"}})
sys.stdout.buffer.write(pickle.dumps(lines.get()))
"""


def test_lines_of_another_process(trail: AuditTrail, records: CapturedRecords) -> None:
    """A parent captures its children's lines with their context: they arrive pickled."""
    child = subprocess.run([sys.executable, "-c", _CHILD], capture_output=True, check=True, timeout=60)
    AuditHandler(trail).handle(pickle.loads(child.stdout))
    assert records.one().summary == "from a child"
    assert records.one().auditbox["actor"] == {"id": "USR-0000-0009"}


def test_the_filter_leaves_other_lines_alone() -> None:
    """Lines that are no records carry nothing."""
    record = logging.makeLogRecord({"msg": "x"})
    assert AuditContextFilter().filter(record) is True
    assert not hasattr(record, "auditbox_carried")


def test_threads_do_not_wait_for_each_other(trail: AuditTrail, records: CapturedRecords) -> None:
    """No lock is held while a capture is under way: two threads can be in the middle of one at once."""
    barrier = threading.Barrier(2, timeout=30)

    class Meets:
        def __str__(self) -> str:
            barrier.wait()
            return "met"

        __repr__ = __str__

    handler = AuditHandler(trail)
    log = logging.Logger("shop")
    log.addHandler(handler)

    def work(number: int) -> None:
        log.info("%s", number, extra={"audit": {**APPROVED, "summary": "x", "documents": {"order": Meets()}}})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(records) == 2
    assert handler.lock is None


def test_survives_the_ways_of_logging(trail: AuditTrail, records: CapturedRecords, tmp_path: Path) -> None:
    """Without a lock the handler still closes, flushes and serves as the target of another handler."""
    handler = AuditHandler(trail)
    memory = logging.handlers.MemoryHandler(10, target=handler)
    log = logging.Logger("shop")
    log.addHandler(memory)
    log.info("x", extra={"audit": APPROVED})
    memory.close()
    handler.acquire()
    handler.flush()
    handler.release()
    handler.close()
    assert records.one("order.approved")


def test_a_line_that_the_outbox_cannot_store_now_waits(
    log: logging.Logger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As with the decorator: its action has happened, so it is kept, and stored before the next one."""
    place = tmp_path / "place"
    place.write_text("no directory")
    trail = AuditTrail(place / "audit.db", extension="shop")
    log.addHandler(handler := AuditHandler(trail))
    try:
        log.info("first", extra={"audit": APPROVED})
        assert "waits in memory" in caplog.text
        place.unlink()
        log.info("second", extra={"audit": APPROVED})
    finally:
        log.removeHandler(handler)
    stories = Inspection(place / "audit.db").newest(10)
    trail.close()
    assert sorted(story.record["summary"] for story in stories) == ["first", "second"]
