"""The functions that stand in for audited ones: one for each kind, none of them seen by the caller."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditbox.capture.call import Capture, Plan

Begin = Callable[[tuple[Any, ...], dict[str, Any]], "Capture"]


def wrapped(function: Callable[..., Any], plan: Plan) -> Callable[..., Any]:
    """A function of the same kind, name and signature that records its calls."""
    if inspect.isasyncgenfunction(function):
        made = _async_generator(function, plan.begin)
    elif inspect.iscoroutinefunction(function):
        made = _coroutine(function, plan.begin)
    elif inspect.isgeneratorfunction(function):
        made = _generator(function, plan.begin)
    else:
        made = _plain(function, plan.begin)
    return functools.update_wrapper(_at_home(made, function), function)


def _at_home(made: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """The wrapper with the function's own globals.

    Frameworks look the names in a function's string annotations up there, some without unwrapping first
    (FastAPI before 0.121). So wrappers may use nothing but their closure and builtins.
    """
    namespace = getattr(function, "__globals__", None)
    if namespace is None:
        return made  # type: ignore[no-any-return]
    return types.FunctionType(made.__code__, namespace, made.__name__, None, made.__closure__)


def _plain(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    finish = _finish

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        capture = begin(args, kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            capture.failed(error)
            raise
        return finish(capture, result)

    return wrapper


def _finish(capture: Capture, result: Any) -> Any:
    """A function that is no ``async def`` may return a coroutine: then the action is still to come."""
    if inspect.iscoroutine(result):
        return _awaited(capture, lambda: result, (), {})
    capture.done(result)
    return result


async def _awaited(
    capture: Capture, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    try:
        result = await function(*args, **kwargs)
    except Exception as error:
        await capture.afailed(error)
        raise
    except BaseException as error:
        # Cancelled or closed: an await would be cancelled again (anyio) or is not allowed (GeneratorExit).
        capture.failed(error)
        raise
    await capture.adone(result)
    return result


def _coroutine(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    awaited = _awaited

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await awaited(begin(args, kwargs), function, args, kwargs)

    return wrapper


def _generator(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        capture = begin(args, kwargs)
        try:
            result = yield from function(*args, **kwargs)
        except GeneratorExit:
            # The consumer has had enough: what was done until here was done.
            capture.done()
            raise
        except BaseException as error:
            capture.failed(error)
            raise
        capture.done(result)
        return result

    return wrapper


def _async_generator(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        capture = begin(args, kwargs)
        inner = function(*args, **kwargs)
        try:
            value = await inner.__anext__()
            while True:
                try:
                    sent = yield value
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown in by the caller, passed on
                    value = await inner.athrow(error)
                else:
                    value = await inner.asend(sent)
        except (StopAsyncIteration, GeneratorExit) as end:
            if isinstance(end, StopAsyncIteration):
                await capture.adone()
                return
            capture.done()
            raise
        except Exception as error:
            await capture.afailed(error)
            raise
        except BaseException as error:
            capture.failed(error)
            raise

    return wrapper
