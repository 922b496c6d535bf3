"""A stand-in for your users. Here a token is the user's id; check yours instead."""

from __future__ import annotations

from typing import Any

from ninja.security import HttpBearer
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import NotAuthenticated


class Claims(HttpBearer):
    """For django-ninja: what is returned here is ``request.auth``, and so the actor."""

    def authenticate(self, request: Any, token: str) -> dict[str, str]:
        """The claims of a token."""
        return {"sub": token}


class User:
    """What REST framework puts into ``request.user``, and so the actor."""

    is_authenticated = True

    def __init__(self, id: str) -> None:
        self.pk = id


class Bearer(BaseAuthentication):
    """For Django REST framework."""

    def authenticate(self, request: Any) -> tuple[User, None]:
        """The user of a request."""
        user = user_of(request)
        if user is None:
            raise NotAuthenticated
        return User(user), None

    def authenticate_header(self, request: Any) -> str:
        """So that the answer is a 401."""
        return "Bearer"


def user_of(request: Any) -> str | None:
    """The id of the user who sends the request."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme == "Bearer" and token else None
