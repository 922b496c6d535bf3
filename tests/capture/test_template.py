"""Templates: what they read, what they refuse, and what they never let through."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditbox.capture.template import Template
from auditbox.errors import ConfigurationError, RecordError

ORDER = SimpleNamespace(
    id="ORD-1", lines=[SimpleNamespace(sku="A"), {"sku": "B"}], tags={"a-b": "yes", "items": 3}, nothing=None
)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Order {order.id} approved", "Order ORD-1 approved"),
        ("{order.lines[0].sku}{order.lines[1].sku}", "AB"),
        ("{order.lines[-1][sku]}", "B"),
        ("{order.tags[a-b]} {order.tags['a-b']}", "yes yes"),
        ("{order.tags.items}", "3"),
        ("{ order.id }", "ORD-1"),
        ("{order.nothing}", "None"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_reads_attributes_keys_and_indexes(source: str, text: str) -> None:
    """A path reads attributes, and on mappings keys: also one that is called like a method of dict."""
    assert Template(source, {"order"}).text({"order": ORDER}, "summary") == text


@pytest.mark.parametrize(
    "source", ["{", "}", "a { b", "{}", "{order", "order}", "{order.}", "{.id}", "{order id}", "{order[]}"]
)
def test_refuses_what_is_no_template(source: str) -> None:
    """A mistake is found at construction, and the error names the template."""
    with pytest.raises(ConfigurationError) as caught:
        Template(source)
    assert repr(source) in str(caught.value)


@pytest.mark.parametrize(
    "source", ["{order.__class__}", "{__builtins__}", "{order[__dict__]}", "{x!r}", "{x:>9}"]
)
def test_refuses_dunders_conversions_and_formats(source: str) -> None:
    """Nothing is reachable but what the application itself has put there."""
    with pytest.raises(ConfigurationError):
        Template(source)


def test_refuses_a_name_that_is_not_there() -> None:
    """A template over arguments that the function does not have is found when it is written down."""
    with pytest.raises(ConfigurationError, match=r"no 'ordr'; known are order, user"):
        Template("{ordr.id}", {"order", "user"})


def test_leaves_the_platforms_placeholders() -> None:
    """``{{x}}`` is the platform's: it passes as it is, also beside a path of ours."""
    assert (
        Template("{{order.id}} by {name}{{actor.name}}").text({"name": "W"}, "summary")
        == "{{order.id}} by W{{actor.name}}"
    )


@pytest.mark.parametrize(
    ("source", "values"),
    [
        ("Note: {a}", {"a": "{{actor.name}}"}),
        ("Note: {a}", {"a": "{{{{x}}}}"}),
        ("{a}{b}", {"a": "x{", "b": "{actor.name}}"}),
        ("{a}{b}{a}", {"a": "{", "b": ""}),
        ("{a}{{order.id}}", {"a": "{"}),
    ],
)
def test_breaks_up_what_users_bring(source: str, values: dict[str, str]) -> None:
    """No ``{{`` comes out of a value, nor out of the seam of two."""
    text = Template(source).text(values, "summary")
    assert "{{" not in text.replace("{{order.id}}", "")
    assert "{{{" not in text


@given(st.lists(st.text(alphabet="{}a ", max_size=6), min_size=3, max_size=3))
def test_no_values_make_a_placeholder(values: list[str]) -> None:
    """Whatever three users write: the only placeholder in the text is the developer's."""
    text = Template("{a}{b}{{own}}{c}").text(dict(zip("abc", values, strict=True)), "summary")
    assert text.count("{{") == 1
    assert "{{own}}" in text


def test_a_text_that_cannot_be_filled_is_an_error() -> None:
    """No half of a text: the error names the path and why, and the field falls back on its default."""
    with pytest.raises(RecordError, match=r"summary=.*\{order.buyer\}: AttributeError: .*'buyer'"):
        Template("Order {order.buyer}!").text({"order": ORDER}, "summary")


def test_a_value_that_cannot_be_printed_is_an_error() -> None:
    """A ``__str__`` that raises, too."""

    class Rude:
        def __str__(self) -> str:
            raise ValueError("no")

    with pytest.raises(RecordError, match="ValueError: no"):
        Template("{x}").text({"x": Rude()}, "summary")


def test_a_lone_path_gives_the_value_itself() -> None:
    """``"{order}"`` is the order, not its repr."""
    assert Template("{order}").value({"order": ORDER}, "documents") is ORDER


@pytest.mark.parametrize(
    "source", ["{order.buyer}", "ORD-{order.buyer}", "{order.nothing}", "{order.lines[7]}"]
)
def test_an_id_that_cannot_be_read_is_an_error(source: str) -> None:
    """A record must not go to a wrong object: the error names the field and the template."""
    with pytest.raises(RecordError) as caught:
        Template(source).value({"order": ORDER}, "object")
    assert caught.value.field == "object"
    assert source in str(caught.value)


def test_fills_early_what_is_known_early() -> None:
    """A filled template keeps the old value when the object changes, and takes the rest later."""
    order = SimpleNamespace(status="Draft")
    early = Template("{order.status} to {result.status}").filled({"order": order}, but={"result"})
    order.status = "Placed"
    assert early.text({"result": order}, "summary") == "Draft to Placed"


def test_an_error_of_the_early_reading_comes_when_it_is_used() -> None:
    """Reading early never raises: the error belongs to the record, which is made later."""
    early = Template("{order.buyer}").filled({"order": ORDER})
    with pytest.raises(RecordError):
        early.text({}, "summary")
    with pytest.raises(RecordError):
        early.value({}, "object")


def test_keeps_a_copy_where_asked() -> None:
    """A value that may change is kept as what ``keep`` makes of it."""
    lines = [1]
    kept: Any = Template("{lines}").filled({"lines": lines}, keep=list)
    lines.append(2)
    assert kept.value({}, "documents") == [1]
