"""Checks of the form of what a trail is configured with. Nothing here touches disk or network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from auditbox.checks import checked, is_count
from auditbox.errors import ConfigurationError

if TYPE_CHECKING:
    from auditbox.sinks.base import Sink


T = TypeVar("T")

TRANSPORTS = ("httpx", "fast")

_EXTENSION = re.compile(r"""[^.\s"'\\]+""")


def extension(name: str | None) -> str | None:
    """The extension's name: one segment of an event."""
    if name is None:
        return None
    if isinstance(name, str) and name.isprintable() and _EXTENSION.fullmatch(name):
        return str.__str__(name)
    raise ConfigurationError(
        f"extension={name!r}: one name such as 'shop', without dots, blanks, quotes, backslashes and control "
        "characters"
    )


def events(declared: Mapping[str, str] | Iterable[str] | None) -> dict[str, str] | None:
    """The declared events with their titles (empty where only names were given)."""
    if declared is None or isinstance(declared, Mapping):
        return None if declared is None else dict(declared)
    several = isinstance(declared, Iterable) and not isinstance(declared, str)
    checked("events", declared, several, "a mapping of events to titles, or a list of events")
    return dict.fromkeys(declared, "")


def names(name: str, given: Iterable[str]) -> frozenset[str]:
    """Several names; one text by itself is most likely a mistake."""
    if isinstance(given, str):
        raise ConfigurationError(f"{name}={given!r}: several are expected, such as [{given!r}]")
    checked(name, given, isinstance(given, Iterable), "several names, such as ['name']")
    return frozenset(given)


def at_least(name: str, value: int, least: int) -> int:
    """The value, if it is a whole number that is large enough."""
    return checked(name, value, is_count(value) and value >= least, f"a whole number, at least {least}")


def optional(name: str, given: T | None, kind: type[T]) -> T:
    """What was given, or one with the defaults."""
    if given is None:
        return kind()
    return checked(name, given, isinstance(given, kind), f"a {kind.__name__}, such as {kind.__name__}()")


def sink(given: str | Sink | None, token: Any, transport: str | None = None) -> Sink | None:
    """The sink itself, or one for the Audit API at this URL."""
    if transport is not None and transport not in TRANSPORTS:
        raise ConfigurationError(f"transport={transport!r}: 'httpx' or 'fast'")
    if given is None or not isinstance(given, str):
        if transport is not None:
            raise ConfigurationError("transport=… goes with sink='https://…' (MPT_API_BASE_URL)")
        if token is not None:
            raise ConfigurationError(
                "token=… goes with sink='https://…' (MPT_API_BASE_URL); a Sink holds its own"
            )
        if given is not None and not callable(getattr(given, "send", None)):
            raise ConfigurationError(f"sink={given!r}: a URL, a Sink, or None to capture only")
        return given
    from auditbox.sinks.audit_api import AuditApiSink

    return AuditApiSink(given, token, transport=transport or "httpx")


def check_sink(sink: Sink | None) -> None:
    """Asks a sink that can to check itself: whether there is a token, say."""
    check: Callable[[], None] | None = getattr(sink, "check", None)
    if check is not None:
        check()


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of AuditTrail that these variables set."""
    _refuse_misspelled(environment)
    arguments: dict[str, Any] = {"path": environment.get("AUDITBOX_OUTBOX") or "audit.db"}
    for name, (argument, parse) in _VARIABLES.items():
        if text := environment.get(name, "").strip():
            try:
                arguments[argument] = parse(text)
            except ValueError as error:
                raise ConfigurationError(f"{name}={text!r}: {_EXPECTED.get(parse, error)}") from error
    return arguments


def check_environment(
    environment: Mapping[str, str], arguments: Mapping[str, Any], overrides: Mapping[str, Any]
) -> None:
    """Raises a ConfigurationError where a variable needs an address that the environment does not set.

    Args:
        environment: the variables.
        arguments: what the trail is going to be made with.
        overrides: those of them that the environment has no part in.
    """
    if arguments.get("sink") is not None or "sink" in overrides:
        return
    for name in ("MPT_API_TOKEN", "AUDITBOX_TOKEN_FILE", "AUDITBOX_TRANSPORT"):
        if environment.get(name, "").strip() and _VARIABLES[name][0] not in overrides:
            raise ConfigurationError(
                f"{name} is set and MPT_API_BASE_URL is missing: set it to the Audit API's URL, "
                f"or unset {name} to capture only"
            )


def _refuse_misspelled(environment: Mapping[str, str]) -> None:
    """A setting that is ignored may be the one that a promise depends on."""
    from difflib import get_close_matches

    known = ["AUDITBOX_OUTBOX", *_VARIABLES]
    for name in environment.keys() - known:
        if name.startswith("AUDITBOX_") and (close := get_close_matches(name, known, n=1, cutoff=0.85)):
            raise ConfigurationError(f"{name} is no setting of auditbox: did you mean {close[0]}?")


def _flag(text: str) -> bool:
    flags = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in flags:
        raise ValueError("1 or 0")
    return flags[text.lower()]


def _transport(text: str) -> str:
    if text not in TRANSPORTS:
        raise ValueError("'httpx' or 'fast'")
    return text


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


_EXPECTED: dict[Callable[[str], Any], str] = {
    int: "a whole number (of bytes where it is a size)",
    float: "a number of seconds",
    _flag: "1, true, yes, 0, false or no",
}
_VARIABLES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "MPT_API_BASE_URL": ("sink", str),
    "AUDITBOX_TOKEN_FILE": ("token", Path),
    "MPT_API_TOKEN": ("token", str),
    "AUDITBOX_EXTENSION": ("extension", str),
    "AUDITBOX_DEFAULT_OBJECT": ("default_object", str),
    "AUDITBOX_DURABILITY": ("durability", str),
    "AUDITBOX_SHARE": ("share", _names),
    "AUDITBOX_MAX_BYTES": ("max_bytes", int),
    "AUDITBOX_KEEP_DELIVERED": ("keep_delivered", float),
    "AUDITBOX_CONCURRENCY": ("concurrency", int),
    "AUDITBOX_FAIL_CLOSED": ("fail_closed", _flag),
    "AUDITBOX_TRANSPORT": ("transport", _transport),
}
