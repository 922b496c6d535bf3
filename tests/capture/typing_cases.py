# ruff: noqa: F821
"""Read by mypy, never run: what @audited makes of the types of functions (see test_typing.py)."""

from collections.abc import AsyncIterator, Iterator
from typing import overload

from auditbox.capture.call import Call
from auditbox.capture.decorator import audited
from auditbox.capture.handler import Audit
from auditbox.default import record


@audited("order.approved", object="{order_id}")
def plain(order_id: str, *, fast: bool = False) -> int:
    return 1


@audited("order.approved", object=lambda call: call.result, failed="order.failed")
async def coroutine(order_id: str) -> int:
    return 1


@audited("order.approved")
def generator(order_id: str) -> Iterator[int]:
    yield 1


@audited("order.approved")
async def agenerator(order_id: str) -> AsyncIterator[int]:
    yield 1


class Service:
    @audited("order.approved")
    def method(self, order_id: str) -> int:
        return 1

    @classmethod
    @audited("order.approved")
    def inner(cls, order_id: str) -> int:
        return 1

    @audited("order.approved")
    @classmethod
    def outer(cls, order_id: str) -> int:
        return 1

    @audited("order.approved")
    @staticmethod
    def static(order_id: str) -> int:
        return 1


@overload
def overloaded(order: str) -> str: ...
@overload
def overloaded(order: int) -> int: ...
@audited("order.approved")
def overloaded(order: str | int) -> str | int:
    return order


def by_call(call: Call) -> str:
    return str(call.arguments["order"])


reveal_type(plain)  # def (order_id: str, *, fast: bool =) -> int
reveal_type(coroutine)  # def (order_id: str) -> typing.Coroutine[Any, Any, int]
reveal_type(generator)  # def (order_id: str) -> typing.Iterator[int]
reveal_type(agenerator)  # def (order_id: str) -> typing.AsyncIterator[int]
reveal_type(Service().method)  # def (order_id: str) -> int
reveal_type(Service.inner)  # def (order_id: str) -> int
reveal_type(Service.outer)  # def (order_id: str) -> int
reveal_type(Service.static)  # def (order_id: str) -> int
reveal_type(overloaded(1))  # int
reveal_type(overloaded(""))  # str

record("order.approved", object="ORD-1208-2301-8479", documents={"order": {}}, summary=None)
right: Audit = {"event": "order.approved", "object": "ORD-1208-2301-8479"}
plain(1)  # error: Argument 1 to "plain" has incompatible type "int"; expected "str"
audited("order.approved", objct="x")  # error: Unexpected keyword argument "objct" for "audited"
record("order.approved", objct="x")  # error: Unexpected keyword argument "objct" for "record"
wrong: Audit = {"event": "order.approved", "objct": "x"}  # error: Extra key "objct" for TypedDict "Audit"
missing: Audit = {"object": "x"}  # error: Missing key "event" for TypedDict "Audit"
