"""auditbox for Flask: ``Audit(app)``, or ``audit = Audit()`` and ``audit.init_app(app)``.

Configured by ``app.config``: ``AUDITBOX_OUTBOX`` and whatever else :class:`~auditbox.AuditTrail` takes, in
capitals (``AUDITBOX_EXTENSION``, ``AUDITBOX_EVENTS``, ``AUDITBOX_TOKEN``), and the arguments of
:class:`auditbox.wsgi.AuditMiddleware` (``AUDITBOX_ROUTES``, ``AUDITBOX_TRUSTED_PROXIES``). What is absent
comes from the environment, as with ``AuditTrail.from_env()``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from auditbox.capture.wsgi import AuditMiddleware
from auditbox.default import configure
from auditbox.errors import ConfigurationError, MissingDependency
from auditbox.trail import AuditTrail

try:
    from flask import Flask, current_app
except ImportError as error:
    raise MissingDependency("auditbox.integrations.flask needs Flask: pip install flask") from error

from auditbox.integrations.flask_commands import commands
from auditbox.integrations.flask_requests import watch

_PREFIX = "AUDITBOX_"


def _names(function: Any) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters) - {"self", "app", "path"}


_TRAIL = _names(AuditTrail.__init__)
_RULES = _names(AuditMiddleware.__init__)


class Audit:
    """Audits the requests of a Flask application.

    It wraps ``app.wsgi_app`` in :class:`auditbox.wsgi.AuditMiddleware`, makes the trail (touching neither
    disk nor network) and the process's default, takes the actor from flask-login where the application uses
    it, and adds the commands ``flask audit status`` and ``flask audit flush``. In an application
    ``app.extensions["auditbox"]`` is the trail.

    Args:
        app: the application; None, and :meth:`init_app` later.
        settings: what would be in ``app.config``, by its names in small letters without the prefix
            (``routes=…``, ``extension=…``); wins over it. ``trail=`` is a trail that exists already.

    Raises:
        ConfigurationError: an unknown name, or a value that cannot work.
    """

    def __init__(self, app: Flask | None = None, **settings: Any) -> None:
        _check(settings, "Audit({}=…)", str)
        self._settings = settings
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Sets one application up; several may share this object.

        Raises:
            ConfigurationError: an unknown ``AUDITBOX_…``, a value that cannot work, or a second call for
                the same application.
        """
        if "auditbox" in app.extensions:
            raise ConfigurationError("this application is audited already: call init_app() once")
        settings = {**_configured(app.config), **self._settings}
        trail = settings.pop("trail", None)
        if trail is None:
            trail = configure(_trail(settings))
        rules = {name: value for name, value in settings.items() if name in _RULES}
        app.wsgi_app = AuditMiddleware(app.wsgi_app, trail=trail, **rules)  # type: ignore[method-assign]
        app.extensions["auditbox"] = trail
        app.cli.add_command(commands)
        watch(app)

    @property
    def trail(self) -> AuditTrail:
        """The trail of the current application."""
        trail: AuditTrail = current_app.extensions["auditbox"]
        return trail


def _trail(settings: Mapping[str, Any]) -> AuditTrail:
    arguments = {name: value for name, value in settings.items() if name in _TRAIL}
    if (path := settings.get("outbox")) is not None:
        arguments["path"] = path
    return AuditTrail.from_env(**arguments)


def _configured(config: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        key.removeprefix(_PREFIX).lower(): value for key, value in config.items() if key.startswith(_PREFIX)
    }
    _check(found, "app.config[{!r}]", lambda name: _PREFIX + name.upper())
    return found


def _check(settings: Mapping[str, Any], shown: str, spelled: Any) -> None:
    known = _TRAIL | _RULES | {"outbox"}
    for name in settings:
        if name not in known:
            names = ", ".join(spelled(each) for each in sorted(known))
            raise ConfigurationError(f"{shown.format(spelled(name))} is unknown; known are {names}")
