"""How a method that is written as steps becomes one that runs.

On a resource with a blocking driver it returns the result, on one with an async driver an awaitable of it;
type checkers see both.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from auditbox.api.drivers import AsyncDriver, Driver
from auditbox.api.steps import Retries, Steps

P = ParamSpec("P")
T = TypeVar("T")


class Resource:
    """What both kinds share."""

    driver: Any
    retries: Retries


class Blocking(Resource):
    """A resource whose methods return results."""

    def __init__(self, driver: Driver, retries: Retries) -> None:
        self.driver, self.retries = driver, retries


class Awaiting(Resource):
    """A resource whose methods return awaitables and async iterators."""

    def __init__(self, driver: AsyncDriver, retries: Retries) -> None:
        self.driver, self.retries = driver, retries


class call(Generic[P, T]):
    """A method that is one exchange with the server."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self.steps = steps
        functools.update_wrapper(self, steps)  # type: ignore[arg-type]

    @overload
    def __get__(self, resource: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, resource: Awaiting, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, resource: None, owner: type) -> call[P, T]: ...
    def __get__(self, resource: Resource | None, owner: type) -> Any:
        return self if resource is None else _bound(self.steps, resource, resource.driver.run)


class rows(Generic[P, T]):
    """A method that gives many rows, one after the other."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[None]], of: type[T]) -> None:
        self.steps = steps
        functools.update_wrapper(self, steps)  # type: ignore[arg-type]

    @overload
    def __get__(self, resource: Blocking, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, resource: Awaiting, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    @overload
    def __get__(self, resource: None, owner: type) -> rows[P, T]: ...
    def __get__(self, resource: Resource | None, owner: type) -> Any:
        return self if resource is None else _bound(self.steps, resource, resource.driver.rows)


def _bound(steps: Callable[..., Steps[Any]], resource: Resource, run: Callable[[Steps[Any]], Any]) -> Any:
    @functools.wraps(steps)
    def method(*args: Any, **kwargs: Any) -> Any:
        return run(steps(resource, *args, **kwargs))

    return method


def rows_of(kind: type[T]) -> Callable[[Callable[Concatenate[Any, P], Steps[None]]], rows[P, T]]:
    """:class:`rows` with the type of the rows."""
    return lambda steps: rows(steps, kind)
