"""@audited: every kind of function is recorded once, and behaves as if it were not decorated."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from auditbox import default as defaults
from auditbox.capture.call import Call
from auditbox.capture.decorator import audited
from auditbox.context import audit_context
from auditbox.errors import ConfigurationError, NoTrail, OutboxFull
from auditbox.testing import CapturedRecords
from auditbox.trail import AuditTrail

from .conftest import ORDER, OTHER


@dataclass
class Order:
    id: str = ORDER
    status: str = "Draft"
    lines: list[str] = field(default_factory=list)


@pytest.fixture(autouse=True)
def _default(trail: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "_default", trail)


approved = audited("order.approved", object="{order.id}", failed="order.approval_failed")


def test_records_a_call(records: CapturedRecords) -> None:
    """A call that returned is a success with its duration and its place in the program."""

    @approved
    def approve(order: Order) -> str:
        return f"approved {order.id}"

    assert approve(Order()) == f"approved {ORDER}"
    record = records.one("order.approved")
    assert record.object is not None
    assert record.object.id == ORDER
    assert record.auditbox["outcome"]["status"] == "success"
    assert record.auditbox["outcome"]["durationMs"] >= 0
    assert record.auditbox["source"]["function"].endswith("test_records_a_call.<locals>.approve")


def test_a_call_that_raises_is_no_success(records: CapturedRecords) -> None:
    """The failure's event is recorded with the error; the very exception goes on to the caller."""
    error = ValueError("no stock")

    @approved
    def approve(order: Order) -> None:
        raise error

    with pytest.raises(ValueError, match="no stock") as caught:
        approve(Order())
    assert caught.value is error
    assert error.__context__ is None
    assert records.one().event == "extensions.shop.order.approval_failed"
    outcome = records.one().auditbox["outcome"]
    assert (outcome["status"], outcome["error"]) == ("failure", "ValueError: no stock")


def test_without_failed_a_failure_is_not_recorded(records: CapturedRecords) -> None:
    """No event of failure, no record: certainly none of success."""

    @audited("order.approved", object="{order.id}")
    def approve(order: Order) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        approve(Order())
    assert not records


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_whatever_ends_a_call_is_a_failure(records: CapturedRecords, error: type[BaseException]) -> None:
    """Also what is no Exception leaves no success, and passes."""

    @approved
    def approve(order: Order) -> None:
        raise error

    with pytest.raises(error):
        approve(Order())
    assert records.one("order.approval_failed")


def test_arguments_are_read_before_the_call(records: CapturedRecords) -> None:
    """What the function does to its arguments is not seen by templates: texts, ids or documents."""

    @audited(
        "order.approved", object="{order.id}", summary="was {order.status}", documents={"order": "{order}"}
    )
    def approve(order: Order) -> None:
        order.status, order.id = "Approved", OTHER
        order.lines.append("new")

    approve(Order())
    record = records.one()
    assert record.object is not None
    assert record.documents is not None
    assert (record.object.id, record.summary) == (ORDER, "was Draft")
    assert record.documents["order"] == {"id": ORDER, "status": "Draft", "lines": []}


def test_the_result_is_read_after_the_call(records: CapturedRecords) -> None:
    """A function that makes an object names it through its result."""

    @audited("order.created", object="{result.id}", summary="{buyer} made {result.id}")
    def create(buyer: str) -> Order:
        return Order()

    create("Ann")
    assert records.one().summary == f"Ann made {ORDER}"
    assert records.one().object.id == ORDER  # type: ignore[union-attr]


def test_every_kind_of_parameter_has_its_name(records: CapturedRecords) -> None:
    """Positional-only, defaults, ``*args``, keyword-only and ``**kwargs`` are found by name."""
    text = "{a} {b} {rest[0]} {c} {others.d} {others[a]}"

    @audited("order.approved", object=ORDER, summary=text)
    def approve(a: int, /, b: int = 2, *rest: int, c: int = 4, **others: int) -> None: ...

    approve(1, 2, 3, d=5, a=6)
    approve(1, 7, 3, c=8, d=5, a=6)
    assert [record.summary for record in records] == ["1 2 3 4 5 6", "1 7 3 8 5 6"]


def test_callables_get_the_call(records: CapturedRecords) -> None:
    """A callable sees arguments, result and error, once the function is done."""
    calls: list[Call] = []

    def remember(call: Call) -> str:
        calls.append(call)
        return ORDER

    @audited("order.approved", failed="order.approval_failed", object=remember)
    def approve(order: Order, fail: bool = False) -> int:
        if fail:
            raise ValueError
        return 7

    order = Order()
    approve(order)
    with pytest.raises(ValueError) as caught:
        approve(order, fail=True)
    assert calls[0] == Call({"order": order, "fail": False}, result=7)
    assert calls[1] == Call({"order": order, "fail": True}, error=caught.value)
    assert len(records) == 2


def test_fields_may_be_mappings_of_templates(records: CapturedRecords) -> None:
    """Object, actor and documents take templates and callables at any depth."""

    @audited(
        "order.approved",
        object={"id": "{order.id}", "name": "Order {order.id}"},
        actor={"id": "{user}"},
        documents={"order": {"status": ["{order.status}"]}, "sum": lambda call: call.result * 2},
        lane="{user}",
    )
    def approve(order: Order, user: str) -> int:
        return 21

    approve(Order(), user="USR-0556-8733")
    record = records.one()
    assert record.object is not None
    assert record.documents is not None
    assert record.object.name == f"Order {ORDER}"
    assert record.auditbox["actor"] == {"id": "USR-0556-8733"}
    assert {**record.documents, "auditbox": None} == {
        "order": {"status": ["Draft"]}, "sum": 42, "auditbox": None
    }  # fmt: skip


def test_what_cannot_be_found_out_is_named(records: CapturedRecords) -> None:
    """One field that fails does not cost the record: the outcome says which, and why."""

    def broken(call: Call) -> Any:
        raise KeyError("sum")

    @audited(
        "order.approved", object="{order.id}", summary=broken, documents={"order": "{order}", "sum": broken}
    )
    def approve(order: Order) -> str:
        return "done"

    assert approve(Order()) == "done"
    record = records.one()
    assert record.documents is not None
    assert record.documents["order"]["id"] == ORDER
    assert record.auditbox["outcome"]["unresolved"] == {
        "summary": "KeyError: 'sum'",
        "documents.sum": "KeyError: 'sum'",
    }


def test_a_summary_that_cannot_be_filled_is_the_events_title(records: CapturedRecords) -> None:
    """Also where only a part of it fails; no marks of ours are in a text that people read."""

    @audited("order.approved", object="{order.id}", summary="For {order.buyer}", lane="{order.buyer}")
    def approve(order: Order) -> None: ...

    approve(Order())
    record = records.one()
    assert record.summary == record.details == record.event
    assert record.auditbox["outcome"]["unresolved"].keys() == {"summary", "lane"}
    assert "AttributeError" in record.auditbox["outcome"]["unresolved"]["summary"]


def test_without_an_object_the_context_has_it(records: CapturedRecords) -> None:
    """An id that cannot be read falls back on the context, and says so."""

    @audited("order.approved", object="{order.buyer.id}")
    def approve(order: Order) -> None: ...

    with audit_context(object=OTHER):
        approve(Order())
    assert records.one().object.id == OTHER  # type: ignore[union-attr]
    assert "AttributeError" in records.one().auditbox["outcome"]["unresolved"]["object"]


def test_a_record_that_cannot_be_made_is_not_silent(
    records: CapturedRecords, caplog: pytest.LogCaptureFixture
) -> None:
    """Without any object there is no record: the caller gets the result, the log an error."""

    @audited("order.approved")
    def approve() -> str:
        return "done"

    assert approve() == "done"
    assert not records
    assert "order.approved" in caplog.text


def test_a_lost_record_says_why(records: CapturedRecords, caplog: pytest.LogCaptureFixture) -> None:
    """Where the object's template is what failed, the line names the path and the reason."""

    @audited("order.approved", object="{order.id}")
    def approve(order: str) -> None: ...

    approve("ORD-1208-2301-8479")
    assert not records
    assert "{order.id}: AttributeError: 'str' object has no attribute 'id'" in caplog.text


# --- kinds of functions


def test_coroutine_functions(records: CapturedRecords) -> None:
    """Recorded when awaited, not when called; a failure as a failure."""

    @approved
    async def approve(order: Order, fail: bool = False) -> str:
        await asyncio.sleep(0)
        if fail:
            raise ValueError("no stock")
        return "done"

    async def main() -> None:
        coroutine = approve(Order())
        assert not records
        assert await coroutine == "done"
        with pytest.raises(ValueError):
            await approve(Order(), fail=True)

    assert inspect.iscoroutinefunction(approve)
    asyncio.run(main())
    assert [record.event.rpartition(".")[2] for record in records] == ["approved", "approval_failed"]


def test_a_cancelled_coroutine(records: CapturedRecords) -> None:
    """Cancelling passes, and is a failure."""
    started = asyncio.Event()

    @approved
    async def approve(order: Order) -> None:
        started.set()
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(approve(Order()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert records.one("order.approval_failed").auditbox["outcome"]["error"] == "CancelledError"


def test_a_coroutine_that_is_closed(records: CapturedRecords) -> None:
    """close() ends it without a word about ignored GeneratorExit."""

    @approved
    async def waits(order: Order) -> None:
        await _Suspended()

    closing = waits(Order())
    closing.send(None)
    closing.close()
    assert records.one("order.approval_failed")


class _Suspended:
    def __await__(self) -> Generator[None, None, None]:
        yield


def test_a_plain_function_that_returns_a_coroutine(records: CapturedRecords) -> None:
    """Another decorator may hide that a function is async: it is recorded when it is done all the same."""

    def hiding(function: Callable[..., Awaitable[str]]) -> Callable[..., Awaitable[str]]:
        def hidden(order: Order) -> Awaitable[str]:
            return function(order)

        return hidden

    @approved
    @hiding
    async def approve(order: Order) -> str:
        raise ValueError("no stock")

    async def main() -> None:
        coroutine = approve(Order())
        assert not records
        with pytest.raises(ValueError):
            await coroutine

    asyncio.run(main())
    assert records.one("order.approval_failed")


@approved
def numbers(order: Order) -> Generator[int, str, str]:
    """A generator that tells what it got."""
    got = []
    for number in range(3):
        try:
            got.append((yield number) or "-")
        except KeyError:
            got.append("thrown")
    return "".join(got)


def test_generators_are_recorded_at_their_end(records: CapturedRecords) -> None:
    """send() and throw() reach the generator, its return value the caller; then it is recorded."""
    assert inspect.isgeneratorfunction(numbers)
    generator = numbers(Order())
    assert next(generator) == 0
    assert generator.send("sent") == 1
    assert generator.throw(KeyError()) == 2
    assert not records
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == "sentthrown-"
    assert records.one("order.approved")


def test_a_closed_generator_did_what_it_did(records: CapturedRecords) -> None:
    """Who takes only the first has had it: a success; who takes nothing has had none."""
    generator = numbers(Order())
    next(generator)
    generator.close()
    assert records.one("order.approved")
    numbers(Order()).close()
    assert len(records) == 1


def test_a_forgotten_generator_is_recorded(records: CapturedRecords) -> None:
    """Collected by the garbage collector counts as closed."""
    generator = numbers(Order())
    next(generator)
    del generator
    gc.collect()
    assert records.one("order.approved")


def test_a_generator_that_fails(records: CapturedRecords) -> None:
    """What is thrown in and not caught is a failure."""
    generator = numbers(Order())
    next(generator)
    with pytest.raises(ValueError, match="thrown in"):
        generator.throw(ValueError("thrown in"))
    assert records.one("order.approval_failed")


@approved
async def anumbers(order: Order, log: list[Any]) -> AsyncIterator[int]:
    """An async generator that tells what happens to it."""
    try:
        for number in range(3):
            try:
                log.append((yield number))
            except KeyError:
                log.append("thrown")
    finally:
        await asyncio.sleep(0)
        log.append("end")


def test_async_generators(records: CapturedRecords) -> None:
    """asend(), athrow() and exhaustion pass; recorded at the end."""

    async def main() -> list[Any]:
        log: list[Any] = []
        generator: Any = anumbers(Order(), log)
        assert await anext(generator) == 0
        assert await generator.asend("sent") == 1
        assert await generator.athrow(KeyError()) == 2
        assert not records
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        return log

    assert inspect.isasyncgenfunction(anumbers)
    assert asyncio.run(main()) == ["sent", "thrown", None, "end"]
    assert records.one("order.approved")


def test_async_generators_that_end_early(records: CapturedRecords) -> None:
    """aclose() runs the generator's own end first and is a success; an error is a failure."""

    async def main() -> None:
        log: list[Any] = []
        generator: Any = anumbers(Order(), log)
        await anext(generator)
        await generator.aclose()
        assert log == ["end"]
        assert records.one("order.approved")
        failing: Any = anumbers(Order(), log)
        await anext(failing)
        with pytest.raises(ValueError, match="thrown in"):
            await failing.athrow(ValueError("thrown in"))

    asyncio.run(main())
    assert records.one("order.approval_failed")


class Service:
    """Methods of every kind, with the decorator on either side."""

    id = OTHER

    @approved
    def method(self, order: Order) -> str:
        return self.id

    @audited("order.approved", object="{self.id}")
    def by_self(self) -> str:
        return self.id

    @classmethod
    @approved
    def inner_class(cls, order: Order) -> str:
        return cls.id

    @approved
    @classmethod
    def outer_class(cls, order: Order) -> str:
        return cls.id

    @staticmethod
    @approved
    def inner_static(order: Order) -> str:
        return OTHER

    @approved
    @staticmethod
    def outer_static(order: Order) -> str:
        return OTHER

    @property
    @audited("order.approved", object=ORDER)
    def prop(self) -> str:
        return OTHER


@pytest.mark.parametrize("name", ["method", "inner_class", "outer_class", "inner_static", "outer_static"])
def test_methods(records: CapturedRecords, name: str) -> None:
    """Bound, class and static methods work, in either order of the decorators."""
    assert getattr(Service(), name)(Order()) == OTHER
    assert getattr(Service(), name)(order=Order()) == OTHER
    assert [record.object and record.object.id for record in records] == [ORDER, ORDER]


def test_self_and_properties(records: CapturedRecords) -> None:
    """``self`` is an argument; a property's getter is a function."""
    assert (Service().by_self(), Service().prop) == (OTHER, OTHER)
    assert len(records) == 2


def test_callables_that_are_no_functions(records: CapturedRecords) -> None:
    """A partial and an object with ``__call__`` are recorded as well."""

    class Approves:
        async def __call__(self, order: Order) -> str:
            return order.id

    partial = approved(functools.partial(lambda order, suffix: order.id + suffix, suffix="!"))
    assert partial(Order()) == f"{ORDER}!"
    assert asyncio.run(approved(Approves())(Order())) == ORDER
    assert len(records.all("order.approved")) == 2


def test_looks_like_the_function() -> None:
    """Name, docstring, signature, annotations and globals are the function's own."""

    def approve(order: Order, *, fast: bool = True) -> str:
        """Approves."""
        return ""

    decorated = approved(approve)
    assert (decorated.__name__, decorated.__doc__) == ("approve", "Approves.")
    assert inspect.signature(decorated) == inspect.signature(approve)
    assert inspect.get_annotations(decorated, eval_str=False) == inspect.get_annotations(approve)
    # Frameworks resolve string annotations against these.
    assert decorated.__globals__ is approve.__globals__


def test_a_wrong_call_is_the_functions_own_error() -> None:
    """The TypeError is Python's."""

    @approved
    def approve(order: Order) -> None: ...

    with pytest.raises(TypeError, match=r"approve\(\) missing 1 required positional argument: 'order'"):
        approve()  # type: ignore[call-arg]


def test_inside_a_context_manager_function(records: CapturedRecords) -> None:
    """@contextmanager above @audited: recorded at the end of the block."""

    @contextmanager
    @approved
    def approving(order: Order) -> Iterator[str]:
        yield order.id

    with approving(Order()) as order_id:
        assert (order_id, len(records)) == (ORDER, 0)
    assert records.one("order.approved")


# --- mistakes


@pytest.mark.parametrize(
    "options",
    [
        {"object": "{ordr.id}"},
        {"object": "{order.id"},
        {"summary": "{result.x!r}"},
        {"documents": {"order": ["{ordr}"]}},
        {"failed": "order {x}"},
        {"trail": 42},
    ],
)
def test_mistakes_are_found_at_decoration(options: dict[str, Any]) -> None:
    """Nobody has to call the function to learn that a name is wrong."""

    def approve(order: Order) -> None: ...

    with pytest.raises(ConfigurationError):
        audited("order.approved", **options)(approve)


@pytest.mark.parametrize("found", ["order", "order.id", {"id": "order"}, 7])
def test_an_object_that_can_never_be_one_is_refused(found: Any) -> None:
    """Most likely a template that lacks its braces: each record would be lost."""

    def approve(order: Order) -> None: ...

    with pytest.raises(
        ConfigurationError, match=r"^object=.*: an object id looks like .* in braces: '{order"
    ):
        audited("order.approved", object=found)(approve)


@pytest.mark.parametrize("event", ["", "order.{id}", "order approved", None])
def test_events_are_constants(event: Any) -> None:
    """A template in an event would make event types that nobody can delete."""
    with pytest.raises(ConfigurationError, match="event="):
        audited(event)


@pytest.mark.parametrize("target", [Order, property(lambda self: 1), 42])
def test_only_functions(target: Any) -> None:
    """A class, a property or a value is refused with advice."""
    with pytest.raises(ConfigurationError, match="decorate a function"):
        approved(target)


# --- storing


class FailingTrail:
    """A trail whose outbox is full."""

    def __init__(self, fail_closed: bool = False) -> None:
        self.fail_closed = fail_closed
        self.spilled: list[tuple[str, Any]] = []

    def ready(self) -> None:
        raise OutboxFull

    def record(self, event: str, /, **fields: Any) -> str:
        raise OutboxFull

    async def arecord(self, event: str, /, **fields: Any) -> str:
        raise OutboxFull

    def spill(self, error: Exception, event: str, fields: Any) -> None:
        self.spilled.append((event, fields["object"]))


def _functions(trail: Any, **options: Any) -> dict[str, Callable[[], Any]]:
    """A function of each kind that appends to ``done`` and is audited into this trail."""
    decorate = audited("order.approved", object=ORDER, trail=trail, **options)
    done: list[str] = []

    @decorate
    def plain() -> list[str]:
        done.append("plain")
        return done

    @decorate
    async def coroutine() -> list[str]:
        return plain.__wrapped__()  # type: ignore[attr-defined, no-any-return]

    @decorate
    def generator() -> Iterator[list[str]]:
        yield plain.__wrapped__()  # type: ignore[attr-defined]

    @decorate
    async def agenerator() -> AsyncIterator[list[str]]:
        yield plain.__wrapped__()  # type: ignore[attr-defined]

    async def acollect() -> Any:
        return [item async for item in agenerator()]

    calls = {
        "plain": plain,
        "coroutine": lambda: asyncio.run(coroutine()),
        "generator": lambda: list(generator()),
        "agenerator": lambda: asyncio.run(acollect()),
    }
    return {**calls, "done": lambda: done}


KINDS = ["plain", "coroutine", "generator", "agenerator"]


@pytest.mark.parametrize("kind", KINDS)
def test_after_the_action_nothing_raises(kind: str) -> None:
    """What cannot be stored is handed to the trail's spill; the caller gets the result."""
    trail = FailingTrail()
    functions = _functions(trail)
    assert functions[kind]()
    assert functions["done"]() == ["plain"]
    assert trail.spilled == [("order.approved", ORDER)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{"fail_closed": True}, {}])
def test_fail_closed_does_not_act(kind: str, options: Any) -> None:
    """Where a record could not be stored, the function is not called: the caller gets the reason."""
    trail = FailingTrail(fail_closed=not options)
    functions = _functions(trail, **options)
    with pytest.raises(OutboxFull):
        functions[kind]()
    assert functions["done"]() == []
    assert trail.spilled == []


def test_the_decorator_may_open_what_the_trail_closes() -> None:
    """fail_closed=False on the decorator wins over the trail."""
    functions = _functions(FailingTrail(fail_closed=True), fail_closed=False)
    assert functions["plain"]() == ["plain"]


def test_without_a_trail(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """No trail: the function works and the log says that its record is lost; fail_closed refuses."""
    monkeypatch.setattr(defaults, "_default", None)
    with caplog.at_level(logging.ERROR):
        assert _functions(None)["plain"]() == ["plain"]
    assert "order.approved is lost: No trail is configured" in caplog.text
    with pytest.raises(NoTrail):
        _functions(None, fail_closed=True)["plain"]()
