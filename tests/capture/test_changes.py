"""changes(): both states and the difference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel

from auditbox.capture.changes import changes
from auditbox.errors import ConfigurationError
from auditbox.redaction import Redaction


@dataclass
class Line:
    sku: str
    quantity: int = 1


@dataclass
class Order:
    status: str
    lines: list[Line] = field(default_factory=list)


class Buyer(BaseModel):
    name: str
    password: str = "s3cr3t-one"


def test_tells_what_changed() -> None:
    """Three documents: the object, what it was, and only what differs."""
    documents = changes("order", {"id": "ORD-1", "status": "Draft"}, {"id": "ORD-1", "status": "Placed"})
    assert documents == {
        "order": {"id": "ORD-1", "status": "Placed"},
        "originalOrder": {"id": "ORD-1", "status": "Draft"},
        "change": {"status": {"before": "Draft", "after": "Placed"}},
    }


def test_reads_dataclasses_and_lists() -> None:
    """Elements of lists stand under their index; what came or went has one side only."""
    before = Order("Draft", [Line("A"), Line("B")])
    after = Order("Draft", [Line("A", 2), Line("B"), Line("C")])
    assert changes("order", before, after)["change"] == {
        "lines": {"0": {"quantity": {"before": 1, "after": 2}}, "2": {"after": {"sku": "C", "quantity": 1}}}
    }


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ({"a": 1}, {"a": None}, {"a": {"before": 1, "after": None}}),
        ({"a": 1}, {}, {"a": {"before": 1}}),
        ({"a": 1}, {"a": True}, {"a": {"before": 1, "after": True}}),
        ({"a": 1}, {"a": 1.0}, {}),
        ({"a": {"b": 1}}, {"a": [1]}, {"a": {"b": {"before": 1}, "0": {"after": 1}}}),
        ({"a": {}}, {"a": 5}, {"a": {"before": {}, "after": 5}}),
        ({}, {}, {}),
    ],
)
def test_differences(before: Any, after: Any, change: Any) -> None:
    """Absent, null, numbers and shapes are told apart as JSON tells them apart."""
    assert changes("thing", before, after)["change"] == change


def test_something_new_and_something_gone() -> None:
    """A state that does not exist is left out."""
    assert changes("buyer", None, {"id": 1}) == {"buyer": {"id": 1}, "change": {"after": {"id": 1}}}
    assert changes("buyer", {"id": 1}, None) == {"originalBuyer": {"id": 1}, "change": {"before": {"id": 1}}}


def test_secrets_are_masked_in_the_difference_too() -> None:
    """The difference keeps the names under which a trail's redaction finds secrets."""
    documents = changes("buyer", Buyer(name="Ann"), Buyer(name="Eve", password="s3cr3t-two"))
    cleaned = repr(Redaction().clean(documents))
    assert "Eve" in cleaned
    assert "s3cr3t" not in cleaned


@pytest.mark.parametrize("name", ["", "change", None])
def test_needs_a_name(name: Any) -> None:
    """A name that would collide is refused."""
    with pytest.raises(ConfigurationError):
        changes(name, {}, {})
