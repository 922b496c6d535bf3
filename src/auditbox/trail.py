"""AuditTrail: what a program holds. Captures into its outbox, delivers through its relay."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from auditbox import interception, settings
from auditbox.checks import checked
from auditbox.compose import Composer
from auditbox.errors import OutboxError, OutboxFull, RecordError
from auditbox.fields import RecordFields, check_known
from auditbox.names import Events
from auditbox.outbox.job import Interrupted
from auditbox.outbox.sqlite import SqliteOutbox
from auditbox.redaction import Redaction
from auditbox.relay.policy import Policy
from auditbox.relay.worker import Flushed, Worker
from auditbox.spill import Spill
from auditbox.turns import Turns

if TYPE_CHECKING:
    from auditbox.outbox.base import Draft
    from auditbox.sinks.base import Sink

logger = logging.getLogger("auditbox.trail")

Token = str | Path | Callable[[], str]


class AuditTrail:
    """Captures records into an outbox and delivers them to a sink.

    The constructor checks the form of its values and touches neither disk nor network: those come with
    the first capture, ``with audit:``, ``async with audit:`` or :meth:`check`.

    Args:
        path: the outbox, one SQLite file; made absolute here, once.
        sink: the Audit API's URL, a Sink, or None: capture only, another process relays.
        token: the API token, a Path to read it from (again after a 401), or a callable.
        extension: put before short events: ``order.approved`` becomes ``extensions.<extension>.…``; one
            name without dots, blanks, quotes, backslashes and control characters.
        events: the declared events with their titles; any other is then an UndeclaredEvent. A title is the
            summary of records that have none; the platform calls an event by its first record's summary.
        default_object: the object of records that name none.
        durability: what a returned capture survives: ``"crash"`` (kill -9; a power cut but for about the
            last second), ``"power"`` (a power cut) or ``"none"`` (written behind, within milliseconds).
        share: what every reader of the object may see besides the actor's id: any of ``name``,
            ``address``, ``user_agent``, ``source``, ``trace``.
        redaction: what is masked before anything reaches the disk.
        max_bytes: the most that the outbox may take on disk; then OutboxFull.
        max_record_bytes: a larger record has its documents cut and marked.
        keep_delivered: seconds for which delivered entries are kept with their receipts.
        busy_timeout: seconds for which a capture waits for its turn to write, at most a day; then OutboxBusy.
        fail_closed: decorator and middleware check before the action that the record can be stored,
            and the action does not happen if it cannot.
        policy: how the relay waits, retries and gives up.
        concurrency: the most requests to the sink at once.
        transport: what reads the answers of a URL: ``"httpx"`` (the default) or ``"fast"``
            (``pip install 'auditbox[fast]'``).
        on_dead_letter: called with the id and the problem of each new dead letter, on the relay's thread.

    Raises:
        ConfigurationError: a value has a form that cannot work.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sink: str | Sink | None = None,
        token: Token | None = None,
        extension: str | None = None,
        events: Mapping[str, str] | Iterable[str] | None = None,
        default_object: str | None = None,
        durability: str = "crash",
        share: Iterable[str] = (),
        redaction: Redaction | None = None,
        max_bytes: int = 1 << 30,
        max_record_bytes: int = 256 * 1024,
        keep_delivered: float = 7 * 86400,
        busy_timeout: float = 5.0,
        fail_closed: bool = False,
        policy: Policy | None = None,
        concurrency: int = 16,
        transport: str | None = None,
        on_dead_letter: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        self.fail_closed = checked("fail_closed", fail_closed, fail_closed in (True, False), "True or False")
        policy = settings.optional("policy", policy, Policy)
        settings.at_least("concurrency", concurrency, 1)
        called = on_dead_letter is None or callable(on_dead_letter)
        checked("on_dead_letter", on_dead_letter, called, "a function of an id and a problem, or None")
        share = settings.names("share", share)
        self.shares_source = "source" in share
        """Whether it is worth collecting where in the program a record was captured."""
        self._redaction = settings.optional("redaction", redaction, Redaction)
        known = Events(settings.extension(extension), settings.events(events))
        self._resolve = known.resolve
        self._compose = Composer(
            known,
            self._redaction,
            share=share,
            default_object=default_object,
            max_record_bytes=max_record_bytes,
        ).draft
        self._sink = settings.sink(sink, token, transport)
        self.outbox = SqliteOutbox(
            path,
            destination=self._sink.destination if self._sink else None,
            durability=durability,
            max_bytes=max_bytes,
            keep_delivered=keep_delivered,
            busy_timeout=busy_timeout,
        )
        # Before the worker: at the end, what these hold is stored first.
        self._turns = Turns(self._store, self._try_store, self._keep)
        self._spill = Spill(self.outbox.append, self.outbox.append_missing)
        self._worker = Worker(
            self.outbox,
            self._sink,
            policy,
            concurrency=concurrency,
            on_dead_letter=on_dead_letter,
        )
        self._append_alone = self.outbox.append_alone

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """A trail configured by ``MPT_API_BASE_URL``, ``MPT_API_TOKEN`` and ``AUDITBOX_*``.

        ``AUDITBOX_OUTBOX`` is the path (default ``audit.db``); ``AUDITBOX_EXTENSION``,
        ``AUDITBOX_DEFAULT_OBJECT``, ``AUDITBOX_DURABILITY``, ``AUDITBOX_SHARE`` (comma-separated),
        ``AUDITBOX_MAX_BYTES``, ``AUDITBOX_KEEP_DELIVERED``, ``AUDITBOX_CONCURRENCY``,
        ``AUDITBOX_TRANSPORT``, ``AUDITBOX_FAIL_CLOSED`` (1 or 0) and ``AUDITBOX_TOKEN_FILE`` set the
        arguments of the same name.

        Args:
            overrides: arguments of the constructor that win over the environment.

        Raises:
            ConfigurationError: a variable has a value of no use, or there is a token without an address.
        """
        arguments = {**settings.from_environment(os.environ), **overrides}
        settings.check_environment(os.environ, arguments, overrides)
        return cls(arguments.pop("path"), **arguments)

    def __repr__(self) -> str:
        destination = self._sink.destination if self._sink else None
        return f"AuditTrail({str(self.outbox.path)!r}, sink={destination!r})"

    @property
    def sink(self) -> Sink | None:
        """Where records go; None: another process delivers."""
        return self._sink

    def record(
        self,
        event: str,
        /,
        *,
        object: Any = None,
        summary: str | None = None,
        details: str | None = None,
        documents: Mapping[str, Any] | None = None,
        actor: Any = None,
        outcome: Any = None,
        occurred_at: Any = None,
        lane: str | None = None,
        request: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> str:
        """Captures one record; when this returns it is in the outbox.

        What is left out comes from the context (``audit_context``, the middleware) and the defaults.

        Args:
            event: ``order.approved`` or the full ``extensions.<extension>.<event>``.
            object: the id of the object, or a mapping or object with ``id``, ``name``, ``objectType``.
            summary: one line for people; the event's title where none is given.
            details: a text that may hold ``{{path}}`` of documents; the summary where none is given.
            documents: named values of any type; encoded and redacted here.
            actor: who did it: an id or a mapping.
            outcome: ``"success"``, ``"failure"`` or a mapping.
            occurred_at: when it happened, an aware datetime; now where none is given.
            lane: what orders the record among others; the object's id where none is given.
            request: what is known of the web request.
            source: where in the program it was captured.

        Returns:
            The entry's id, a UUIDv7; it travels with the record as ``documents.auditbox.id``.

        Raises:
            RecordError: a value breaks a rule; nothing was stored.
            OutboxError: it could not be stored: OutboxFull, OutboxBusy, OutboxUnusable.
        """
        draft = self._compose(
            event, object, summary, details, documents, actor, outcome, occurred_at, lane, request, source
        )
        if interception.interceptor is not None:
            interception.interceptor((draft,))
        elif self._spill.kept or not self._append_alone(draft):
            self._store((draft,))
        elif self._worker.term.hungry:
            self._worker.notify()
        return draft.id

    def record_many(self, records: Iterable[Mapping[str, Any]]) -> list[str]:
        """Captures all of these records in one transaction, or none of them.

        Args:
            records: mappings with the arguments of :meth:`record`, the event as ``"event"``.

        Returns:
            The entries' ids, in the order given.
        """
        drafts = self.compose(records)
        if drafts:
            self.store(drafts)
        return [draft.id for draft in drafts]

    def compose(self, records: Iterable[Mapping[str, Any]]) -> list[Draft]:
        """The first half of :meth:`record_many`: what :meth:`store` stores, perhaps much later.

        Context, time, checks and redaction are those of this call; it touches no disk.

        Raises:
            RecordError: a value breaks a rule.
        """
        return [self._draft(fields) for fields in records]

    def store(self, drafts: Sequence[Draft], *, done: bool = False) -> None:
        """The other half of :meth:`record_many`: one transaction.

        Args:
            drafts: what :meth:`compose` has made; at least one.
            done: the actions have happened whatever becomes of their records: nothing raises, and what
                cannot be stored waits in memory and is retried.

        Raises:
            OutboxError: it could not be stored, and is not ``done``.
        """
        try:
            if interception.interceptor is not None:
                interception.interceptor(drafts)
            else:
                self._store(drafts)
        except Exception as error:
            if not done:
                raise
            for draft in drafts:
                self._spill.keep(draft, error, "a change", draft.lane)

    async def arecord(self, event: str, /, **fields: Unpack[RecordFields]) -> str:
        """As :meth:`record`, without blocking the event loop while another writer has the outbox."""
        try:
            draft = self._compose(event, **fields)
        except TypeError:
            check_known("record", fields)
            raise
        if interception.interceptor is not None:
            interception.interceptor((draft,))
        elif (stored := self._turns.append(draft)) is not None:
            try:
                await stored
            except BaseException as error:
                self._turns.left(draft, stored, error)
                raise
        return draft.id

    def _draft(self, record: Mapping[str, Any]) -> Draft:
        fields = dict(record)
        try:
            event = fields.pop("event")
        except KeyError:
            raise RecordError("event", None, "every record names its event") from None
        return self._drafted(event, fields)

    def _drafted(self, event: str, fields: Mapping[str, Any]) -> Draft:
        try:
            return self._compose(event, **fields)
        except TypeError:
            check_known("record", fields)
            raise

    def _store(self, drafts: Sequence[Draft]) -> None:
        if self._spill.kept:
            self._spill.retry()
        self.outbox.append(drafts)
        self._worker.notify()

    def _try_store(self, drafts: Sequence[Draft]) -> bool:
        stored = not self._spill.kept and self.outbox.try_append(drafts)
        if stored and self._worker.term.hungry:
            self._worker.notify()
        return stored

    def _keep(self, draft: Draft, error: Exception) -> None:
        """Keeps what a task has captured that waits for it no longer."""
        record = json.loads(draft.body)
        self._spill.keep(draft, error, record["event"], record["object"]["id"])

    def check_event(self, event: str) -> None:
        """Raises the RecordError that a capture of this event would meet: malformed, or undeclared."""
        self._resolve(event)

    def ready(self) -> None:
        """Raises the OutboxError that a capture would meet now; returns if it could be stored."""
        if interception.interceptor is None:
            self._redaction.encode({})  # what is made at the first use is made here, not in the first capture
            self.outbox.ready()

    def spill(self, error: Exception, event: str, fields: Mapping[str, Any]) -> None:
        """Keeps, in memory and bounded, the record of an action that happened but could not be stored.

        It is retried before the next capture, by a flush and at the end of the process. Never raises: what
        cannot be kept is logged with its event and object. What may be stored already keeps its id, and is
        looked for before it is stored.
        """
        try:
            draft: Draft | None = None
            if isinstance(error, Interrupted) and len(error.drafts) == 1:
                draft = error.drafts[0]
            elif isinstance(error, OutboxError):
                draft = self._drafted(event, fields)
        except Exception as again:  # noqa: BLE001 - after the action nothing raises
            error = again
        outcome = fields.get("outcome")
        causes = outcome.get("unresolved") if isinstance(outcome, Mapping) else None
        self._spill.keep(draft, error, event, fields.get("object"), causes)

    def check(self) -> None:
        """Opens the outbox and asks the sink for its settings; raises on whatever is wrong.

        Raises:
            OutboxUnusable: the file or its directory cannot be used, or belongs to another destination.
            ConfigurationError: there is no token, or it cannot be read.
        """
        self.outbox.ready()
        settings.check_sink(self._sink)

    def status(self) -> dict[str, Any]:
        """Depth, age, dead letters, and why delivery waits, as plain values; see docs/operations.md."""
        return self._worker.status()

    def flush(self, timeout: float = 30.0) -> Flushed:
        """Waits until all that was captured before this call is delivered.

        Args:
            timeout: the longest wait in seconds.

        Returns:
            ``Flushed(delivered, pending, dead)``, true only if everything captured before is delivered.
            Without a live relay, here or in another process, it returns at once.
        """
        self._turns.flush()
        self._spill.retry()
        return self._worker.flush(timeout)

    def close(self, timeout: float = 5.0) -> Flushed:
        """Delivers what it can within the timeout, then stops the relay and closes the outbox.

        What is left stays in the outbox for the next start. A capture meanwhile, or later, opens it again.
        """
        self._turns.flush()
        self._spill.retry()
        return self._worker.close(timeout)

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        import asyncio

        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import asyncio

        await asyncio.to_thread(self.close)

    def _open(self) -> None:
        try:
            self.ready()
        except OutboxFull as error:  # delivery goes on, and makes room
            logger.warning("%s", error)
        if interception.interceptor is None:
            self._worker.start()
