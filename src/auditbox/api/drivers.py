"""The two ways to carry out the client's steps: blocking and awaiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import version
from typing import Any, TypeVar

import httpx

from auditbox.api.steps import Answer, AskToken, Effect, More, Pause, Request, Steps
from auditbox.api.tokens import Token
from auditbox.errors import ApiConnectionError

T = TypeVar("T")
_PIECE = 65_536


class _Base:
    """What both drivers know: the root, the token, and how errors of httpx are named."""

    def __init__(self, root: str, token: Token) -> None:
        self.root, self.token = root, token

    def built(self, client: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
        headers = {"Accept": "application/json", **request.headers}
        return client.build_request(
            request.method, f"{self.root}{request.target}", headers=headers, content=request.body
        )

    def ask(self, effect: AskToken) -> str:
        return self.token.get() if effect.refused is None else self.token.renew(effect.refused)


class _Progress:
    """Steps under way. ``effect`` is what to do next; None once they are through, then ``result`` holds."""

    def __init__(self, steps: Steps[Any]) -> None:
        self._steps = steps
        self.result: Any = None
        self.effect = self._step(steps.send, None)

    def done(self, outcome: Any) -> None:
        """The effect was carried out with this outcome."""
        self.effect = self._step(self._steps.send, outcome)

    def failed(self, exc: httpx.HTTPError) -> None:
        """The effect met an error of the connection."""
        self.effect = self._step(self._steps.throw, connection_error(exc))

    def _step(self, step: Callable[[Any], Any], value: Any) -> Any:
        try:
            return step(value)
        except StopIteration as stop:
            self.result = stop.value
            return None


class Driver(_Base):
    """Carries steps out with blocking calls; several threads may share it."""

    def __init__(self, root: str, token: Token, client: httpx.Client) -> None:
        super().__init__(root, token)
        self.client = client

    def run(self, steps: Steps[T]) -> T:
        """What the steps return."""
        progress, body = _Progress(steps), _OpenBody()
        while progress.effect is not None:
            self._advance(progress, body)
        return progress.result  # type: ignore[no-any-return]

    def rows(self, steps: Steps[None]) -> Iterator[Any]:
        """The rows that the steps yield."""
        progress, body = _Progress(steps), _OpenBody()
        try:
            while progress.effect is not None:
                if isinstance(progress.effect, list):
                    yield from progress.effect
                    progress.done(None)
                else:
                    self._advance(progress, body)
        finally:
            body.close()

    def _advance(self, progress: _Progress, body: _OpenBody) -> None:
        try:
            outcome = self._perform(progress.effect, body)
        except httpx.HTTPError as exc:
            progress.failed(exc)
        else:
            progress.done(outcome)

    def _perform(self, effect: Effect, body: _OpenBody) -> Any:
        match effect:
            case Request():
                response = self.client.send(self.built(self.client, effect), stream=effect.stream)
                if is_open(effect, response):
                    return body.open(response)
                response.read()
                return answer_of(response, response.content)
            case More():
                return next(body.pieces, b"")
            case Pause(seconds):
                return time.sleep(seconds)
            case AskToken():
                return self.ask(effect)


class _OpenBody:
    """A streamed body while it is read."""

    response: httpx.Response | None = None
    pieces: Iterator[bytes] = iter(())

    def open(self, response: httpx.Response) -> Answer:
        self.response, self.pieces = response, response.iter_bytes(_PIECE)
        return answer_of(response, b"")

    def close(self) -> None:
        if self.response is not None:
            self.response.close()


class AsyncDriver(_Base):
    """Carries steps out with await."""

    def __init__(self, root: str, token: Token, client: httpx.AsyncClient) -> None:
        super().__init__(root, token)
        self.client = client

    async def run(self, steps: Steps[T]) -> T:
        """What the steps return."""
        progress, body = _Progress(steps), _OpenAsyncBody()
        while progress.effect is not None:
            await self._advance(progress, body)
        return progress.result  # type: ignore[no-any-return]

    async def rows(self, steps: Steps[None]) -> AsyncIterator[Any]:
        """The rows that the steps yield."""
        progress, body = _Progress(steps), _OpenAsyncBody()
        try:
            while progress.effect is not None:
                if isinstance(progress.effect, list):
                    for row in progress.effect:
                        yield row
                    progress.done(None)
                else:
                    await self._advance(progress, body)
        finally:
            await body.close()

    async def _advance(self, progress: _Progress, body: _OpenAsyncBody) -> None:
        try:
            outcome = await self._perform(progress.effect, body)
        except httpx.HTTPError as exc:
            progress.failed(exc)
        else:
            progress.done(outcome)

    async def _perform(self, effect: Effect, body: _OpenAsyncBody) -> Any:
        match effect:
            case Request():
                response = await self.client.send(self.built(self.client, effect), stream=effect.stream)
                if is_open(effect, response):
                    return body.open(response)
                await response.aread()
                return answer_of(response, response.content)
            case More():
                return await anext(body.pieces, b"")
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case AskToken():
                # a callable or a file may block
                return await asyncio.to_thread(self.ask, effect)


class _OpenAsyncBody:
    """A streamed body while it is read."""

    response: httpx.Response | None = None
    pieces: AsyncIterator[bytes]

    def open(self, response: httpx.Response) -> Answer:
        self.response, self.pieces = response, response.aiter_bytes(_PIECE)
        return answer_of(response, b"")

    async def close(self) -> None:
        if self.response is not None:
            await self.response.aclose()


def is_open(request: Request, response: httpx.Response) -> bool:
    """Whether the body is left to be read piece by piece; an ordinary list page is read at once."""
    return request.stream and response.headers.get("mpt-streaming", "").lower() == "true"


def answer_of(response: httpx.Response, body: bytes) -> Answer:
    """A response in the steps' own form."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, body)


def connection_error(exc: httpx.HTTPError) -> ApiConnectionError:
    """The error for a request that got no answer. Its text never holds what was sent."""
    kind = type(exc).__name__
    host = exc.request.url.netloc.decode()
    meaning = "did not answer in time" if isinstance(exc, httpx.TimeoutException) else "gave no answer"
    error = ApiConnectionError(f"{host} {meaning} ({kind})")
    error.__cause__ = exc
    return error


def user_agent() -> str:
    """``auditbox/<version>``."""
    return f"auditbox/{version('auditbox')}"
