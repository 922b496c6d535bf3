"""Everything that auditbox raises.

::

    AuditboxError
    ├── ConfigurationError          a value given at construction is wrong (a ValueError)
    │   ├── MissingDependency       an extra is not installed (an ImportError)
    │   └── NoTrail                 nothing was configured and none was passed
    ├── RecordError                 what was captured cannot be a record (a ValueError)
    │   └── UndeclaredEvent         an event outside the declared list
    ├── OutsideScope                bind() where there is no scope to bind to
    ├── OutboxError                 the local log
    │   ├── OutboxUnusable          it cannot be opened: permissions, network disk, damage
    │   │   ├── NotAnOutbox         the file is something else
    │   │   ├── OutboxDamaged       a part of it cannot be read; what is intact is salvaged
    │   │   ├── OutboxTooNew        made by a newer auditbox
    │   │   ├── WrongDestination    it belongs to another Audit API
    │   │   └── OutboxForked        a fork that skipped Python's fork hooks
    │   ├── OutboxFull              max_bytes reached with undelivered entries only, or the disk is full
    │   ├── OutboxBusy              no turn to write within the bound
    │   └── Superseded              another relay has taken this outbox over
    └── ApiError                    the typed client of the Audit API
        ├── ApiConnectionError      no answer: refused, reset, timed out
        └── ApiStatusError          an answer with an error status
            ├── AuthenticationError   401
            ├── PermissionDenied      403
            ├── NotFound              404
            ├── ValidationFailed      400, 409, 413, 415, 422: ``fields`` says which, and why
            ├── RateLimited           429: ``retry_after`` in seconds
            └── ServerError           5xx

An exception's docstring is its default message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class AuditboxError(Exception):
    """Something went wrong in auditbox."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])


class ConfigurationError(AuditboxError, ValueError):
    """A setting has a value that cannot be used."""


class MissingDependency(ConfigurationError, ImportError):
    """An optional dependency is not installed."""


class NoTrail(ConfigurationError):
    """No trail is configured: call auditbox.configure(AuditTrail(...)) first, or pass trail=."""


class RecordError(AuditboxError, ValueError):
    """What was captured cannot be a record.

    Args:
        field: the field in the words of the caller, such as ``object`` or ``documents``.
        value: what was given; the message shows it as :func:`shown` does.
        rule: what is asked of the field, and the way out.
    """

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(f"{field}={shown(value)}: {rule}")
        self.field, self.value, self.rule = field, value, rule

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self.value, self.rule)


class UndeclaredEvent(RecordError):
    """An event outside the declared list."""


class OutsideScope(AuditboxError, RuntimeError):
    """bind() needs a scope: call it under AuditMiddleware or inside `with audit_context(...)`."""


class OutboxError(AuditboxError):
    """The outbox cannot do what was asked."""


class OutboxUnusable(OutboxError):
    """The outbox cannot be opened."""


class NotAnOutbox(OutboxUnusable):
    """The file exists and is not an auditbox outbox."""


class OutboxDamaged(OutboxUnusable):
    """The outbox is damaged: what is intact is carried over into a new file."""


class OutboxTooNew(OutboxUnusable):
    """The outbox was written by a newer auditbox: upgrade auditbox."""


class WrongDestination(OutboxUnusable):
    """The outbox belongs to another destination."""


class OutboxForked(OutboxUnusable):
    """This process was forked without Python's fork hooks; open a new AuditTrail in it."""


class OutboxFull(OutboxError):
    """The outbox is full of undelivered entries."""


class OutboxBusy(OutboxError):
    """The outbox could not be written within the bound: another process holds its lock."""


class Superseded(OutboxError):
    """Another relay has taken this outbox over."""


class ApiError(AuditboxError):
    """A call of the Audit API failed."""


class ApiConnectionError(ApiError):
    """The Audit API did not answer."""


class ApiStatusError(ApiError):
    """The Audit API answered with an error.

    Attributes:
        status: the HTTP status code.
        title, detail: the problem's texts, when the body held any.
        errors: the problem's ``errors`` as they came: a mapping of field to messages, or a list.
        trace_id: the server's W3C trace id, to quote to support.
        retry_after: seconds to wait, when the server named them.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int = 0,
        title: str | None = None,
        detail: str | None = None,
        errors: Any = None,
        trace_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.title, self.detail = status, title, detail
        self.errors, self.trace_id, self.retry_after = errors, trace_id, retry_after


class AuthenticationError(ApiStatusError):
    """The token was not accepted (401)."""


class PermissionDenied(ApiStatusError):
    """The token's account may not do this (403)."""


class NotFound(ApiStatusError):
    """Not found, or not visible to the token's account (404)."""


class ValidationFailed(ApiStatusError):
    """The request was rejected as invalid."""

    @property
    def fields(self) -> dict[str, list[str]]:
        """What is wrong, by field (``object.id``); under ``""`` what concerns none."""
        found: dict[str, list[str]] = {}
        for field, message in _by_field(self.errors):
            found.setdefault(field, []).append(message)
        return found


def _by_field(errors: Any) -> Iterator[tuple[str, str]]:
    """The two shapes of ``errors``: messages by field, or objects of a message and its properties."""
    if isinstance(errors, dict):
        for field, said in errors.items():
            yield from (
                (str(field), str(message)) for message in (said if isinstance(said, list) else [said])
            )
    for error in errors if isinstance(errors, list) else ():
        known = error if isinstance(error, dict) else {}
        named = known.get("properties")
        for field in named if named and isinstance(named, list) else [""]:
            yield str(field), str(known.get("message", error))


class RateLimited(ApiStatusError):
    """Too many requests (429)."""


class ServerError(ApiStatusError):
    """The Audit API failed (5xx)."""


def shown(value: object) -> str:
    """The value's repr, at most 120 characters of it, also where its ``__repr__`` fails."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - it is refused or lost, and that is what must be said
        return f"<unprintable {type(value).__qualname__}>"
    return text if len(text) <= 120 else text[:117] + "..."


def error_text(error: BaseException) -> str:
    """``ValueError: what it says``, also where its ``__str__`` fails."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - an exception that cannot be printed is still an outcome
        said = "<unprintable>"
    name = type(error).__qualname__
    return f"{name}: {said}" if said else name
