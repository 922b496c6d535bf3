"""One request and its answer, as a middleware sees them go by: its context, and when its record is due."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from auditbox.capture.http_bodies import Body
from auditbox.capture.http_store import Made
from auditbox.capture.request import LiveInfo, Request
from auditbox.capture.rules import Rule
from auditbox.context import FIELDS, Scope, current_scope
from auditbox.errors import error_text

if TYPE_CHECKING:
    from auditbox.capture.http import Auditor

logger = logging.getLogger("auditbox.capture")

_NO_BODY = (204, 304)


class Exchange:
    """One request and its answer.

    A middleware opens :meth:`scope`, asks for a :meth:`refusal`, runs the application, tells what it sees
    of the answer (:meth:`answered`, :meth:`sending`, :meth:`finished`, :meth:`failed`), and calls
    :meth:`record` or :meth:`arecord` after each of these: the record is made once, when it is due.
    """

    request_body: Body | None = None
    """What is kept of the request's body, where a rule asks for it."""
    response_body: Body | None = None
    """The same of the answer's."""
    _rule: Rule | None = None
    _begun = _ended = _left = False
    _sent, _content_type = 0, ""

    def __init__(self, auditor: Auditor[Any], request: Request, *, nested: bool) -> None:
        """Begins with the request.

        Args:
            auditor: whose rules count.
            request: what is known of it.
            nested: whether another middleware of ours has opened this very request already.
        """
        rules = auditor.rules
        self.request = request
        self._auditor = auditor
        self._nested = nested
        outer, info = current_scope(), LiveInfo(request)
        self._values: dict[str, Any] = {"request": info} if outer is None or nested else _beside(outer, info)
        self._candidates = rules.candidates(request)
        self.concerned = request.concerned = rules.concern(request, self._candidates)
        """Whether a rule may want the request; else nothing needs to be told."""
        self.settled = not self.concerned
        """Whether nothing more can be recorded."""
        if rules.want_bodies:
            self.request_body, self.response_body = self._bodies()
        if nested:
            request.concerned |= _is_concerned_outside()

    def scope(self) -> Scope:
        """Binds the request's context. May be opened again, for an answer that is made bit by bit."""
        return Scope(self._values, is_request=True, joined=self._nested)

    def check_object(self) -> None:
        """Raises the RecordError of an object that cannot be one, where the path alone decides it."""
        if self._candidates:
            route, params = self._candidates[0]
            if route.rule is not None:
                route.rule.check_object(params)

    def answered(
        self,
        status: int,
        length: int | None = None,
        error: BaseException | None = None,
        content_type: str = "",
    ) -> None:
        """The answer's status is known, and nothing of it has been sent yet; the last call counts.

        Args:
            status: the status.
            length: the bytes of the body as far as they are announced.
            error: the exception that the application has answered so, if ``request.error`` does not say.
            content_type: what the body is.
        """
        if not self._begun:
            request = self.request
            request.status = status
            if error is not None:
                request.error = error
            self._content_type = content_type
            request.bytes_out = 0 if request.method == "HEAD" or status in _NO_BODY else length

    def sending(self, part: bytes = b"") -> None:
        """The next part of the answer's body leaves; from now on the status stands."""
        self._begun = True
        self._sent += len(part)
        if self.response_body is not None:
            self.response_body.add(part)

    def finished(self, *, complete: bool = True, counted: bool = True) -> None:
        """The last part of the answer leaves, or there will be no more of it.

        Args:
            complete: False: the answer broke off, or was never given.
            counted: whether all of it was seen going by.
        """
        if not self._ended:
            self._ended = True
            self.request.complete = complete and not self._left
            if counted and self._begun:
                self.request.bytes_out = self._sent

    def left(self) -> None:
        """The client has gone: what leaves from now on is not received."""
        self._left = True

    def failed(self, error: BaseException) -> None:
        """An exception leaves the application; the caller raises it again, unchanged."""
        if not self._begun:
            self.request.status = 500 if isinstance(error, Exception) else None
            self.request.error, self.request.bytes_out = error, None
        elif not self._ended:
            self.request.error = error
        self.finished(complete=False)

    def record(self) -> None:
        """Records the request if a rule says so and it is time; never raises an Exception."""
        if not self.settled and (made := self._due()):
            current = current_scope()
            if current is not None and current.values is self._values:
                made.store()
            else:  # the answer comes from elsewhere: a thread or a callback (WSGI under ASGI)
                with self.scope():
                    made.store()

    async def arecord(self) -> None:
        """As record, without blocking the event loop."""
        if not self.settled and (made := self._due()):
            current = current_scope()
            if current is not None and current.values is self._values:
                await made.astore()
            else:
                with self.scope():
                    await made.astore()

    def _bodies(self) -> tuple[Body | None, Body | None]:
        rules = [route.rule for route, _ in self._candidates if route.rule is not None]
        if (rest := self._auditor.rules.rest(self.request)) is not None:
            rules.append(rest)
        most = max((rule.request_body for rule in rules), default=0)
        more = max((rule.response_body for rule in rules), default=0)
        return (Body(most) if most else None), (Body(more) if more else None)

    def _due(self) -> Made | None:
        if self.request.status is None and not self._ended:
            return None
        try:
            if self._rule is None:
                self._rule = self._auditor.rules.rule(self.request, self._candidates)
            if self._rule is None:
                self.settled = True
                return None
            if self._rule.at_end and not self._ended:
                return None
            self.settled = True
            return self._made(self._rule)
        except Exception as error:
            # A callable of the application's, which chooses the rule or the event: the answer goes out.
            self.settled = True
            about = self.request
            logger.error("%s %r is not recorded: %s", about.method, about.route, error, exc_info=True)
            return None

    def _made(self, rule: Rule) -> Made | None:
        request = self.request
        event = rule.event(request)
        if event is None:
            return None
        fields, unresolved = rule.fields(request)
        info = self._settled_info()
        if self.request_body is not None or self.response_body is not None:
            self._add_bodies(rule, fields)
        success = request.complete and request.error is None and (request.status or 500) < 400
        outcome = fields["outcome"] = {"status": "success" if success else "failure"}
        if request.error is not None:
            outcome["error"] = error_text(request.error)
        outcome["durationMs"] = info.get("durationMs") or request.milliseconds
        if request.bytes_out is not None:
            outcome["bytesOut"] = request.bytes_out
        if not request.complete and request.error is None:
            outcome["error"] = "the answer broke off" if request.status else "there was no answer"
        if unresolved or request.unresolved:
            outcome["unresolved"] = {**request.unresolved, **unresolved}
        return Made(self._auditor.find, event, fields, request)

    def _settled_info(self) -> dict[str, Any]:
        """Nothing changes any more: it is read once. What the application has bound itself wins."""
        bound = self._values.get("request")
        info = self.request.info()
        own = {**bound} if type(bound) is not LiveInfo and isinstance(bound, Mapping) else None
        self._values["request"] = {**info, **own} if own else info
        return info

    def _add_bodies(self, rule: Rule, fields: dict[str, Any]) -> None:
        documents = {}
        if rule.request_body and self.request_body is not None:
            kind = self.request.headers.get("content-type", "")
            documents["requestBody"] = self.request_body.document(kind, rule.request_body)
        if rule.response_body and self.response_body is not None:
            documents["responseBody"] = self.response_body.document(self._content_type, rule.response_body)
        given = fields.get("documents") or {}
        if documents and isinstance(given, dict):
            fields["documents"] = {**documents, **given}


def _beside(outer: Scope, info: LiveInfo) -> dict[str, Any]:
    """What a request's scope begins with that was started from within another one's context.

    A server may start a request's task from within the one before it on the same connection (uvicorn with
    keep-alive: cpython issue 140947), whose context it then inherits. Nothing that the outer request knew
    shows through.
    """
    base: Scope | None = outer
    around = base
    while around is not None:
        if around.is_request:
            base = around.parent
        around = around.parent
    return {field: base.get(field) if base else None for field in FIELDS} | {"request": info}


def _is_concerned_outside() -> bool:
    """Whether the middleware around this one may want to record the request."""
    outer = current_scope()
    info = outer.get("request") if outer is not None else None
    return type(info) is LiveInfo and info.request.concerned
