"""The contract's shapes, and what may be submitted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from auditbox.errors import RecordError, UndeclaredEvent
from auditbox.names import Events, check_object_id, full_event
from auditbox.records import AuditRecord, Submission

ANSWER = {
    "id": "AUD-0123-4567-8901-2345",
    "event": "extensions.acme.policy_changed",
    "summary": "Backup policy changed",
    "details": "Policy of {{order.id}} was changed.",
    "object": {"id": "ORD-1111-2222-3333", "name": "ORD-1111-2222-3333", "objectType": "Order", "icon": None},
    "timestamp": "2026-11-22T10:15:30.123Z",
    "actor": {
        "id": "TKN-1234-5678",
        "name": "Acme token",
        "account": {"id": "ACC-1111-1111", "name": "Acme", "accountType": "Vendor"},
    },
    "type": "Public",
    "request": {
        "api": {"ip": "203.0.113.7", "userAgent": "swo/1.0", "geolocation": {"countryCode": "DE"}},
        "log": {"requestId": "req-1", "operationId": "9e02"},
    },
    "documents": {"order": {"id": "ORD-1111-2222-3333"}, "auditbox": {"id": "x"}},
    "viewers": [{"id": "ACC-1111-1111", "type": "Vendor"}],
    "revision": 4,
    "somethingNew": {"of": "tomorrow"},
}


def test_an_answer_is_read_with_all_its_parts() -> None:
    """camelCase becomes snake_case; unknown fields are tolerated."""
    record = AuditRecord.model_validate(ANSWER)
    assert record.object is not None
    assert record.object.object_type == "Order"
    assert record.actor is not None
    assert record.actor.account is not None
    assert record.actor.account.account_type == "Vendor"
    assert record.request is not None
    assert record.request.api is not None
    assert record.request.api.geolocation is not None
    assert record.request.api.geolocation.country_code == "DE"
    assert record.timestamp is not None
    assert record.timestamp.microsecond == 123000
    assert record.auditbox == {"id": "x"}


def test_what_is_written_is_camel_case_without_nulls() -> None:
    """Absent means null, both ways."""
    wire = AuditRecord.model_validate(ANSWER).to_wire()
    known = {key: value for key, value in ANSWER.items() if key not in ("somethingNew", "object")}
    assert wire["object"] == {"id": "ORD-1111-2222-3333", "name": "ORD-1111-2222-3333", "objectType": "Order"}
    assert {key: wire[key] for key in known} == known


def test_a_record_of_an_id_alone_is_enough() -> None:
    """A server may omit whatever is null."""
    record = AuditRecord.model_validate({"id": "AUD-1", "event": "platform.x"})
    assert record.documents is None
    assert record.auditbox == {}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"event": "platform.commerce.order.created"}, "event"),
        ({"event": "extensions.x"}, "event"),
        ({"summary": ""}, "summary"),
        ({"details": None}, "details"),
        ({"documents": [1]}, "documents"),
        ({"type": "public"}, "type"),
    ],
)
def test_a_submission_keeps_the_rules_of_the_contract(change: dict[str, object], field: str) -> None:
    """What the server would reject is named by its field."""
    good = {
        "event": "extensions.acme.done",
        "summary": "s",
        "details": "d",
        "object": {"id": "ORD-1111-2222"},
    }
    Submission.model_validate(good)
    with pytest.raises(ValidationError) as caught:
        Submission.model_validate({**good, **change})
    assert caught.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize(
    ("event", "extension", "full"),
    [
        ("order.approved", "shop", "extensions.shop.order.approved"),
        ("approved", "shop", "extensions.shop.approved"),
        ("extensions.other.order.approved", "shop", "extensions.other.order.approved"),
        ("extensions.shop.x", None, "extensions.shop.x"),
    ],
)
def test_short_events_get_the_extension(event: str, extension: str | None, full: str) -> None:
    """The submitted form is extensions.<extension>.<event>."""
    assert full_event(event, extension) == full


@pytest.mark.parametrize(
    "event",
    [
        "",
        ".",
        "a..b",
        "a b",
        "a.",
        "extensions.",
        "extensions.shop",
        "platform.a.b",
        5,
        None,
        'a"b',
        "a\\b",
        "a\ud800",
    ],
)
def test_a_malformed_event_is_refused_by_name(event: object) -> None:
    """The message holds the value and the form."""
    with pytest.raises(RecordError) as caught:
        full_event(event, "shop")
    assert repr(event) in str(caught.value)
    assert "order.approved" in str(caught.value)


def test_a_short_event_without_an_extension_says_what_to_do() -> None:
    """Two ways out are named."""
    with pytest.raises(RecordError, match='set extension="…" on the trail, or write extensions'):
        full_event("order.approved")


def test_declared_events_are_the_only_ones() -> None:
    """Either form of a declared event will do; any other is refused with the list of those declared."""
    events = Events("shop", {"order.approved": "Order approved", "extensions.shop.order.split": ""})
    assert events.resolve("order.approved") == ("extensions.shop.order.approved", "Order approved")
    assert events.resolve("extensions.shop.order.approved")[1] == "Order approved"
    assert events.resolve("order.split") == ("extensions.shop.order.split", "extensions.shop.order.split")
    with pytest.raises(UndeclaredEvent, match=r"declared: extensions\.shop\.order\.approved"):
        events.resolve("order.aproved")


@pytest.mark.parametrize("id", ["ORD-1208-2301-8479", "ACC-1111", "AUSR-1234-5678"])
def test_ids_of_the_platform_are_accepted(id: str) -> None:
    """PREFIX-dddd, any prefix."""
    assert check_object_id(id) == id


@given(st.one_of(st.text(), st.none(), st.integers(), st.from_regex(r"[A-Z]{3}-[0-9]{3}", fullmatch=True)))
def test_whatever_else_is_no_object_id(value: object) -> None:
    """The error names the value and the form."""
    with pytest.raises(RecordError, match="ORD-1208-2301-8479"):
        check_object_id(value)
