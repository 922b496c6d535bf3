"""Who acts in a request: read when a record needs it, since the view itself may authenticate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.utils.functional import SimpleLazyObject, empty

logger = logging.getLogger("auditbox.django")

_LOOKED_UP = "_auditbox_user"
_LOGGED_OUT = "_auditbox_logged_out"
_IDS = ("id", "sub", "user_id")
"""Where tokens and claims hold the id of their subject (RFC 7519, section 4.1.2, for ``sub``)."""

Custom = Callable[[Any], Any]


class LiveActor(Mapping[str, Any]):
    """The actor of a request, as far as it is known when it is read.

    Args:
        request: Django's request.
        custom: the application's own function of the request (``ACTOR``): an id, a mapping or None.
    """

    def __init__(self, request: Any, custom: Custom | None = None) -> None:
        self._request, self._custom = request, custom

    def _now(self) -> dict[str, Any]:
        try:
            with unnoticed(self._request):
                if self._custom is None:
                    return _authenticated(self._request)
                given = self._custom(self._request)
            return {"id": given} if isinstance(given, str) else dict(given or {})
        except Exception as error:  # noqa: BLE001 - the action has happened: record what is known
            logger.warning("it is not known who acts in %s: %s", self._request.path, error)
            return {}

    def __getitem__(self, name: str) -> Any:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self._now(),)


@contextmanager
def unnoticed(request: Any) -> Iterator[None]:
    """Reads the session without its knowledge: the answer does not vary by what only a record needs."""
    session = getattr(request, "session", None)
    accessed = getattr(session, "accessed", False)
    try:
        yield
    finally:
        if session is not None:
            session.accessed = accessed


def _authenticated(request: Any) -> dict[str, Any]:
    """The one whom the view authenticated, else the session's user.

    Django REST framework sets ``request.user``, django-ninja ``request.auth``. A user that is set is no
    lazy one any more; a lazy one is the session's, and is looked up only where nobody else is known.
    """
    user = _user(request)
    if isinstance(user, SimpleLazyObject):
        identity = _of_auth(request) or _identity(user)
    else:
        identity = _identity(user) or _of_auth(request)
    return identity or _identity(request.__dict__.get(_LOGGED_OUT))


def _user(request: Any) -> Any:
    user = getattr(request, "user", None)
    return request.__dict__.get(_LOOKED_UP, user) if is_unknown(user) else user


def is_unknown(user: Any) -> bool:
    """Whether this is a session's user that was not looked up yet."""
    return isinstance(user, SimpleLazyObject) and user._wrapped is empty


def remember(request: Any, user: Any) -> None:
    """Keeps the session's user for captures in an async view, where the database cannot be asked."""
    setattr(request, _LOOKED_UP, user)


def remember_logged_out(*, request: Any = None, user: Any = None, **_: Any) -> None:
    """Receiver of ``user_logged_out``: the one who logs out is the actor of that."""
    if request is not None and user is not None:
        setattr(request, _LOGGED_OUT, user)


def _of_auth(request: Any) -> dict[str, Any]:
    """``request.auth``: a user, a token with an owner, the claims of one, an id, or a bare secret."""
    auth = getattr(request, "auth", None)
    if auth is None or isinstance(auth, bool):
        return {}
    identity = {"id": str(auth)} if isinstance(auth, str | int) else _identity(auth)
    if not isinstance(auth, Mapping) and _is_credential(identity.get("id"), request):
        return {}
    return identity


def _identity(known: Any) -> dict[str, Any]:
    """The id, and perhaps the name, of a user, of a token's owner, or of a mapping of claims."""
    if isinstance(known, Mapping):
        id, name = next((known[key] for key in _IDS if known.get(key)), None), known.get("name")
    elif known is None or getattr(known, "is_authenticated", True) is False:
        return {}
    elif getattr(known, "user", None) is not None:
        return _identity(known.user)
    else:
        id, name = getattr(known, "pk", None) or getattr(known, "id", None), _name(known)
    if id is None:
        return {}
    return {"id": str(id), "name": str(name)} if name else {"id": str(id)}


def _name(user: Any) -> Any:
    full = getattr(user, "get_full_name", None)
    short = getattr(user, "get_username", None)
    return (full() if full else None) or (short() if short else None) or getattr(user, "name", None)


def _is_credential(id: str | None, request: Any) -> bool:
    """Whether the client itself sent this text: a token or a key, which a view gives back as its ``auth``."""
    sent = {*request.COOKIES.values(), *request.GET.values()}
    for value in request.headers.values():
        sent.update((value, value.partition(" ")[2].strip()))
    return id in sent
