"""The arguments of a call by their names, without the cost of ``Signature.bind`` at each call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Arguments:
    """Names the arguments of calls of one function; the function itself refuses a wrong call.

    ``*args`` and ``**kwargs`` are found under their own names, parameters that were left out with their
    defaults. A function whose signature cannot be read (some builtins) has no names.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            parameters = []
        self.names = frozenset(parameter.name for parameter in parameters)
        self._positional = [parameter.name for parameter in parameters if parameter.kind in _POSITIONAL]
        self._keyword = frozenset(parameter.name for parameter in parameters if parameter.kind in _KEYWORD)
        self._defaults = {
            parameter.name: parameter.default
            for parameter in parameters
            if parameter.default is not parameter.empty
        }
        kinds = {parameter.kind: parameter.name for parameter in parameters}
        self._rest = kinds.get(inspect.Parameter.VAR_POSITIONAL)
        self._others = kinds.get(inspect.Parameter.VAR_KEYWORD)

    def named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The values of one call by their parameters' names."""
        values = {**self._defaults, **dict(zip(self._positional, args, strict=False))}
        if self._rest is not None:
            values[self._rest] = tuple(args[len(self._positional) :])
        if self._others is None:
            values.update(kwargs)
            return values
        others = values[self._others] = {}
        for name, value in kwargs.items():
            (values if name in self._keyword else others)[name] = value
        return values
