"""What Django calls a route, as the template that rules and records use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

_EXPRESSION = re.compile(r"[\^$\\]|\(\?")
_TOKEN = re.compile(
    r"(?P<group>\()(?:\?P<(?P<name>\w+)>|(?P<kind>\?[:=!<]))?"
    r"|(?P<close>\))(?P<optional>[?*])?"
    r"|\\[AZbBz]|(?P<quantifier>[?*+])|[\^$]|\\(?P<escaped>\W)|(?P<set>\[\^?\]?(?:\\.|[^\]])*\])|(?P<literal>\\.|.)",
    re.DOTALL,
)


def routed(request: Any) -> tuple[str | None, Mapping[str, Any]]:
    """The template of the route that Django has found, and the path's parameters; None before it has."""
    match = request.resolver_match
    if match is None or not isinstance(match.route, str):
        return None, {}
    found = template(match.route)
    for name, value in match.kwargs.items():
        if "/" in str(value):  # a regular expression may span segments
            found = found.replace(f"<{name}>", f"<path:{name}>")
    if found.endswith("/") and not request.path_info.endswith("/"):
        found = found[:-1]  # of an expression that ends in "/?"
    return found, match.kwargs


@lru_cache(maxsize=4096)
def template(route: str) -> str:
    """``/orders/<int:id>/`` for ``orders/<int:id>/`` and ``/orders/<id>/`` for ``^orders/(?P<id>[0-9]+)/$``.

    With ``include()`` a route may be both, one after the other. Groups become their names, those without
    one ``<var1>``, ``<var2>``; what is optional is left out. An expression for which that cannot be said
    gives a template that fits no path, and the path itself stands for the route.
    """
    if _EXPRESSION.search(route):
        route = "".join(_simplified(route))
    return route if route.startswith("/") else f"/{route}"


def _simplified(expression: str) -> Iterator[str]:
    """The literal parts of an expression, and the names of its outermost groups."""
    depth = unnamed = 0
    for token in _TOKEN.finditer(expression):
        if token["group"]:
            if depth == 0 and not token["kind"]:
                unnamed += token["name"] is None
                yield f"<{token['name'] or f'var{unnamed}'}>"
            depth += 1
        elif token["close"]:
            depth -= 1
        elif depth == 0:
            yield token["escaped"] or token["set"] or token["literal"] or ""
