"""Storing the record of a request: as much of it as can be a record, since the action has happened."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from auditbox.context import current_scope
from auditbox.errors import RecordError, error_text
from auditbox.names import NO_OBJECT

if TYPE_CHECKING:
    from auditbox.capture.request import Request
    from auditbox.trail import AuditTrail

logger = logging.getLogger("auditbox.capture")


class Made:
    """A record to be stored, and what to say if it cannot be.

    Args:
        find: gives the trail.
        event: the record's event.
        fields: the record's fields; the outcome is a dict.
        request: the request, for the log.
    """

    def __init__(
        self, find: Callable[[], AuditTrail], event: str, fields: dict[str, Any], request: Request
    ) -> None:
        self._find, self._event, self._fields, self._request = find, event, fields, request

    def store(self) -> None:
        """Captures; a value that breaks a rule is left out and named in the outcome. Never raises."""
        trail = self._trail()
        while trail is not None:
            try:
                trail.record(self._event, **self._fields)
            except Exception as error:  # noqa: BLE001 - after the action nothing raises
                if self._amended(trail, error):
                    continue
            return

    async def astore(self) -> None:
        """As store, without blocking the event loop."""
        trail = self._trail()
        while trail is not None:
            try:
                await trail.arecord(self._event, **self._fields)
            except Exception as error:  # noqa: BLE001 - after the action nothing raises
                if self._amended(trail, error):
                    continue
            return

    def _trail(self) -> AuditTrail | None:
        try:
            return self._find()
        except Exception as error:  # noqa: BLE001 - without a trail there is no spill either: say so
            self._lost(str(error))
            return None

    def _amended(self, trail: AuditTrail, error: Exception) -> bool:
        """Whether the record may be tried again, without the value that broke a rule."""
        if not isinstance(error, RecordError):
            trail.spill(error, self._event, self._fields)
            return False
        field, unresolved = error.field, self._fields["outcome"].setdefault("unresolved", {})
        if self._left_out(field):
            unresolved[field] = error_text(error)
            return True
        if field == "object" and "object" not in self._fields:
            self._fields["object"] = NO_OBJECT
            unresolved.setdefault(field, error_text(error))
            self._say("has no object; give the dead letter one (auditbox dead fix)", unresolved[field])
            return True
        self._lost("; ".join([*(f"{field}: {why}" for field, why in unresolved.items()), str(error)]))
        return False

    def _left_out(self, field: str) -> bool:
        """Takes a value that breaks a rule away: the rule's own, else what the application has bound."""
        if field == "outcome":
            return False
        if self._fields.pop(field, None) is not None:
            return True
        scope = current_scope()
        return scope is not None and scope.values.pop(field, None) is not None

    def _lost(self, why: str) -> None:
        self._say("is lost", why)

    def _say(self, what: str, why: str) -> None:
        about = self._request
        logger.error("%s %r: audit record of %s %s: %s", about.method, about.route, self._event, what, why)
