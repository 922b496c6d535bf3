"""The forms of events and of object ids, and the events that a trail may submit.

Apart from the shapes in :mod:`auditbox.records`, which need pydantic: a capture needs only these.
"""

from __future__ import annotations

import re
from types import MappingProxyType

from auditbox.errors import RecordError, UndeclaredEvent

OBJECT_ID = re.compile(r"[A-Z]{3,4}(?:-[0-9]{4})+")
"""``PREFIX-dddd-dddd…``: the form of every id of the platform; prefixes are not checked."""

is_object_id = OBJECT_ID.fullmatch
"""Whether a text has that form."""

NO_OBJECT = MappingProxyType({"id": ""})
"""Of a record that is kept although nothing says what it is about, since its action has happened: the API
refuses it, and whoever looks after the dead letters gives it one."""

OBJECT_KEYS = {"id": "id", "name": "name", "objectType": "objectType", "object_type": "objectType"}
"""What a mapping may say of an object, and how it is called on the wire."""

SUBMITTED_EVENT = re.compile(r"extensions\.[^.\s]+\.[^\s]+")
"""``extensions.<extension>.<event>``: the only events that a client may submit (canon BR-004)."""

_LONGEST_EVENT = 256
_SEGMENTS = re.compile(r"""[^.\s"'\\]+(?:\.[^.\s"'\\]+)*""")


def check_object_id(value: object) -> str:
    """The id itself, as a plain text, or a RecordError that names the form it must have."""
    if isinstance(value, str) and OBJECT_ID.fullmatch(value):
        return str.__str__(value)
    raise RecordError("object", value, "an object id looks like ORD-1208-2301-8479 (PREFIX-dddd-dddd…)")


def full_event(event: object, extension: str | None = None) -> str:
    """The submitted form of an event: ``order.approved`` of ``shop`` is ``extensions.shop.order.approved``.

    It is a plain text also where the event is of a class of its own, such as an Enum's, which may format
    itself as something else.

    Raises:
        RecordError: the event has no dotted form, or is short and there is no extension to put before it.
    """
    if isinstance(event, str) and event.isprintable() and len(event) <= _LONGEST_EVENT:
        event = str.__str__(event)
        if event.startswith("extensions."):
            if SUBMITTED_EVENT.fullmatch(event) and _SEGMENTS.fullmatch(event):
                return event
        elif _SEGMENTS.fullmatch(event) and not event.startswith("platform."):
            if extension is not None:
                return f"extensions.{extension}.{event}"
            raise RecordError(
                "event", event, 'set extension="…" on the trail, or write extensions.<extension>.<event>'
            )
    raise RecordError("event", event, "an event looks like order.approved or extensions.<extension>.<event>")


class Events:
    """The events that a trail may submit, with their titles; knows every full form after its first use.

    An event that was mistyped creates an event type that nobody can delete, so with ``declared`` anything
    else is an UndeclaredEvent.
    """

    def __init__(self, extension: str | None = None, declared: dict[str, str] | None = None) -> None:
        self.extension = extension
        self.known: dict[str, tuple[str, str]] = {}
        """What :meth:`resolve` has answered: a look here comes first, where each call counts."""
        self._declared = declared is not None
        for event, title in (declared or {}).items():
            full = full_event(event, extension)
            self.known[event] = self.known[full] = (full, title or full)

    def resolve(self, event: str) -> tuple[str, str]:
        """The full event and its title (the event itself where none was declared)."""
        try:
            return self.known[event]
        except (KeyError, TypeError):
            pass
        full = full_event(event, self.extension)
        if full in self.known:
            return self.known[full]
        if self._declared:
            names = ", ".join(sorted({full for full, _ in self.known.values()})) or "none"
            raise UndeclaredEvent(
                "event", event, f"declare it in the trail's events={{…}}; declared: {names}"
            )
        if len(self.known) < 10_000:
            self.known[event] = (full, full)
        return full, full
