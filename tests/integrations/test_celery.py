"""Celery: context in tasks, retries and failures, in a real worker on the in-memory broker."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("celery")
from celery import Celery, chain, signals
from celery.contrib.testing.worker import start_worker
from celery.exceptions import Ignore

import auditbox
from auditbox.context import audit_context, bind, current_scope
from auditbox.errors import ConfigurationError
from auditbox.integrations.celery import Audit, audited
from auditbox.testing import CapturedRecords, capture
from auditbox.trail import AuditTrail

ORDER = "ORD-1208-2301-8479"
NAMES = {"failed": "order.export_failed", "retried": "order.export_retried"}


@pytest.fixture
def records() -> Iterator[CapturedRecords]:
    """What is captured, by the tests and by the worker."""
    with capture() as captured:
        yield captured


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """An application's tasks, and a worker that runs them in a thread of this process."""
    trail = AuditTrail(tmp_path_factory.mktemp("celery") / "audit.db", extension="shop")
    app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(
        worker_hijack_root_logger=False,
        task_default_queue=uuid4().hex,
        broker_transport_options={"polling_interval": 0.02},
    )
    Audit(app, trail)
    made = define(app, trail)
    # Or it would set the level of this process's root logger.
    signals.setup_logging.connect(_no_logging, weak=False)
    # Its end joins the worker, which in turn closes the trail: all of it while nothing can be stored.
    with capture(), start_worker(app, perform_ping_check=False, pool="solo", shutdown_timeout=60):
        yield made
    signals.setup_logging.disconnect(_no_logging)


def _no_logging(**_: Any) -> None:
    pass


class Flaky:
    """Fails a number of times for each order, then works."""

    def __init__(self) -> None:
        self.left: dict[str, int] = {}

    def __call__(self, order_id: str, failures: int) -> None:
        left = self.left.setdefault(order_id, failures)
        self.left[order_id] = left - 1
        if left > 0:
            raise ConnectionError(f"{left} to go")


def define(app: Celery, trail: AuditTrail) -> SimpleNamespace:
    """All the tasks of this module."""
    task, flaky = app.task, Flaky()

    @task(shared=False)
    def record(object: str | None = None) -> bool:
        trail.record("order.exported", object=object)
        return current_scope() is not None

    @task(shared=False)
    def branch() -> None:
        bind(object=ORDER)
        record.delay()

    @task(shared=False)
    def binding() -> None:
        bind(actor="USR-0002")
        trail.record("order.exported", object=ORDER)

    @task(shared=False)
    @auditbox.audited("order.exported", object="{order_id}", summary="{order_id} {result}", trail=trail)
    def plain(order_id: str) -> str:
        return "done"

    @task(shared=False, autoretry_for=(ConnectionError,), max_retries=2, default_retry_delay=0)
    @audited("order.exported", object="{order_id}", trail=trail, **NAMES)
    def automatic(order_id: str, failures: int) -> None:
        flaky(order_id, failures)

    @task(shared=False, bind=True, max_retries=2, default_retry_delay=0)
    @audited("order.exported", object="{order_id}", trail=trail, **NAMES)
    def by_hand(self: Any, order_id: str, failures: int) -> None:
        try:
            flaky(order_id, failures)
        except ConnectionError as error:
            raise self.retry(exc=error) from error

    @task(shared=False, bind=True)
    @audited(
        "order.exported",
        failed="order.export_failed",
        object="{order_id}",
        summary="{order_id}: {error}",
        documents={"size": lambda call: len(call.result), "of": "{parts[0]}"},
        trail=trail,
    )
    def with_templates(self: Any, order_id: str, *parts: str) -> None:
        raise ValueError("no disk")

    @task(shared=False)
    @audited("order.exported", failed="order.export_failed", object=ORDER, trail=trail)
    def ignored() -> None:
        raise Ignore

    @task(shared=False)
    @audited("order.exported", object=ORDER, trail=trail)
    def failing() -> None:
        raise ValueError

    @task(shared=False)
    @audited("order.exported", failed="order.export_failed", trail=trail)
    def without_object(works: bool) -> str:
        if not works:
            raise ValueError("no disk")
        return "done"

    class Export(app.Task):  # type: ignore[name-defined, misc]
        name = "shop.export"

        @audited("order.exported", failed="order.export_failed", object="{order_id}", trail=trail)
        def run(self, order_id: str, works: bool) -> None:
            if not works:
                raise ValueError

    return SimpleNamespace(class_based=app.register_task(Export()), **locals())


def ended(*sent: Any) -> list[Any]:
    """Waits for what was sent; gives each result, or what it raised."""
    return [result.get(timeout=60, propagate=False) for result in sent]


def events(records: CapturedRecords) -> list[str]:
    """The events, in their short form."""
    return [record.event.removeprefix("extensions.shop.") for record in records]


def test_the_senders_context_is_the_tasks(tasks: Any, records: CapturedRecords) -> None:
    """Actor, object and request come along, each task with its own, and the next one knows nothing of it."""
    sent = []
    for number in range(5):
        known = {
            "actor": f"USR-{number:04d}",
            "object": f"ORD-{number:04d}",
            "request": {"id": f"r-{number}"},
        }
        with audit_context(**known):
            sent.append(tasks.record.delay())
    sent.append(tasks.record.delay(ORDER))
    assert ended(*sent) == [True] * 6
    assert current_scope() is None
    *known_ones, stranger = records
    for number, record in enumerate(known_ones):
        assert record.object is not None
        assert record.object.id == f"ORD-{number:04d}"
        assert record.auditbox["actor"] == {"id": f"USR-{number:04d}"}
        assert record.auditbox["request"] == {"id": f"r-{number}"}
    assert "actor" not in stranger.auditbox
    expected = {"id": sent[-1].id, "method": "TASK", "route": tasks.record.name}
    assert stranger.auditbox["request"] == expected


def test_tasks_that_tasks_send(tasks: Any, records: CapturedRecords) -> None:
    """A chain, and a task sent by a task: the first sender's actor, and what the task has bound since."""
    with audit_context(actor={"id": "USR-0001", "name": "Will"}):
        sent = chain(tasks.branch.si(), tasks.plain.si(ORDER)).delay()
    ended(sent)
    ended(tasks.plain.delay("ORD-0001"))  # the queue is in order: the branch's own task has run by now
    assert len(records) == 3
    for record in records:
        if record.object is not None and record.object.id == ORDER:
            assert record.auditbox["actor"] == {"id": "USR-0001"}


def test_an_eager_task_leaves_its_callers_context_alone(tasks: Any, records: CapturedRecords) -> None:
    """``apply()`` runs inside the caller's request, with a scope of its own."""
    with audit_context(actor="USR-0001"):
        tasks.binding.apply()
        tasks.trail.record("order.sent", object=ORDER)
    assert [record.auditbox["actor"]["id"] for record in records] == ["USR-0002", "USR-0001"]


def test_the_plain_decorator_on_a_task(tasks: Any, records: CapturedRecords) -> None:
    """``auditbox.audited`` under ``@app.task`` records the task, with its arguments and its result."""
    assert ended(tasks.plain.delay(ORDER)) == ["done"]
    assert records.one().summary == f"{ORDER} done"


@pytest.mark.parametrize("way", ["automatic", "by_hand"])
@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        (0, ["order.exported"]),
        (2, ["order.export_retried", "order.export_retried", "order.exported"]),
        (9, ["order.export_retried", "order.export_retried", "order.export_failed"]),
    ],
)
def test_each_retry_and_each_failure_is_recorded_once(
    tasks: Any, records: CapturedRecords, failures: int, expected: list[str], way: str
) -> None:
    """A task that works in the end leaves a success, one that is given up a failure; never one an attempt."""
    order = f"ORD-{failures:04d}-{len(way):04d}"
    with audit_context(actor="USR-0001", request={"id": "r-1"}):
        sent = getattr(tasks, way).delay(failures=failures, order_id=order)
    ended(sent)
    ended(tasks.plain.delay(ORDER))  # a result is stored before the record of a failure is made
    assert events(records) == [*expected, "order.exported"]
    for record in records[:-1]:
        assert record.object is not None
        assert record.object.id == order
        assert record.auditbox["actor"] == {"id": "USR-0001"}
        assert record.auditbox["request"]["id"] == "r-1"
    for record in records.all("order.export_failed") + records.all("order.export_retried"):
        assert record.auditbox["outcome"]["status"] == "failure"
        assert record.auditbox["outcome"]["error"].startswith("ConnectionError: ")


def test_a_failure_names_what_it_can(tasks: Any, records: CapturedRecords) -> None:
    """Templates over arguments and the error; what only a success knows is named as unresolved."""
    ended(tasks.with_templates.delay(ORDER, "head"), tasks.record.delay(ORDER))
    record = records.one("order.export_failed")
    assert record.summary == f"{ORDER}: no disk"
    assert record.documents is not None
    assert record.documents["of"] == "head"
    assert "documents.size" in record.auditbox["outcome"]["unresolved"]


def test_a_task_that_was_ignored_is_no_failure(tasks: Any, records: CapturedRecords) -> None:
    """``raise Ignore()`` is the task's own decision; a failure without an event is not recorded either."""
    tasks.ignored.delay()
    assert isinstance(ended(tasks.failing.delay(), tasks.record.delay(ORDER))[0], ValueError)
    assert events(records) == ["order.exported"]


def test_class_based_tasks(tasks: Any, records: CapturedRecords) -> None:
    """``@audited`` on the ``run`` of a task class."""
    sent = tasks.class_based.delay(ORDER, True), tasks.class_based.delay(ORDER, False)
    ended(*sent, tasks.record.delay(ORDER))
    assert events(records) == ["order.exported", "order.export_failed", "order.exported"]


def test_what_cannot_be_recorded_does_not_disturb_the_task(
    tasks: Any, records: CapturedRecords, caplog: pytest.LogCaptureFixture
) -> None:
    """A task without an object to be about still works, or fails with its own error."""
    sent = tasks.without_object.delay(True), tasks.without_object.delay(False)
    done, failed, _ = ended(*sent, tasks.record.delay(ORDER))
    assert done == "done"
    assert str(failed) == "no disk"
    assert len(records) == 1
    assert sum("is lost" in line.getMessage() for line in caplog.records) == 2


def test_mistakes_are_found_at_decoration() -> None:
    """Events that are none, names that the function does not have."""
    with pytest.raises(ConfigurationError, match="retried"):
        audited("order.exported", retried="order {x}")
    with pytest.raises(ConfigurationError, match="there is no 'oder'"):
        audited("order.exported", object="{oder}")(lambda order: None)
