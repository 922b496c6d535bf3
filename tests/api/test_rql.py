"""Filters built from expressions."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum

import pytest

from auditbox.api.pages import Listing
from auditbox.api.rql import Expression, F, encode
from auditbox.errors import ConfigurationError

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))


class Kind(str, Enum):  # noqa: UP042
    """As applications write their events down: its str() is the member's name."""

    APPROVED = "extensions.shop.order.approved"


class Level(int, Enum):
    """The same with numbers."""

    FIRST = 1


@pytest.mark.parametrize(
    ("expression", "rql"),
    [
        (F.object.id == "ORD-1", "eq(object.id,'ORD-1')"),
        (F.actor.account.account_type != "Vendor", "ne(actor.account.accountType,'Vendor')"),
        (F("request.api.ip") == "::1", "eq(request.api.ip,'::1')"),
        (F.timestamp >= NOON, "ge(timestamp,'2026-01-31T10:00:00.000Z')"),
        (F.timestamp < NOON.replace(microsecond=1), "lt(timestamp,'2026-01-31T10:00:00.000001Z')"),
        (F.timestamp > date(2026, 1, 31), "gt(timestamp,'2026-01-31T00:00:00.000Z')"),
        (F.revision <= 5, "le(revision,'5')"),
        (F.event == Kind.APPROVED, "eq(event,'extensions.shop.order.approved')"),
        (F.event.in_([Kind.APPROVED]), "in(event,('extensions.shop.order.approved'))"),
        (F.revision > Level.FIRST, "gt(revision,'1')"),
        (F.object.name == None, "eq(object.name,null())"),  # noqa: E711
        (F.object.name.is_null(), "eq(object.name,null())"),
        (F.object.name != "", "ne(object.name,empty())"),
        (F.object.name.is_empty(), "eq(object.name,empty())"),
        (F.object.name == F.object.id, "eq(object.name,object.id)"),
        (F.event.in_(["a", "b"]), "in(event,('a','b'))"),
        (F.event.out(["a"]), "out(event,('a'))"),
        (F.summary.like("*a"), "like(summary,'*a')"),
        (F.summary.like("a", ignore_case=True), "ilike(summary,'a')"),
        (F.summary.contains("it's"), 'like(summary,"*it\'s*")'),
        (F.summary.startswith("*x"), "like(summary,'\\*x*')"),
        (F.summary.endswith("x*"), "like(summary,'*x\\*')"),
        (F.viewers.any(), "any(viewers)"),
        (F.viewers.any(F.type == "Client"), "any(viewers,eq(type,'Client'))"),
        (F.viewers.all(F.id != "A"), "all(viewers,ne(id,'A'))"),
        ((F.id == "a") & (F.id == "b") & (F.id == "c"), "and(eq(id,'a'),eq(id,'b'),eq(id,'c'))"),
        ((F.id == "a") | (F.id == "b") & ~(F.id == "c"), "or(eq(id,'a'),and(eq(id,'b'),not(eq(id,'c'))))"),
    ],
)
def test_what_is_written(expression: Expression, rql: str) -> None:
    """Python's operators become RQL with every value quoted."""
    assert str(expression) == rql


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: F.summary == "both ' and \"",
        lambda: F.timestamp > datetime(2026, 1, 31),
        lambda: F.timestamp > None,
        lambda: F.summary == object(),
        lambda: F.summary == "\ud800",
        lambda: F.event.in_([]),
        lambda: F.event.in_("abc"),
        lambda: F.event.in_(["a", None]),
        lambda: F == "a",
        lambda: F("a b") == "x",
        lambda: F("eq(id,1)") == "x",
        lambda: F.summary.startswith("ends with \\"),
        lambda: F.summary.contains("\\*"),
    ],
)
def test_what_cannot_be_said(attempt: Callable[[], object]) -> None:
    """What RQL cannot say, or what would be another question, is an error where it is written."""
    with pytest.raises(ConfigurationError):
        attempt()


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: (F.id == "a") and (F.id == "b"),
        lambda: not F.viewers.any(),
        lambda: datetime.now(UTC) < F.timestamp < NOON,
        lambda: "a" in F.summary,
        lambda: "a" in [F.summary],
    ],
)
def test_pythons_own_logic_is_refused(attempt: Callable[[], object]) -> None:
    """``and``, ``or``, ``not``, ``in`` and chained comparisons would drop conditions, so they raise."""
    with pytest.raises(TypeError):
        attempt()


@pytest.mark.parametrize(
    ("rql", "wire"),
    [
        (F.summary == "a&b=c 50%+#é", "eq(summary,'a%26b=c%2050%25%2B%23%C3%A9')"),
        ("eq(summary,'a&b 50%')", "eq(summary,'a%26b%2050%25')"),
    ],
)
def test_encoding(rql: object, wire: str) -> None:
    """What would end the value in a query string is percent-encoded."""
    assert encode(rql) == wire


def test_a_foreign_builder() -> None:
    """An object whose str() is RQL is taken as it is: what it has encoded is not encoded twice."""

    class Query:
        def __str__(self) -> str:
            return "eq(summary,'a%26b + c')"

    assert encode(Query()) == "eq(summary,'a%26b%20%2B%20c')"


def test_a_whole_query() -> None:
    """Control parameters come first, then the filter, then the flag."""
    listing = Listing((F.id == "a",), ["object", "-documents"], "-timestamp, +id", 5, 0, True)
    assert listing.query() == (
        "limit=5&offset=0&order=-timestamp,id&select=object,-documents&eq(id,'a')&render()"
    )


@pytest.mark.parametrize("value", [-1, 1.5, True, "5"])
def test_a_wrong_limit(value: object) -> None:
    """A limit or an offset that is no number from 0 on is an error before anything is sent."""
    with pytest.raises(ConfigurationError):
        Listing(limit=value)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        Listing(offset=value)  # type: ignore[arg-type]
