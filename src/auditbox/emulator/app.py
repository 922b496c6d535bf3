"""The emulator as an ASGI application."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse

from auditbox.emulator.control import control_routes
from auditbox.emulator.faults import load_plan
from auditbox.emulator.fields import EVENT_TYPES, RECORDS, Table
from auditbox.emulator.identity import Caller
from auditbox.emulator.installations import token_route
from auditbox.emulator.openapi import DOCS, secured
from auditbox.emulator.problem import Problem, respond
from auditbox.emulator.query import MAX_LIMIT, parse_query
from auditbox.emulator.reading import Caps, as_envelope, as_lines
from auditbox.emulator.seed import Seed, load_seed
from auditbox.emulator.service import Service, request_of
from auditbox.emulator.store import Store
from auditbox.emulator.submission import parse_object
from auditbox.emulator.traffic import MAX_BODY, Traffic, TrafficMiddleware

BASE = "/public/v1/audit"
TITLE = "Audit API (emulator)"
ASSETS = "/_emulator/assets"
"""Scripts and styles of ``/docs``: the page needs no internet."""
_JSON = "application/json; charset=utf-8"


def create_app(
    db: str | Path | None = None,
    *,
    strict: bool = False,
    seed: str | Path | dict[str, Any] | Seed | None = None,
    faults: Any = None,
    latency: float = 0.0,
    streaming: bool = True,
    max_body: int = MAX_BODY,
    max_limit: int = MAX_LIMIT,
    max_stream: int | None = None,
    token_lifetime: float = 3600.0,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """The Audit API on your own machine.

    Args:
        db: the SQLite file that keeps the records; None keeps them in memory.
        strict: the platform's rules on accounts, visibility and object types; else any well-formed
            ``idt:`` token may write about any well-formed object id.
        seed: accounts, tokens, objects, records and event types to begin with: a file or its content.
            Strict and without one, the seed that ships with the package.
        faults: scripted faults, a file or its content, as ``PUT /_emulator/faults`` takes it.
        latency: seconds that every request takes longer.
        streaming: False answers 501 to streaming requests.
        max_body: bytes; a larger request is a 413. The platform's own limit is not published; this one is
            that of its kind of server (Kestrel).
        max_limit: rows of a page, whatever ``limit`` asks for.
        max_stream: rows; a longer stream is a 413. None for no limit.
        token_lifetime: seconds that the JSON Web Tokens live which ``installations/-/token`` gives.
        clock: seconds since the epoch, for the records' timestamps.

    Raises:
        ConfigurationError: the seed or the faults are wrong.
    """
    seed = load_seed(seed, strict)
    traffic = Traffic(load_plan(faults), max_body=max_body)
    traffic.plan.latency = latency or traffic.plan.latency
    service = Service(Store(db), seed.directory(strict), clock, Caps(max_limit, max_stream))
    service.load(seed)
    app = FastAPIOffline(title=TITLE, version="v1", redirect_slashes=False, static_url=ASSETS)
    app.state.service, app.state.traffic = service, traffic
    app.openapi = secured(app.openapi)  # type: ignore[method-assign]
    _Endpoints(service, streaming).register(app)
    app.include_router(token_route(service.directory, token_lifetime))
    app.include_router(control_routes(service, traffic))
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_error)
    app.add_middleware(TrafficMiddleware, traffic=traffic)
    return app


class _Endpoints:
    def __init__(self, service: Service, streaming: bool) -> None:
        self.service, self.streaming = service, streaming

    def register(self, app: FastAPI) -> None:
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("POST", "/records", self.create),
            ("GET", "/records", self.list_records),
            ("GET", "/records/{id}", self.get_record),
            ("GET", "/event-types", self.list_event_types),
            ("GET", "/event-types/{id}", self.get_event_type),
            ("PUT", "/event-types/{id}", self.update_event_type),
        ]
        for method, path, endpoint in routes:
            app.add_api_route(BASE + path, endpoint, methods=[method], **DOCS[method, path])

    async def create(self, request: Request) -> Response:
        """What it may hold: event, summary, details, object, documents; the rest is the server's to say."""
        caller = self._caller(request)
        self.service.may_create(caller)
        body = await _body(request)
        peer = request.client.host if request.client else None
        origin = request_of(peer, request.headers, self.service.directory.locations)
        return _json(self.service.create(caller, body, origin), 201)

    async def list_records(self, request: Request) -> Response:
        """A page, newest first unless `order` says otherwise.

        A filter is a part of the query string of its own, `?eq(object.id,'ORD-1208-2301-8479')&limit=10`;
        so is `render()`.
        """
        return self._list(request, RECORDS)

    async def list_event_types(self, request: Request) -> Response:
        """A page; filters as with the records."""
        return self._list(request, EVENT_TYPES)

    async def get_record(self, request: Request) -> Response:
        """Whole: documents and viewers included."""
        return self._get(request, RECORDS)

    async def get_event_type(self, request: Request) -> Response:
        """By its id, `AET-…`."""
        return self._get(request, EVENT_TYPES)

    async def update_event_type(self, request: Request) -> Response:
        """Its name, its description, or both; the key can never change."""
        caller = self._caller(request)
        id = request.path_params["id"]
        return _json(self.service.update_event_type(caller, id, await _body(request)))

    def _caller(self, request: Request) -> Caller:
        return self.service.directory.identify(request.headers.get("authorization", ""))

    def _get(self, request: Request, table: Table) -> Response:
        caller, id = self._caller(request), request.path_params["id"]
        return _json(self.service.reader.one(table, id, parse_query(request.url.query), caller))

    def _list(self, request: Request, table: Table) -> Response:
        caller = self._caller(request)
        query = parse_query(request.url.query)
        if request.headers.get("mpt-streaming", "").lower() != "true":
            return _json(self.service.reader.page(table, query, caller))
        if not self.streaming:
            raise Problem(501, "This resource cannot be streamed.")
        media = _stream_type(request.headers.get("accept", ""))
        snapshot = self.service.reader.snapshot(table, query, caller)
        lines = as_lines(snapshot) if media.endswith("jsonl") else as_envelope(snapshot)
        headers = {"MPT-Streaming": "true", "MPT-Item-Count": str(snapshot.count), "Content-Type": media}
        return StreamingResponse(_chunks(lines), headers=headers)


def _stream_type(accept: str) -> str:
    accepted = [part.partition(";")[0].strip().lower() for part in accept.split(",") if part.strip()]
    for media in accepted or ["*/*"]:
        if media in {"application/jsonl", "application/json"}:
            return media
        if media in {"*/*", "application/*"}:
            return "application/jsonl"
    raise Problem(406, "A stream is application/jsonl or application/json.")


async def _chunks(lines: Iterable[str], size: int = 65_536) -> Any:
    held: list[str] = []
    length = 0
    for line in lines:
        held.append(line)
        length += len(line)
        if length >= size:
            yield "".join(held).encode()
            held, length = [], 0
    yield "".join(held).encode()


async def _body(request: Request) -> dict[str, Any]:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in {"application/json", "text/json"} and not (
        media.startswith("application/") and media.endswith("+json")
    ):
        raise Problem(415, "The body is sent as application/json.")
    return parse_object(await request.body())


def _json(value: Any, status: int = 200) -> Response:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode(), status, media_type=_JSON)


async def _on_problem(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, Problem)
    return respond(exc)


async def _on_http_exception(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    if exc.status_code == 404:
        return JSONResponse({"statusCode": 404, "message": "Resource not found"}, 404)
    return respond(Problem(exc.status_code, exc.detail), exc.headers)


async def _on_error(_request: Request, _exc: Exception) -> Response:
    return respond(Problem(500, "An unexpected error occurred."))
