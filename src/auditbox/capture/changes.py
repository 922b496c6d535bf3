"""What changed between two states of an object, as documents of a record."""

from __future__ import annotations

from typing import Any

from auditbox.encoding import plain
from auditbox.errors import ConfigurationError

_ABSENT: Any = object()


def changes(name: str, before: Any, after: Any) -> dict[str, Any]:
    """The documents that tell a change: the object, what it was, and the difference.

    ::

        changes("order", before, after)
        {"order": {…}, "originalOrder": {…}, "change": {"status": {"before": "Draft", "after": "Placed"}}}

    ``change`` has the shape of the object itself, cut down to what differs, so that secrets in it are
    masked by their names like everywhere else, and ``{{change.status.after}}`` works in texts. Elements
    of a list stand under their index.

    Args:
        name: the document's name, such as ``order``.
        before: the earlier state: a mapping, a dataclass, a pydantic model; None where there was none.
            Take it before the change (``model_copy(deep=True)``): a mutable object has only one state.
        after: the later state; None where there is none any more.

    Raises:
        ConfigurationError: the name is empty or is ``change``.
    """
    if not isinstance(name, str) or not name or name == "change":
        raise ConfigurationError(f"changes({name!r}, …): name the object's document, such as 'order'")
    old, new = plain(before), plain(after)
    documents = {name: new, f"original{name[0].upper()}{name[1:]}": old}
    change = _difference(_ABSENT if before is None else old, _ABSENT if after is None else new)
    return {key: value for key, value in documents.items() if value is not None} | {"change": change}


def _difference(old: Any, new: Any) -> dict[str, Any]:
    """The differing parts, each as what it was and what it is; empty where nothing differs."""
    was, now = _parts(old), _parts(new)
    if was is None or now is None:
        return {} if _same(old, new) else _leaf(old, new)
    names = list(dict.fromkeys((*was, *now)))
    found = {name: _difference(was.get(name, _ABSENT), now.get(name, _ABSENT)) for name in names}
    return {name: difference for name, difference in found.items() if difference}


def _parts(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {str(index): part for index, part in enumerate(value)}
    return None


def _same(old: Any, new: Any) -> bool:
    # True == 1 in Python, not in JSON.
    return isinstance(old, bool) == isinstance(new, bool) and bool(old == new)


def _leaf(old: Any, new: Any) -> dict[str, Any]:
    states = {"before": old, "after": new}
    return {state: value for state, value in states.items() if value is not _ABSENT}
