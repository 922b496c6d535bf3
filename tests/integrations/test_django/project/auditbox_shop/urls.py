"""Views that authenticate in every way, and say what they did."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import authenticate, login, logout
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import include, path, re_path
from django.views import View
from ninja import NinjaAPI
from ninja.security import APIKeyHeader, HttpBearer
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

import auditbox
from auditbox_shop.models import Token

log = logging.getLogger("auditbox_shop")


def touch(order: str) -> None:
    """A capture inside the request."""
    log.info("Order touched", extra={"audit": {"event": "order.touched", "object": order}})


def plain(request: HttpRequest, order: str) -> HttpResponse:
    """A view that does not look at its user."""
    touch(order)
    return HttpResponse(order)


def of_tenant(request: HttpRequest, tenant: str, order: str) -> HttpResponse:
    """The same, behind an include."""
    return plain(request, order)


async def coroutine(request: HttpRequest, order: str) -> HttpResponse:
    """The same, async."""
    await asyncio.sleep(0)
    touch(order)
    return HttpResponse(order)


class ClassBased(View):
    """The same, as a class."""

    async def post(self, request: HttpRequest, order: str) -> HttpResponse:
        """Async, too."""
        touch(order)
        return HttpResponse(order)


def bound(request: HttpRequest, order: str) -> HttpResponse:
    """A view that knows better."""
    auditbox.bind(actor={"id": "USR-0556-8733", "name": "Will"})
    touch(order)
    return HttpResponse(order)


def failing(request: HttpRequest, order: str, how: str) -> HttpResponse:
    """Every kind of failure."""
    if how == "forbid":
        raise PermissionDenied("not yours")
    if how == "break":
        raise ValueError("no stock")
    return HttpResponse(status=int(how))


def log_in(request: HttpRequest) -> HttpResponse:
    """The actor is who has just logged in."""
    user = authenticate(request, username=request.POST["name"], password="pw")
    login(request, user)
    touch("ORD-0001")
    return HttpResponse()


def log_out(request: HttpRequest) -> HttpResponse:
    """The actor is who logs out."""
    logout(request)
    return HttpResponse()


async def alog_out(request: HttpRequest) -> HttpResponse:
    """The same, async."""
    await sync_to_async(logout)(request)
    return HttpResponse()


def stream(request: HttpRequest, order: str) -> StreamingHttpResponse:
    """Parts that capture while they are made."""

    def parts() -> Iterator[bytes]:
        for number in range(3):
            touch(order)
            if number == 2 and request.GET.get("break"):
                raise ValueError("torn")
            yield b"%d" % number

    return StreamingHttpResponse(parts())


async def astream(request: HttpRequest, order: str) -> StreamingHttpResponse:
    """The same, async."""

    async def parts() -> AsyncIterator[bytes]:
        for number in range(3):
            touch(order)
            yield b"%d" % number

    return StreamingHttpResponse(parts())


def file(request: HttpRequest, order: str) -> FileResponse:
    """A file, which the server may send itself."""
    return FileResponse(open(__file__, "rb"))


def body(request: HttpRequest, order: str) -> JsonResponse:
    """A view that reads its body."""
    return JsonResponse({"read": len(request.body)})


def redirect(request: HttpRequest, order: str) -> HttpResponse:
    """The usual answer to a form."""
    return HttpResponseRedirect("/elsewhere/")


# --- Django REST framework


class Bearer(BaseAuthentication):
    """Authenticates in the view, as all of REST framework does."""

    def authenticate(self, request: Any) -> Any:
        """The user of a token."""
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not key:
            return None
        token = Token.objects.select_related("user").filter(key=key).first()
        if token is None:
            raise AuthenticationFailed
        return token.user, token


class RestView(APIView):
    """One with token authentication."""

    authentication_classes = (Bearer,)
    permission_classes = ()

    def post(self, request: Any, order: str) -> Response:
        """Changes an order."""
        touch(order)
        return Response({"order": order})


class Orders(ViewSet):
    """One whose routes are regular expressions."""

    authentication_classes = (Bearer,)
    permission_classes = ()

    def destroy(self, request: Any, pk: str) -> Response:
        """Deletes an order."""
        return Response(status=204)


router = DefaultRouter()
router.register("orders", Orders, basename="order")

# --- django-ninja

api = NinjaAPI(urls_namespace="auditbox-tests")


class UserBearer(HttpBearer):
    """``request.auth`` is a user."""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        """The user of a token."""
        found = Token.objects.select_related("user").filter(key=token).first()
        return found and found.user


class TokenBearer(HttpBearer):
    """``request.auth`` is the token itself, as in ninja's own documentation."""

    def authenticate(self, request: HttpRequest, token: str) -> str:
        """Any token will do."""
        return token


class ClaimsBearer(HttpBearer):
    """``request.auth`` is what a signed token says."""

    async def authenticate(self, request: HttpRequest, token: str) -> dict[str, str]:
        """Any token will do."""
        return {"sub": "USR-0001-0001", "name": "Ann"}


class Key(APIKeyHeader):
    """``request.auth`` is a model whose primary key is the secret."""

    param_name = "X-Key"

    def authenticate(self, request: HttpRequest, key: str | None) -> Any:
        """The token with this key."""
        return Token.objects.filter(key=key).first()


@api.post("/user/{order}", auth=UserBearer())
def ninja_user(request: HttpRequest, order: str) -> str:
    """A user's view."""
    touch(order)
    return order


@api.post("/token/{order}", auth=TokenBearer())
def ninja_token(request: HttpRequest, order: str) -> str:
    """A secret's view."""
    touch(order)
    return order


@api.post("/key/{order}", auth=Key())
def ninja_key(request: HttpRequest, order: str) -> str:
    """A key's view."""
    touch(order)
    return order


@api.post("/claims/{order}", auth=ClaimsBearer())
async def ninja_claims(request: HttpRequest, order: str) -> str:
    """An async view."""
    touch(order)
    return order


urlpatterns = [
    path("plain/<str:order>/", plain),
    path("coroutine/<str:order>/", coroutine),
    path("class/<str:order>/", ClassBased.as_view()),
    path("bound/<str:order>/", bound),
    path("fail/<str:order>/<str:how>/", failing),
    path("login/", log_in),
    path("logout/", log_out),
    path("alogout/", alog_out),
    path("stream/<str:order>/", stream),
    path("astream/<str:order>/", astream),
    path("file/<str:order>/", file),
    path("body/<str:order>/", body),
    path("redirect/<str:order>/", redirect),
    path("rest/<str:order>/", RestView.as_view()),
    path("tenants/<slug:tenant>/", include([re_path(r"^old/(?P<order>[A-Z0-9-]+)/(?:x/)?$", of_tenant)])),
    re_path(r"^files/(?P<order>[^/]+)/(?P<rest>.+)$", lambda request, order, rest: HttpResponse(rest)),
    re_path(r"^pair/(\w+)/(\w+)/$", lambda request, one, two: HttpResponse()),
    path("router/", include(router.urls)),
    path("ninja/", api.urls),
]
