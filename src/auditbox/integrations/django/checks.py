"""System checks: ``manage.py check`` finds what is wrong with ``AUDITBOX``; no disk, no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.conf import settings
from django.core import checks

from auditbox.capture.http import Auditor
from auditbox.default import get_trail
from auditbox.errors import AuditboxError
from auditbox.integrations.django import conf
from auditbox.integrations.django.models_watched import Watched
from auditbox.settings import check_sink
from auditbox.trail import AuditTrail

_MIDDLEWARE = "auditbox.integrations.django.AuditMiddleware"
_MIDDLEWARES = (_MIDDLEWARE, "auditbox.integrations.django.middleware.AuditMiddleware")


def register() -> None:
    """Adds the checks to Django's."""
    checks.register(check_setting, "auditbox")
    checks.register(check_delivery, "auditbox", deploy=True)


def check_setting(**_: Any) -> list[Any]:
    """The setting: its keys, the trail, the rules and the models, each for itself."""
    try:
        given = conf.options()
    except AuditboxError as error:
        return [_error("E001", error)]
    found, trail = _made(given)
    found += _tried("E003", lambda: Auditor(None, **given.auditor, trail=trail).check())
    for label, spec in given.models.items():
        found += _tried("E004", partial(_check_model, label, spec))
    return found + list(_warnings(given))


def _made(given: conf.Options) -> tuple[list[Any], AuditTrail | None]:
    try:
        return [], conf.make_trail(given)
    except (AuditboxError, TypeError) as error:
        return [_error("E002", error)], None


def check_delivery(**_: Any) -> list[Any]:
    """Only with ``--deploy``: an image is built without credentials."""
    try:
        trail = get_trail()
        if trail.sink is None:
            hint = "Set SINK (or MPT_API_BASE_URL), unless another process delivers: auditbox relay."
            return [checks.Warning("Nothing is delivered: no sink is set.", hint=hint, id="auditbox.W002")]
        check_sink(trail.sink)
    except AuditboxError as error:
        return [checks.Warning(f"Nothing is delivered: {error}", id="auditbox.W002")]
    return []


def _check_model(label: str, spec: Any) -> None:
    watched = Watched(label, spec)
    try:
        trail = get_trail()
    except AuditboxError:
        return  # said by E002
    for event in watched.events.values():
        trail.check_event(event)


def _warnings(given: conf.Options) -> Iterator[Any]:
    rules = [key for key in ("routes", "every") if given.auditor.get(key)]
    if rules and not set(_MIDDLEWARES) & set(settings.MIDDLEWARE):
        yield checks.Warning(
            f"{rules[0].upper()} has no effect: the middleware is missing.",
            hint=f"Put {_MIDDLEWARE!r} first in MIDDLEWARE.",
            id="auditbox.W001",
        )


def _tried(number: str, check: Callable[[], object]) -> list[Any]:
    try:
        check()
    except (AuditboxError, TypeError) as error:
        return [_error(number, error)]
    return []


def _error(number: str, error: Exception) -> Any:
    text = str(error)
    return checks.Error(
        text if text.startswith(conf.NAME) else f"{conf.NAME}: {text}", id=f"auditbox.{number}"
    )
