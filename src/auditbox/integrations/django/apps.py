"""The application: makes the trail of the settings the default one, and watches the chosen models."""

from __future__ import annotations

import logging
from typing import Any

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_out
from django.core.signals import setting_changed

from auditbox.default import configure, get_trail
from auditbox.errors import AuditboxError
from auditbox.integrations.django import conf
from auditbox.integrations.django.actor import remember_logged_out
from auditbox.integrations.django.models_watched import watch
from auditbox.trail import AuditTrail

logger = logging.getLogger("auditbox.django")


class AuditboxConfig(AppConfig):  # type: ignore[misc]
    """``"auditbox.integrations.django"`` among the ``INSTALLED_APPS``."""

    name = "auditbox.integrations.django"
    label = "auditbox"
    verbose_name = "Audit trail"

    def ready(self) -> None:
        """Touches neither disk nor network: management commands run without either."""
        from auditbox.integrations.django import checks

        checks.register()
        user_logged_out.connect(remember_logged_out, dispatch_uid="auditbox.logged_out")
        setting_changed.connect(_on_setting_changed, dispatch_uid="auditbox.setting_changed")
        set_up()


def set_up() -> None:
    """Does what the setting says. A mistake is an ERROR line; ``manage.py check`` tells it in full."""
    try:
        given = conf.options()
        trail = conf.make_trail(given)
        if trail is None and not _has_trail():
            trail = AuditTrail.from_env()
        if trail is not None:
            configure(trail)
        watch(given.models)
    except AuditboxError as error:
        logger.error("nothing is audited: %s", error)


def _has_trail() -> bool:
    try:
        get_trail()
    except AuditboxError:
        return False
    return True


def _on_setting_changed(*, setting: str, **_: Any) -> None:
    """``override_settings(AUDITBOX=…)`` in an application's tests."""
    if setting == conf.NAME:
        set_up()
