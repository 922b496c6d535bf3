"""What only Flask knows of a request: who is logged in (flask-login), and what a view raised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flask import Flask, got_request_exception, has_request_context, request_started

from auditbox.capture.request import LiveInfo, Request
from auditbox.context import bind, current_scope
from auditbox.errors import error_text

_NAMES = ("name", "full_name", "username", "email")


class LoginActor(Mapping[str, Any]):
    """flask-login's current user as an actor; empty where nobody is logged in.

    Nothing is loaded before something is recorded, so a request that is not recorded costs no look at the
    session or the database. Once known, the actor stays: who logs out has acted.
    """

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self.error: str | None = None
        """Why it cannot be told."""

    def take(self, user: Any) -> None:
        """This is the user, if nobody is known yet."""
        if not self._known and user is not None and getattr(user, "is_authenticated", False):
            names = (getattr(user, name, None) for name in _NAMES)
            name = next((name for name in names if isinstance(name, str) and name), None)
            self._known = {"id": user.get_id(), **({"name": name} if name else {})}

    def read(self) -> dict[str, Any]:
        """What is known now; never raises."""
        if not self._known and has_request_context():
            from flask_login import current_user

            try:
                self.take(current_user._get_current_object())
            except Exception as error:  # noqa: BLE001 - the application's own user_loader
                self.error = error_text(error)
        return self._known

    def __getitem__(self, key: str) -> Any:
        return self.read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.read())

    def __len__(self) -> int:
        return len(self.read())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self.read()),)


def watch(app: Flask) -> None:
    """Gives each request of the application an actor, if it uses flask-login, and what its view raised."""
    request_started.connect(_began, app)
    got_request_exception.connect(_raised, app)
    app.teardown_request(_ends)


def _began(app: Flask, **_: Any) -> None:
    scope = current_scope()
    if getattr(app, "login_manager", None) is not None and scope is not None and scope.get("actor") is None:
        from flask_login import user_logged_out

        bind(actor=LoginActor())
        user_logged_out.connect(_logged_out, app)


def _logged_out(app: Flask, user: Any = None, **_: Any) -> None:
    if (actor := _actor()) is not None:
        actor.take(user)


def _raised(app: Flask, exception: BaseException, **_: Any) -> None:
    """Flask answers an exception that nobody handles by itself: the middleware sees a 500 only."""
    if (known := _request()) is not None:
        known.error = exception


def _ends(_: BaseException | None) -> None:
    """The user is known as long as Flask's request context stands; the record is made after that."""
    actor, known = _actor(), _request()
    if actor is not None and known is not None and known.concerned:
        actor.read()
        if actor.error is not None:
            known.unresolve("actor", actor.error)


def _request() -> Request | None:
    scope = current_scope()
    info = scope.get("request") if scope is not None else None
    return info.request if isinstance(info, LiveInfo) else None


def _actor() -> LoginActor | None:
    scope = current_scope()
    actor = scope.get("actor") if scope is not None else None
    return actor if isinstance(actor, LoginActor) else None
