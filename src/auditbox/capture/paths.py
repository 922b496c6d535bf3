"""Path templates such as ``/orders/{order_id}/approve``: what they match, and where they stand in a path.

Flask's and Django's ``/orders/<int:order_id>`` is understood, and told as ``/orders/{order_id}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_PARAMETER = re.compile(r"\{(\w+)(?::(\w+))?\}")
_ANGLED = re.compile(r"<(?:(\w+)(?:\([^<>]*\))?:)?(\w+)>")


@lru_cache(maxsize=4096)
def braced(template: str) -> str:
    """The template with its parameters in braces; of the converters only ``path`` says what a name spans."""
    return _ANGLED.sub(
        lambda name: f"{{{name[2]}:path}}" if name[1] == "path" else f"{{{name[2]}}}", template
    )


@lru_cache(maxsize=4096)
def compiled(template: str) -> re.Pattern[str]:
    """A pattern with a group for each parameter; ``{rest:path}`` spans segments, others are one segment."""
    pattern, position = "", 0
    for parameter in _PARAMETER.finditer(template):
        pattern += re.escape(template[position : parameter.start()])
        pattern += f"(?P<{parameter[1]}>{'.+' if parameter[2] == 'path' else '[^/]+'})"
        position = parameter.end()
    return re.compile(pattern + re.escape(template[position:]), re.DOTALL)


@lru_cache(maxsize=4096)
def shape(template: str) -> str:
    """The template without its parameters' names, to compare it with another one."""
    return _PARAMETER.sub("{}", template)


def literals(template: str) -> str:
    """What is left of the template without its parameters."""
    return _PARAMETER.sub("", template)


def parameters(template: str) -> list[str]:
    """The names of the parameters."""
    return [parameter[1] for parameter in _PARAMETER.finditer(template)]


def whole_template(tail: str, path: str, values: Mapping[str, Any]) -> str | None:
    """The template of the whole path, where the framework knows that of its end only.

    A route of a mounted application, or of an included router, does not know the prefix under which it
    was reached: it is taken from the path itself, with the parameters' values as their names again.

    Returns:
        The template, or None where the path does not end in the tail.
    """
    match = _ends(tail).search(path)
    if match is None:
        return None
    prefix = path[: match.start()]
    if not prefix:
        return tail
    inner = parameters(tail)
    names = {str(value): f"{{{name}}}" for name, value in values.items() if name not in inner}
    names.pop("", None)
    return "/".join(names.get(segment, segment) for segment in prefix.split("/")) + tail


@lru_cache(maxsize=4096)
def _ends(tail: str) -> re.Pattern[str]:
    return re.compile(compiled(tail).pattern + r"\Z", re.DOTALL)
