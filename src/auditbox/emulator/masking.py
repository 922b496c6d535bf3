"""Documents as a reader is shown them: credentials masked, prices left out (contract, section 3, rule 10)."""

from __future__ import annotations

from typing import Any

from auditbox.api.hidden import CREDENTIALS, PRICES_HIDDEN_FROM
from auditbox.emulator.objects import OBJECT_TYPES, object_type

MASK = "********"
_BY_NAME = {name[:1].lower() + name[1:]: name for name in OBJECT_TYPES.values()}


def shown(documents: dict[str, Any], account_type: str | None = None) -> dict[str, Any]:
    """The documents without what must not be read; what was given stays as it is.

    A part belongs to a platform object when it, or something around it, has a platform id or is a document
    under a platform object's name (``user``, ``originalUser``).

    Args:
        documents: as they were submitted.
        account_type: the reader's; None hides no price.
    """
    hidden = PRICES_HIDDEN_FROM.get(account_type or "", frozenset())
    result: dict[str, Any] = {}
    # A stack of its own: documents may be nested more deeply than Python calls.
    stack: list[tuple[Any, Any, Any, bool]] = [
        (result, name, value, False) for name, value in reversed(documents.items())
    ]
    while stack:
        target, place, value, inside = stack.pop()
        if isinstance(value, dict):
            kind = object_type(value.get("id")) or (_named(place) if target is result else None)
            inside = inside or kind is not None
            value = _without(hidden, _masked(value, kind)) if inside else dict(value)
            stack += [(value, name, part, inside) for name, part in value.items()]
        elif isinstance(value, list):
            value = list(value)
            stack += [(value, index, part, inside) for index, part in enumerate(value)]
        target[place] = value
    return result


def _masked(value: dict[str, Any], kind: str | None) -> dict[str, Any]:
    secret = CREDENTIALS.get(kind or "")
    return {**value, secret: MASK} if secret and secret in value else value


def _without(hidden: frozenset[str], value: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in value.items() if name not in hidden}


def _named(name: str) -> str | None:
    """The type that a document's name says: ``order`` and ``originalOrder`` are an Order."""
    plain = name.removeprefix("original")
    return _BY_NAME.get(name) or _BY_NAME.get(plain[:1].lower() + plain[1:])
