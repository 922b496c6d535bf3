"""From what the caller says to the bytes that are stored: complete, without secrets, bounded, never lost."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import pathlib
import threading
import uuid
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditbox.compose import Composer
from auditbox.context import audit_context
from auditbox.errors import ConfigurationError, RecordError
from auditbox.names import Events
from auditbox.outbox.base import Draft
from auditbox.records import Submission
from auditbox.redaction import Redaction
from auditbox.relay.relay import with_number

ORDER = "ORD-1208-2301-8479"


class Unprintable:
    """A value whose repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class FailingZone(dt.tzinfo):
    """A time zone that fails."""

    def utcoffset(self, _at: dt.datetime | None) -> dt.timedelta:
        raise LookupError("no such zone")


class Text(str):
    """A text of a class of its own, as Django's SafeString and numpy's str_ are."""

    __slots__ = ()


class Name(str, enum.Enum):  # noqa: UP042 - which formats itself as "Name.ORDER"
    ORDER = ORDER
    EVENT = "x.y"


class Stricter(enum.StrEnum):
    ORDER = ORDER


def composer(**options: Any) -> Composer:
    return Composer(
        Events("shop", options.pop("events", None)), options.pop("redaction", Redaction()), **options
    )


def wire(draft: Draft) -> dict[str, Any]:
    """As the relay sends it, checked against the contract's shape."""
    sent: dict[str, Any] = json.loads(with_number(draft.body, "box", 7))
    Submission.model_validate(sent)
    assert sent["documents"]["auditbox"]["id"] == draft.id
    assert sent["documents"]["auditbox"]["seq"] == 7
    return sent


def own(draft: Draft) -> dict[str, Any]:
    known: dict[str, Any] = wire(draft)["documents"]["auditbox"]
    return known


def test_the_least_that_can_be_said_is_a_whole_record() -> None:
    """Summary falls back on the declared title, details on the summary, the lane on the object."""
    draft = composer(events={"order.approved": "Order approved"}).draft("order.approved", ORDER)
    sent = wire(draft)
    assert sent["event"] == "extensions.shop.order.approved"
    assert (sent["summary"], sent["details"]) == ("Order approved", "Order approved")
    assert sent["object"] == {"id": ORDER}
    assert draft.lane == ORDER
    assert uuid.UUID(draft.id).version == 7


def test_an_empty_outcome_leaves_valid_json() -> None:
    """What auditbox joins to the encoded documents fits whatever they end in."""
    assert own(composer().draft("x.y", ORDER, outcome={}))["outcome"] == {}


def test_details_name_who_acted() -> None:
    """The portal shows the token as the actor; the text refers to who it really was."""
    assert wire(composer().draft("x.y", ORDER, actor="USR-1"))["details"].endswith("by {{auditbox.actor.id}}")
    named = composer(share=["name"]).draft("x.y", ORDER, actor={"id": "USR-1", "name": "Will"})
    assert wire(named)["details"].endswith("by {{auditbox.actor.name}}")


def test_only_ids_are_shared_unless_the_application_says_so() -> None:
    """Every viewer of the object reads the record: names, addresses and sources stay at home."""
    given = {
        "actor": {"id": "USR-1", "name": "Will", "email": "w@example.com"},
        "request": {
            "id": "r1",
            "method": "POST",
            "route": "/x",
            "address": "203.0.113.7",
            "userAgent": "curl",
        },
        "source": {"file": "views.py"},
    }
    sparse = own(composer().draft("x.y", ORDER, **given))
    assert sparse["actor"] == {"id": "USR-1"}
    assert sparse["request"] == {"id": "r1", "method": "POST", "route": "/x"}
    assert "source" not in sparse
    everything = composer(share=["name", "address", "user_agent", "source", "trace"])
    full = own(everything.draft("x.y", ORDER, **given))
    assert full["actor"]["name"] == "Will"
    assert full["request"]["address"] == "203.0.113.7"
    assert full["request"]["userAgent"] == "curl"
    assert full["source"] == {"file": "views.py"}


def test_the_context_completes_what_the_call_leaves_out() -> None:
    """What the call says wins; request parts are joined."""
    with audit_context(actor="USR-1", object=ORDER, request={"id": "r1"}, documents={"order": {"a": 1}}):
        sent = wire(composer().draft("x.y", documents={"more": 2}, request={"status": 200}))
        other = wire(composer().draft("x.y", "ACC-1111-1111", actor="USR-2"))
    assert sent["object"]["id"] == ORDER
    assert sent["documents"]["auditbox"]["actor"] == {"id": "USR-1"}
    assert sent["documents"]["auditbox"]["request"] == {"id": "r1", "status": 200}
    assert (sent["documents"]["order"], sent["documents"]["more"]) == ({"a": 1}, 2)
    assert other["object"]["id"] == "ACC-1111-1111"
    assert other["documents"]["auditbox"]["actor"] == {"id": "USR-2"}


def test_the_callers_documents_are_not_touched() -> None:
    """What was passed is neither changed nor kept."""
    documents: dict[str, Any] = {"order": {"password": "x"}}
    composer().draft("x.y", ORDER, documents=documents)
    assert documents == {"order": {"password": "x"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"object": "order 5"}, "object='order 5'"),
        ({"object": {"id": ORDER, "colour": "red"}}, "unknown key 'colour'"),
        ({"object": {"name": "x"}}, "object="),
        ({"object": 5}, "object=5"),
        ({"summary": 5}, "summary=5: a text"),
        ({"documents": [1]}, "documents="),
        ({"documents": {"auditbox": 1}}, "reserved"),
        ({"actor": 5}, "actor=5"),
        ({"lane": ""}, "lane=''"),
        ({"lane": "x" * 201}, "1 to 200"),
        ({"occurred_at": "yesterday"}, "occurred_at='yesterday'"),
        ({"occurred_at": dt.datetime(2026, 1, 1)}, "time zone"),
        ({"request": "GET"}, "request='GET'"),
        ({"object": Unprintable()}, "object=<unprintable Unprintable>"),
        ({"summary": Unprintable()}, "summary=<unprintable Unprintable>: a text"),
        ({"occurred_at": dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=5)))}, "UTC"),
        ({"occurred_at": dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=5)))}, "UTC"),
        ({"occurred_at": dt.datetime(2026, 1, 1, tzinfo=FailingZone())}, "UTC"),
    ],
)
def test_a_bad_value_is_named_with_its_rule(change: dict[str, Any], message: str) -> None:
    """One clear error: the field, the value, the way out."""
    fields = {"object": ORDER, **change}
    with pytest.raises(RecordError) as caught:
        composer().draft("x.y", **fields)
    assert message in str(caught.value)


@pytest.mark.parametrize("id", [Text(ORDER), Name.ORDER, Stricter.ORDER])
def test_a_text_of_a_class_of_its_own_is_the_text(id: str) -> None:
    """As object, in a mapping, by default, as lane; what is stored is not how the class formats itself."""
    makes = composer(default_object=id)
    for draft in (makes.draft("x.y", id), makes.draft("x.y", {"id": id}), makes.draft("x.y")):
        assert wire(draft)["object"] == {"id": ORDER}
        assert (type(draft.lane), draft.lane) == (str, ORDER)
    assert type(makes.draft("x.y", ORDER, lane=id).lane) is str
    assert wire(makes.draft(Name.EVENT, ORDER))["event"] == "extensions.shop.x.y"


def test_a_record_without_an_object_says_three_ways_out() -> None:
    """Unless there is a default."""
    with pytest.raises(RecordError, match=r"object=….*audit_context.*default_object"):
        composer().draft("x.y")
    assert wire(composer(default_object=ORDER).draft("x.y"))["object"]["id"] == ORDER


def test_bad_settings_are_refused() -> None:
    """At construction, by name."""
    with pytest.raises(ConfigurationError, match="known are address"):
        composer(share=["everything"])
    with pytest.raises(ConfigurationError, match="max_record_bytes"):
        composer(max_record_bytes=10)
    with pytest.raises(ConfigurationError, match=r"default_object='x'.*ORD-1208"):
        composer(default_object="x")


@dataclasses.dataclass
class Point:
    x: int
    password: str = "hunter2-secret"


class Customer(pydantic.BaseModel):
    name: str = "Acme"
    api_key: str = "hunter2-secret"


def _loop() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("hunter2-secret")


STRANGE: list[Any] = [
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.date(2026, 1, 1), dt.timedelta(1), uuid.uuid4(),
    decimal.Decimal("1.10"), b"\xff\x00", {1, 2}, frozenset("a"), Point(1), Customer(), ValueError("no"),
    math.nan, math.inf, -math.inf, "\ud800", {"\ud800": 1}, {5: 1, None: 2, (1, 2): 3}, _loop(), 10**400, 1j,
    object(), Unspeakable(), print, int, iter([1]), range(3), memoryview(b"x"), threading.Lock(),
]  # fmt: skip


SHOWABLE = [value for value in STRANGE if not isinstance(value, Unspeakable)]


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: type(value).__name__)
def test_no_value_loses_the_record(value: Any) -> None:
    """What JSON does not know is encoded sensibly or replaced by a marked text, and stays secret."""
    draft = composer().draft("x.y", ORDER, documents={"value": value, "deep": {"er": [value]}, "kept": 1})
    assert wire(draft)["documents"]["kept"] == 1
    assert b"hunter2-secret" not in draft.body


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(),
            st.binary(),
            st.sampled_from(SHOWABLE),
        ),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.one_of(st.text(), st.integers()), inner)),
        max_leaves=20,
    )
)
def test_any_documents_make_a_record(value: Any) -> None:
    """Whatever it is, it is stored, and it is what the API expects."""
    wire(composer().draft("x.y", ORDER, documents={"value": value}))


@pytest.mark.parametrize(
    "documents",
    [
        {"text": "x" * 10_000_000},
        {"list": list(range(200_000))},
        {f"k{n}": "v" * 100 for n in range(10_000)},
        {"deep": {"er": {"text": "é" * 1_000_000}}, "small": 1},
    ],
    ids=["10 MB text", "long list", "wide", "nested"],
)
def test_a_record_that_is_too_large_is_cut_and_marked(documents: dict[str, Any]) -> None:
    """Not dropped, and not larger than allowed."""
    draft = composer(max_record_bytes=64 * 1024).draft("x.y", ORDER, documents=documents)
    assert len(draft.body) <= 64 * 1024
    assert "[cut" in json.dumps(wire(draft)["documents"])


def test_large_texts_and_actors_are_bounded_too() -> None:
    """Whatever part is large, the record fits."""
    draft = composer(max_record_bytes=64 * 1024, share=["name"]).draft(
        "x.y", {"id": ORDER, "name": "n" * 1_000_000}, "s" * 1_000_000, "d" * 1_000_000,
        {"a": "b" * 1_000_000}, {"id": "u" * 1_000_000, "name": "n" * 1_000_000}, "o" * 1_000_000,
    )  # fmt: skip
    assert len(draft.body) <= 64 * 1024
    wire(draft)


def test_a_dict_that_another_thread_changes_is_stored_all_the_same() -> None:
    """Whichever of its states is seen, the record is whole."""
    shared: dict[str, int] = {str(n): n for n in range(200)}
    stop = threading.Event()

    def change() -> None:
        turn = 0
        while not stop.is_set():
            shared[f"new-{turn % 500}"] = turn
            shared.pop(f"new-{(turn + 250) % 500}", None)
            turn += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            wire(composer().draft("x.y", ORDER, documents={"shared": shared}))
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("lane", ["", "x" * 201, "tenant-\ud800", "a\0b", 7])
def test_a_lane_that_cannot_be_stored_is_refused(lane: Any) -> None:
    """Before it could fail the captures of others that are committed with it."""
    with pytest.raises(RecordError, match="lane"):
        composer().draft("x.y", ORDER, lane=lane)


def test_a_lane_is_stored_without_secrets() -> None:
    """As everything else that an application says."""
    assert composer().draft("x.y", ORDER, lane="tenant password=hunter2").lane == "tenant password=[redacted]"


class Reserved(enum.Enum):
    """A key that becomes the reserved name."""

    NAME = "auditbox"


@pytest.mark.parametrize(
    "key", [b"auditbox", ("auditbox",), pathlib.PurePosixPath("auditbox"), Reserved.NAME]
)
def test_a_key_that_becomes_the_reserved_name_takes_another(key: Any) -> None:
    """What auditbox says of a record cannot be forged, and its id is found when it is looked up."""
    documents = wire(composer().draft("x.y", ORDER, documents={key: {"id": "forged"}}))["documents"]
    (other,) = documents.keys() - {"auditbox"}
    assert other.startswith("auditbox [")
    assert documents[other] == {"id": "forged"}


@pytest.mark.parametrize(
    "options",
    [
        {"keys": ["auditbox"]}, {"keys": ["documents"]}, {"keys": ["object", "id"]},
        {"patterns": [r"\b[a-z]{8}\b"]}, {"patterns": ["AUD|ORD"], "cards": True},
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [10, 400_000])
def test_no_redaction_alters_what_a_record_is_made_of(options: dict[str, Any], size: int) -> None:
    """A sensitive key or pattern of the application's may look like the record's own parts."""
    draft = composer(redaction=Redaction(**options)).draft("x.y", ORDER, documents={"order": "x" * size})
    assert wire(draft)["object"] == {"id": ORDER}
    assert wire(draft)["documents"].keys() == {"order", "auditbox"}
