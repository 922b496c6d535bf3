"""What the emulator does for a request, whatever carries it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from auditbox.emulator.fields import EVENT_TYPES
from auditbox.emulator.identity import Caller, Directory
from auditbox.emulator.jwt import Issuer
from auditbox.emulator.locations import Locations, address_of
from auditbox.emulator.masking import shown
from auditbox.emulator.problem import Problem, invalid
from auditbox.emulator.query import Query
from auditbox.emulator.reading import Caps, Reader
from auditbox.emulator.rql.compile import stored_timestamp
from auditbox.emulator.seed import Seed
from auditbox.emulator.store import Store
from auditbox.emulator.submission import audience, check, target
from auditbox.errors import ConfigurationError
from auditbox.records import AuditRecord

_FREE = ("event", "summary", "details")
_UPDATABLE = ("name", "description")


class Service:
    """The Audit API's operations on one store.

    Args:
        store: where records are kept.
        directory: accounts, tokens and objects.
        clock: seconds since the epoch.
        caps: how many rows a page and a stream may have.
    """

    def __init__(
        self,
        store: Store,
        directory: Directory,
        clock: Callable[[], float] = time.time,
        caps: Caps | None = None,
    ) -> None:
        self.store, self.directory, self.clock = store, directory, clock
        self.reader = Reader(store, directory.strict, caps)
        directory.issuer = Issuer(clock)

    def load(self, seed: Seed) -> None:
        """Takes a seed's records and event types in; what is there already stays.

        Raises:
            ConfigurationError: a text of it is no Unicode.
        """
        try:
            for event_type in seed.event_types:
                self.store.add_event_type(event_type.model_dump())
            self.store.add_all([self._seeded(record) for record in seed.records])
        except ValueError as exc:
            raise ConfigurationError(f"seed: {exc}") from None

    def _seeded(self, record: AuditRecord) -> dict[str, Any]:
        moment = self._now() if record.timestamp is None else record.timestamp.isoformat()
        return {**record.to_wire(), "timestamp": stored_timestamp(moment)}

    def may_create(self, caller: Caller) -> None:
        """Rule 2: clients do not write.

        Raises:
            Problem: 403.
        """
        if self.directory.strict and caller.account_type == "Client":
            raise Problem(403, "A client account may not create audit records.")

    def create(self, caller: Caller, body: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
        """Stores a record; it is committed when this returns (contract, section 3).

        Raises:
            Problem: 400 or 403.
        """
        check(body)
        about = target(body, self.directory)
        kind, viewers = audience(body, about["id"], caller, self.directory, self.store)
        record = {
            **{name: body[name] for name in _FREE},
            "object": about,
            "timestamp": stored_timestamp(self._now()),
            "actor": caller.actor,
            "type": kind,
            "request": request,
            "documents": body.get("documents"),
            "viewers": viewers,
        }
        return self._shown(self.store.add(record), caller)

    def _shown(self, stored: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """A record that was just stored, as its submitter is answered: even if it may not read it later."""
        answer = {name: value for name, value in stored.items() if value not in (None, {}, [])}
        if "documents" in answer:
            answer["documents"] = shown(answer["documents"], self.reader.reads_as(caller))
        return {**answer, "timestamp": f"{stored['timestamp'][:23]}Z"}

    def _now(self) -> str:
        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="milliseconds")

    def update_event_type(self, caller: Caller, id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Changes an event type's name or description.

        Raises:
            Problem: 404, or 400 with the fields that are wrong.
        """
        self.reader.one(EVENT_TYPES, id, Query(), caller)
        errors = {name: [f"'{name.capitalize()}' must not be empty."] for name in _empty(body)}
        if "key" in body:
            errors["key"] = ["'Key' cannot be changed."]
        if body.get("id", id) != id:
            errors["id"] = ["'Id' cannot be changed."]
        if errors:
            raise invalid(errors)
        self.store.update_event_type(id, {name: body[name] for name in _UPDATABLE if name in body})
        return self.reader.one(EVENT_TYPES, id, Query(), caller)


def _empty(body: Mapping[str, Any]) -> list[str]:
    return [
        name
        for name in _UPDATABLE
        if name in body and not (isinstance(body[name], str) and body[name].strip())
    ]


def request_of(peer: str | None, headers: Mapping[str, str], locations: Locations) -> dict[str, Any]:
    """The ``request`` that the server notes on a record."""
    ip = address_of(peer, headers)
    place = locations.find(ip) if ip else None
    api = {"ip": ip, "userAgent": headers.get("user-agent"), "geolocation": place}
    trace = headers.get("traceparent", "").split("-")
    operation = trace[1] if len(trace) == 4 and len(trace[1]) == 32 else secrets.token_hex(16)
    return {
        "api": {name: value for name, value in api.items() if value},
        "log": {"requestId": headers.get("x-request-id") or secrets.token_hex(8), "operationId": operation},
    }
