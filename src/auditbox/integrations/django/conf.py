"""The ``AUDITBOX`` setting: its keys are the arguments of the trail and of the middleware, in capitals."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from auditbox.capture.http import Auditor
from auditbox.capture.lookup import trail_finder
from auditbox.errors import ConfigurationError
from auditbox.trail import AuditTrail

NAME = "AUDITBOX"


def _keys(function: Any, *but: str) -> dict[str, str]:
    """The arguments of a function by the keys that set them."""
    names = [name for name in inspect.signature(function).parameters if name not in ("self", *but)]
    return {name.upper(): name for name in names}


TRAIL_KEYS = {"OUTBOX": "path", **_keys(AuditTrail, "path")}
AUDITOR_KEYS = _keys(Auditor, "app", "trail", "actor", "fail_closed")
KEYS = frozenset({*TRAIL_KEYS, *AUDITOR_KEYS, "TRAIL", "ACTOR", "MODELS"})

_FUNCTIONS = frozenset({"ACTOR", "ON_DEAD_LETTER", "ROUTES"})
"""Keys whose functions may be given by a dotted name, since settings cannot import an application's code."""


@dataclass(frozen=True)
class Options:
    """What the setting says, sorted by whom it is for."""

    trail: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of AuditTrail."""
    auditor: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the middleware."""
    named: Any = None
    """``TRAIL``: a trail, or the dotted name of one."""
    actor: Any = None
    """``ACTOR``: a function of the request."""
    models: Mapping[str, Any] = field(default_factory=dict)


def options() -> Options:
    """The setting as it is now.

    Raises:
        ConfigurationError: it is no dictionary, has an unknown key, or names something that is not there.
    """
    given = getattr(settings, NAME, None) or {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{NAME} is a dictionary, not {type(given).__name__}")
    for key in given:
        _check_key(key)
    known = {key: _resolved(key, value) for key, value in given.items()}
    found = Options(
        trail={TRAIL_KEYS[key]: value for key, value in known.items() if key in TRAIL_KEYS},
        auditor={AUDITOR_KEYS[key]: value for key, value in known.items() if key in AUDITOR_KEYS},
        named=known.get("TRAIL"),
        actor=known.get("ACTOR"),
        models=known.get("MODELS") or {},
    )
    if found.named is not None and found.trail:
        other = next(key for key in known if key in TRAIL_KEYS)
        raise ConfigurationError(f"{NAME}: TRAIL is a trail of its own, so {other} has no effect")
    if found.actor is not None and not callable(found.actor):
        raise ConfigurationError(f"{NAME}: ACTOR={found.actor!r} is a function of the request")
    return found


def _check_key(key: object) -> None:
    if key not in KEYS:
        close = get_close_matches(str(key).upper(), KEYS, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(KEYS))}"
        raise ConfigurationError(f"{NAME}: there is no {key!r}; {hint}")


def _resolved(key: str, value: Any) -> Any:
    if key not in _FUNCTIONS or not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except ImportError as error:
        raise ConfigurationError(f"{NAME}: {key}={value!r} cannot be imported: {error}") from error


def make_trail(given: Options) -> AuditTrail | None:
    """The trail of the setting, or None where it says nothing about one.

    What the setting leaves out comes from the environment, as with ``AuditTrail.from_env``.

    Raises:
        ConfigurationError: a value that cannot work.
    """
    if given.named is not None:
        return trail_finder(given.named)()
    return AuditTrail.from_env(**given.trail) if given.trail else None
