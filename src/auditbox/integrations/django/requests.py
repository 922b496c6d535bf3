"""Django's requests, answers and streams, as the middleware for every kind of application sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.http import FileResponse, HttpResponse

from auditbox.capture.address import Proxies
from auditbox.capture.paths import braced
from auditbox.capture.request import Headers, Request
from auditbox.capture.wsgi_parts import KeptInput
from auditbox.integrations.django.routing import routed

if TYPE_CHECKING:
    from auditbox.capture.http_exchange import Exchange
    from auditbox.capture.http_refusal import Refusal

_ASGI, _WSGI, _OWN = "auditbox", "auditbox.request", "_auditbox_request"


class DjangoRequest(Request):
    """One request, as the callables of a rule get it; ``django`` is Django's own."""

    django: Any

    def __init__(self, request: Any, proxies: Proxies) -> None:
        self.django = request
        path = request.path_info
        root = request.path[: -len(path)] if request.path.endswith(path) else ""
        scope = getattr(request, "scope", request.META)
        super().__init__(request.method or "", path, root, scope, proxies)

    def routed(self) -> tuple[str | None, Mapping[str, Any]]:
        """What Django's resolver has found."""
        found, params = routed(self.django)
        return (None if found is None else braced(found)), params

    def _read_headers(self) -> Mapping[str, str]:
        return Headers((name.lower(), value) for name, value in self.django.headers.items())

    def _peer(self) -> str | None:
        address: str | None = self.django.META.get("REMOTE_ADDR")
        return address


def is_nested(request: Any, opened: Request) -> bool:
    """Whether another middleware of ours, under Django or around it, has opened this very request."""
    nested = (
        hasattr(request, _OWN) or _WSGI in request.META or _ASGI in (getattr(request, "scope", None) or {})
    )
    setattr(request, _OWN, opened)
    return nested


def keep_body(exchange: Exchange, request: Any) -> None:
    """Keeps what the view reads of the request's body, where a rule asks for it."""
    if exchange.request_body is not None:
        request._stream = KeptInput(request._stream, exchange.request_body)


def refusal_response(refusal: Refusal) -> HttpResponse:
    """The answer to a request that may not be served."""
    return HttpResponse(refusal.body, status=refusal.status, headers=dict(refusal.headers))


def told(exchange: Exchange, response: Any, error: BaseException | None) -> None:
    """Tells the exchange how the request was answered."""
    if not exchange.concerned:
        return
    kind = response.headers.get("Content-Type", "")
    announced = response.headers.get("Content-Length", "")
    length = int(announced) if announced.isdecimal() else None
    exchange.answered(
        response.status_code, length if response.streaming else len(response.content), error, kind
    )


def finish(exchange: Exchange, response: Any) -> None:
    """Tells the exchange of the answer's body, or lets it see each part of a stream.

    The parts of a stream are made in the request's context. A file is left to the server.
    """
    if response.streaming and not isinstance(response, FileResponse):
        content = response.streaming_content
        watched = _awatched if response.is_async else _watched
        response.streaming_content = watched(exchange, content)
    elif exchange.concerned:
        if not response.streaming:
            exchange.sending(response.content)
        exchange.finished(counted=not response.streaming)


def _watched(exchange: Exchange, content: Iterator[bytes]) -> Iterator[bytes]:
    with _told_how_it_ends(exchange):
        while True:
            with exchange.scope():
                part = next(content, None)
            if part is None:
                return
            exchange.sending(part)
            yield part


async def _awatched(exchange: Exchange, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    with _told_how_it_ends(exchange):
        while True:
            with exchange.scope():
                part = await anext(content, None)
            if part is None:
                return
            exchange.sending(part)
            yield part


@contextmanager
def _told_how_it_ends(exchange: Exchange) -> Iterator[None]:
    try:
        yield
    except GeneratorExit:  # the server stops asking for more
        exchange.finished(complete=False)
        raise
    except BaseException as error:
        exchange.failed(error)
        raise
    else:
        exchange.finished()
    finally:
        exchange.record()
