"""Django with whatever may go wrong in it: ``wsgi`` and ``asgi`` are its applications."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
from django.conf import settings
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path

from tests.capture.untouched.common import AUDIT, RULES, TRAIL, saw

logging.basicConfig()
_OURS = ["auditbox.integrations.django"] if AUDIT else []
settings.configure(
    SECRET_KEY="x",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", *_OURS],
    MIDDLEWARE=[
        f"{__name__}.Above",
        *(f"{name}.AuditMiddleware" for name in _OURS),
        f"{__name__}.Below",
        "django.middleware.common.CommonMiddleware",
    ],
    LOGGING_CONFIG=None,
    AUDITBOX={"TRAIL": TRAIL, **{name.upper(): value for name, value in RULES.items()}},
    REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from ninja import NinjaAPI  # noqa: E402
from ninja.security import HttpBearer  # noqa: E402
from rest_framework.authentication import BaseAuthentication  # noqa: E402
from rest_framework.parsers import JSONParser  # noqa: E402
from rest_framework.renderers import JSONRenderer  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

api = NinjaAPI(docs_url=None)


class Breaks:
    """Middleware that raises where a request asks for it by its name."""

    name = ""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        asked = request.headers.get("x-break")
        if self.name == "above":
            saw(f"reached {request.headers['x-request-id']}")
        if asked == f"{self.name}-before":
            raise RuntimeError(asked)
        response = self.get_response(request)
        if asked == f"{self.name}-after":
            raise RuntimeError(asked)
        return response


class Above(Breaks):
    """Around ours."""

    name = "above"


class Below(Breaks):
    """Inside ours."""

    name = "below"


class Token(HttpBearer):
    """django-ninja authenticates in the view."""

    def authenticate(self, request: Any, token: str) -> dict[str, str]:
        """The claims of the token."""
        return {"sub": token}


class User:
    """A user without a database."""

    is_authenticated = True

    def __init__(self, pk: str) -> None:
        self.pk = pk


class Bearer(BaseAuthentication):
    """REST framework authenticates in the view."""

    def authenticate(self, request: Any) -> tuple[User, None]:
        """The token's user."""
        return User(request.headers["authorization"].removeprefix("Bearer ")), None


class Sync(APIView):
    """REST framework."""

    authentication_classes = (Bearer,)
    permission_classes = ()
    renderer_classes = (JSONRenderer,)
    parser_classes = (JSONParser,)

    def post(self, request: Any, order: str) -> Response:
        """Authenticated."""
        if "x-fail" in request.headers:
            raise ValueError("after the view")
        return Response({"id": order})


@api.post("/async/{order}", auth=Token())
def refused(request: Any, order: str) -> Any:
    """django-ninja."""
    return api.create_response(request, {"detail": "no stock"}, status=409)


def change(request: Any, order: str) -> HttpResponse:
    """Reads its body in parts."""
    size = 0
    while part := request.read(7):
        size += len(part)
    response = JsonResponse({"id": order, "size": size})
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def none(request: Any) -> HttpResponse:
    """No order in the path; async."""
    return JsonResponse({})


def raises(request: Any, order: str) -> HttpResponse:
    """An exception that nobody handles."""
    raise ValueError(order)


def stream(request: Any, order: str) -> StreamingHttpResponse:
    """Server-sent events."""
    parts = (f"data: {n}\n\n" for n in range(3))
    return StreamingHttpResponse(parts, content_type="text/event-stream")


def torn(request: Any, order: str) -> StreamingHttpResponse:
    """A stream that breaks off."""

    def parts() -> Iterator[str]:
        yield "first"
        raise OSError("the disk is gone")

    return StreamingHttpResponse(parts())


def endless(request: Any, order: str) -> StreamingHttpResponse:
    """A stream that only the client ends."""

    def parts() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            saw("endless stream ends")

    async def aparts() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0)
        finally:
            saw("endless stream ends")

    return StreamingHttpResponse(aparts() if hasattr(request, "scope") else parts())


def background(request: Any, order: str) -> HttpResponse:
    """Goes on after the answer."""
    response = JsonResponse({"id": order})
    response._resource_closers.append(lambda: saw("background task ran"))
    return response


def file(request: Any, order: str) -> FileResponse:
    """From the disk."""
    return FileResponse(open(__file__, "rb"))


def moved(request: Any, order: str) -> HttpResponseRedirect:
    """After a form."""
    return HttpResponseRedirect(f"/orders/{order}")


def empty(request: Any, order: str) -> HttpResponse:
    """No body."""
    return HttpResponse(status=204)


urlpatterns = [
    path("orders/<order>", change),
    path("none", none),
    path("raise/<order>", raises),
    path("sync/<order>", Sync.as_view()),
    path("stream/<order>", stream),
    path("torn/<order>", torn),
    path("endless/<order>", endless),
    path("background/<order>", background),
    path("file/<order>", file),
    path("moved/<order>", moved),
    path("empty/<order>", empty),
    path("", api.urls),
]
wsgi = get_wsgi_application()
asgi = get_asgi_application()
