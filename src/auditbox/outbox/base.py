"""The seam between what captures, what delivers, and what stores: the Outbox protocol.

It speaks of claims and settlements, never of cursors or files, so that another store can stand behind it.
The rules (who may be sent when) are the store's; the wishes (how long to wait) are the relay's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from auditbox.outbox.mark import Mark

LiveState = Literal["sending", "verify", "retry"]
State = Literal["sending", "verify", "retry", "waiting", "dead"]


class Draft(NamedTuple):
    """What is appended: an entry that has no number yet."""

    id: str
    lane: str
    body: bytes


class Entry(NamedTuple):
    """A record in the outbox. ``seq`` is given once, without gaps, in the order of capture."""

    seq: int
    id: str
    lane: str
    body: bytes


class Now(NamedTuple):
    """Three clocks, in seconds: Unix time here, the relay's own, and Unix time at the sink.

    ``sink`` equals ``wall`` as long as nothing is known of the sink's clock.
    """

    wall: float
    monotonic: float
    sink: float


class Claim(NamedTuple):
    """An entry that the relay must now send, or look up first (``action="verify"``)."""

    entry: Entry
    action: Literal["send", "verify"]
    attempts: int = 0
    maybe_sent: bool = False
    sent_at: float | None = None
    """When it may have been sent for the first time, in the server's seconds as far as they are known; never
    later than it was, and perhaps a second earlier."""
    refused_at: float | None = None
    """When the sink first refused this lane, wall seconds."""
    error: dict[str, Any] | None = None
    """What went wrong last, as stored."""
    intact: bool = True
    """False: the stored entry does not match its checksum and must not be sent."""


class Delivered(NamedTuple):
    """The sink has the record. Settles the entry and lets its lane go on."""

    seq: int
    remote_id: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Perhaps the sink has it: look it up once the relay's monotonic clock reads ``due``."""

    seq: int
    due: float
    error: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NotFound:
    """It was looked up and is not there: send it now (or bury it, if it had been rejected)."""

    seq: int


@dataclass(frozen=True, slots=True)
class Retry:
    """It was not sent, or was refused for now: again at ``due``.

    ``due`` is in wall seconds for what was never sent; for what may have been, the store turns it into
    a look-up at ``due_monotonic``.
    """

    seq: int
    due: float
    due_monotonic: float
    error: dict[str, Any]
    refused_at: float | None = None
    attempted: bool = True
    """False leaves the count of attempts alone (a pause is nobody's fault)."""


@dataclass(frozen=True, slots=True)
class Dead:
    """It cannot be delivered: keep it as a dead letter (looked up first if it may have been sent)."""

    seq: int
    due_monotonic: float
    error: dict[str, Any]
    refused_at: float | None = None
    """Set where the lane was refused for too long: its next entry then gets one attempt."""
    verified: bool = False
    """True: it was just looked up, or cannot be: bury it without another look."""


Settlement = Delivered | Ambiguous | NotFound | Retry | Dead


@dataclass(frozen=True, slots=True)
class Depth:
    """What an outbox holds."""

    captured: int
    """Entries ever captured: the newest number."""
    delivered: int
    """Receipts of deliveries that are still kept."""
    pending: int
    """Entries that are neither delivered nor dead nor discarded."""
    dead: int
    discarded: int
    oldest_pending: float | None
    """Wall seconds of the capture of the oldest pending entry."""
    states: dict[str, int] = field(default_factory=dict)


class Passed(NamedTuple):
    """What became of an entry that was claimed without a word on the disk, or passed by; see Ahead."""

    seq: int
    id: str
    lane: str
    fate: Delivered | float | None
    """Delivered; still being sent, by the sink's seconds since when; or None: it waits for its lane."""


class Look(NamedTuple):
    """What comes next."""

    claims: list[Claim]
    """Entries that nobody has claimed yet, in their order, as far as their lanes are free in the outbox."""
    blocked: bool
    """Whether the next one has to wait for what its lane has under way."""
    due: float | None
    """Seconds until something that is under way can be claimed (0: now); None where nothing is."""


class Ahead(NamedTuple):
    """What an exchange is told of entries that were claimed without it."""

    passed: Sequence[Passed]
    """What is put on record of them: the next ones after all that is, without a gap."""
    busy: Collection[str]
    """The lanes of which one is being sent, and is not on record after it."""
    reads_on: bool
    """Whether it claims what nobody has claimed yet, too: it does so after the last one passed."""
    reserve: int = 0
    """Up to which number something will be claimed without it."""
    ends: bool = False
    """Whether nothing will be: then nothing stays reserved above what is on record."""


class Exchanged(NamedTuple):
    """What came of an exchange."""

    claims: list[Claim]
    """To send, or to look up, now."""
    buried: list[tuple[str, str, dict[str, Any]]]
    """Id, lane and problem of every entry that has become a dead letter."""
    crossed: bool = False
    """Whether something is due in a lane of which an entry is being sent already (a replay)."""
    due: float | None = None
    """Seconds until something that is under way can be claimed; only where the exchange was told of more."""


class Outbox(Protocol):
    """A durable, append-only log of captured records, with the state of their delivery.

    Every method that writes is one transaction. Those of them that take an ``epoch`` raise Superseded when
    another relay has taken over since. All raise OutboxBusy when no turn to write comes within the bound, and
    OutboxUnusable when the store cannot be used.
    """

    destination: str | None

    @property
    def name(self) -> str:
        """The outbox's own id, the same for ever; it travels with every record."""
        ...

    def append(self, drafts: Sequence[Draft]) -> None:
        """Stores all drafts or none; when it returns they are as durable as the outbox promises.

        Raises:
            OutboxFull: only undelivered entries are left and there is no room.
        """
        ...

    def try_append(self, drafts: Sequence[Draft]) -> bool:
        """As append, but False at once where it would have to wait."""
        ...

    def take_over(self, now: Now, verify_after: float, clock: str | None = None) -> int:
        """Starts a new epoch and returns it; whatever was being sent becomes something to look up.

        ``clock`` names the clock behind ``now.monotonic``: what the last relay left to be looked up, on the
        same clock, need not wait all over again. None: nobody knows, and it does.
        """
        ...

    def exchange(
        self,
        epoch: int,
        settlements: Sequence[Settlement],
        limit: int,
        now: Now,
        longest_wait: float,
        fresh_first: bool = False,
        ahead: Ahead | None = None,
    ) -> Exchanged:
        """Settles what came back and claims up to ``limit`` further entries, in one transaction.

        Before, it puts on record what ``ahead`` says of entries that were claimed without it.
        What is under way and due goes first, unless ``fresh_first``. An entry settled as NotFound comes back
        at once as a claim to send, beyond the limit.
        A due time further ahead than ``longest_wait`` counts as passed (the clock was set back).
        """
        ...

    def look(self, after: int | None, count: int, now: Now, longest_wait: float) -> Look:
        """Up to ``count`` entries after a number, or after all that is on record, and what is due."""
        ...

    def mark(self, epoch: int) -> Mark | None:
        """Where the relay of this epoch notes how far it sends; None where it cannot, or may not any more."""
        ...

    @property
    def reserved(self) -> int:
        """Up to which number something may be sent: it is known on the disk."""
        ...

    def changed(self) -> bool:
        """Whether another process may have appended since the last call."""
        ...

    def last_seq(self) -> int:
        """The newest number."""
        ...

    def unsettled(self, upto: int) -> tuple[int, int]:
        """How many entries up to this number are pending, and how many are dead."""
        ...

    def depth(self) -> Depth:
        """What the outbox holds."""
        ...

    def close(self) -> None:
        """Closes what is open; a later call opens it again."""
        ...
