"""Whether an exception is one that a signal handler has raised, wherever it fell."""

from __future__ import annotations

import functools
import signal
from types import CodeType


def is_interruption(error: BaseException) -> bool:
    """Whether a handler of this process's signals raised it: a soft time limit, say.

    It falls between any two instructions, also where a value's own code may raise anything and nobody
    minds. It is not that code's, and must reach whoever asked for it.
    """
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            return True
        trace = trace.tb_next
    return False


def _code_of(handler: object) -> CodeType | None:
    """The code of a function, a method, a partial of one, or an object that can be called."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    of_its_class = type(handler).__call__ if callable(handler) else None
    for function in (handler, getattr(handler, "__func__", None), of_its_class):
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None
