"""Scripted faults: which requests go wrong, and how."""

from __future__ import annotations

import random
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic.alias_generators import to_camel

from auditbox.emulator.files import read
from auditbox.errors import ConfigurationError

Action = Literal["status", "delay", "hang", "reset", "drop", "html", "truncated", "empty", "slow"]
COMMITTED = frozenset({"delay", "drop", "truncated", "empty", "slow"})


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")


class Fault(_Shape):
    """One rule. Conditions that are absent hold for every request.

    Among the requests that match ``method``, ``path`` and ``object``, counted from 1, the fault strikes at
    the ``ordinals``, or after the first ``skip`` and at most ``count`` times, each time with
    ``probability``.
    """

    action: Action
    """``status``: the answer is ``status``. ``delay``: late, then as usual. ``hang``: no answer at all.
    ``reset``: the connection is reset instead of an answer. ``drop``: processed, then reset. ``html``: a
    gateway's page. ``truncated``, ``empty``: processed, the answer's body cut in half or left out.
    ``slow``: processed, the body trickles over ``delay`` seconds."""
    status: Annotated[int, Field(ge=200, le=599)] = 503
    retry_after: str | int | None = None
    """The ``Retry-After`` header: seconds or an HTTP date."""
    headers: dict[str, str] = {}
    body: str | dict[str, Any] | list[Any] | None = None
    """The body of a ``status`` answer; a problem body by default."""
    delay: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """Seconds to wait first (for ``slow``: over which the body is spread)."""
    commit: bool | None = None
    """Whether the request is processed all the same; by default as the action says."""
    method: str | None = None
    path: str = "*"
    """A pattern with ``*`` and ``?`` on the path."""
    object: str | None = None
    """A pattern on the posted record's ``object.id``."""
    ordinals: list[int] | None = None
    skip: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=0)] | None = None
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0

    _seen: int = PrivateAttr(0)
    _struck: int = PrivateAttr(0)

    @property
    def commits(self) -> bool:
        """Whether the request is processed before the fault strikes."""
        return self.action in COMMITTED if self.commit is None else self.commit

    def strikes(self, method: str, path: str, object_id: str | None, chance: random.Random) -> bool:
        """Whether this request goes wrong; counts it where it matches."""
        if not self._matches(method, path, object_id):
            return False
        self._seen += 1
        if self.ordinals is not None and self._seen not in self.ordinals:
            return False
        if self._seen <= self.skip or (self.count is not None and self._struck >= self.count):
            return False
        if self.probability < 1 and chance.random() >= self.probability:
            return False
        self._struck += 1
        return True

    def _matches(self, method: str, path: str, object_id: str | None) -> bool:
        if self.method is not None and self.method.upper() != method:
            return False
        if not fnmatchcase(path, self.path):
            return False
        return self.object is None or fnmatchcase(object_id or "", self.object)

    def describe(self) -> dict[str, Any]:
        """The rule with its counts."""
        given = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return {**given, "seen": self._seen, "struck": self._struck}


class Plan(_Shape):
    """All faults; the first that strikes decides. ``seed`` makes probabilities repeatable."""

    faults: list[Fault] = []
    latency: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """Seconds that every request takes longer."""
    seed: int | None = None

    _chance: random.Random = PrivateAttr()

    def model_post_init(self, _context: Any) -> None:
        """Starts the series of chances."""
        self._chance = random.Random(self.seed)

    def choose(self, method: str, path: str, object_id: str | None) -> Fault | None:
        """The fault for a request, if any."""
        for fault in self.faults:
            if fault.strikes(method, path, object_id, self._chance):
                return fault
        return None

    @property
    def needs_object(self) -> bool:
        """Whether a rule looks at the posted record."""
        return any(fault.object is not None for fault in self.faults)

    def describe(self) -> dict[str, Any]:
        """The plan with the counts of its rules."""
        return {
            "faults": [fault.describe() for fault in self.faults],
            "latency": self.latency,
            "seed": self.seed,
        }


def load_plan(given: Any) -> Plan:
    """A plan out of a file (a path) or of its content; None is one without faults.

    Raises:
        ConfigurationError: it cannot be read, or a rule is wrong; the text says where and why.
    """
    content = read(given, "faults") if isinstance(given, str | Path) else given
    return plan_of([] if content is None else content)


def plan_of(given: Any) -> Plan:
    """A plan out of its JSON: an object, or the list of faults alone.

    Raises:
        ConfigurationError: a rule is wrong; the text says where and why.
    """
    try:
        return Plan.model_validate({"faults": given} if isinstance(given, list) else given)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "faults"
        raise ConfigurationError(f"{where}: {first['msg']}") from None
