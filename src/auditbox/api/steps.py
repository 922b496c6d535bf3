"""The client's logic without input or output: generators that say what to do and are told what came of it.

One driver carries them out with blocking calls, another one with ``await``; so there is one copy of the
logic and two small drivers.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from auditbox.api.problems import read_error, retry_after
from auditbox.backoff import Backoff
from auditbox.errors import (
    ApiConnectionError,
    ApiStatusError,
    AuthenticationError,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    ValidationFailed,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """Send this and give back the :class:`Answer`. With ``stream`` the body stays open for :class:`More`."""

    method: str
    target: str
    """Path and query below the API's root, encoded."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Header names are lower case; ``body`` is empty while it streams."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AskToken:
    """Give the token; asked for anew where ``refused`` is the one that was not accepted."""

    refused: str | None = None


@dataclass(frozen=True, slots=True)
class More:
    """Give the next piece of the streamed body, ``b""`` at its end."""


Effect = Request | Pause | AskToken | More
Steps = Generator[Any, Any, T]
"""Yields an Effect and is sent its result; lists of rows may be yielded too, and are the caller's."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How reads are repeated; writes never are, because the API has no idempotency key.

    Attributes:
        attempts: how often at most, the first included.
        backoff: how long to wait in between, where the server does not say.
        longest: a wait that the server asks for beyond this is an error at once, in seconds.
    """

    attempts: int = 4
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.2, longest=5.0))
    longest: float = 60.0

    def wait(self, attempt: int, error: ApiConnectionError | ApiStatusError) -> float | None:
        """Seconds until the next attempt; None when there is none."""
        passing = isinstance(error, ApiConnectionError | RateLimited) or (
            isinstance(error, ServerError) and error.status in {500, 502, 503, 504}
        )
        if not passing or attempt >= self.attempts:
            return None
        asked = getattr(error, "retry_after", None)
        wait = self.backoff.wait(attempt) if asked is None else asked
        return wait if wait <= self.longest else None


def exchange(request: Request, retries: Retries) -> Steps[Answer]:
    """Sends a request with its token; a refused token is asked for anew once, reads are repeated.

    Raises:
        ApiConnectionError: there was no answer.
        ApiStatusError: the answer is an error, by its meaning.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            answer = yield from _authorized(request)
        except ApiConnectionError as exc:
            error: ApiConnectionError | ApiStatusError = exc
        else:
            if answer.status in {200, 201}:
                return answer
            error = status_error(answer)
        wait = retries.wait(attempt, error) if request.method == "GET" else None
        if wait is None:
            raise error
        yield Pause(wait)


def _authorized(request: Request) -> Steps[Answer]:
    token = yield AskToken()
    answer: Answer = yield _with_token(request, token)
    if answer.status == 401:
        newer = yield AskToken(refused=token)
        if newer != token:
            answer = yield _with_token(request, newer)
    return answer


def _with_token(request: Request, token: str) -> Request:
    return replace(request, headers={**request.headers, "Authorization": f"Bearer {token}"})


_BY_STATUS: dict[int, type[ApiStatusError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    429: RateLimited,
    **dict.fromkeys((400, 409, 413, 415, 422), ValidationFailed),
}


def status_error(answer: Answer) -> ApiStatusError:
    """The error that an answer means, with what its body says."""
    said = read_error(answer.status, answer.body)
    kind = _BY_STATUS.get(answer.status, ServerError if answer.status >= 500 else ApiStatusError)
    return kind(
        said.reason,
        status=answer.status,
        title=said.title,
        detail=said.detail,
        errors=said.errors,
        trace_id=said.trace_id,
        retry_after=retry_after(answer.headers.get("retry-after")),
    )


def json_object(answer: Answer) -> dict[str, Any]:
    """The JSON object of a good answer.

    Raises:
        ApiStatusError: its body is something else.
    """
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ApiStatusError(f"{answer.status}: the answer's body is no JSON object", status=answer.status)
    return value
