"""The query language: its messages, and that it means what Python means."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from auditbox.api.pages import Listing
from auditbox.api.rql import Condition, Expression, F, Group, Property, Quantified
from auditbox.emulator import create_app
from auditbox.emulator.fields import RECORDS, dig
from auditbox.emulator.identity import Caller
from auditbox.emulator.problem import Problem, body_of
from auditbox.emulator.query import parse_query
from auditbox.emulator.reading import Reader
from auditbox.emulator.rql.compile import stored_timestamp
from auditbox.emulator.rql.match import like
from auditbox.emulator.store import Store
from auditbox.errors import ConfigurationError

READER = Caller("TKN-1234-5678", "T", "ACC-1234-5678", "A", "Vendor")


@pytest.fixture(scope="module")
def reader() -> Reader:
    """A reader over three records."""
    store = Store()
    store.add_all([record(1, summary="Alpha"), record(2, summary="beta"), record(3, object={"id": "AGR-1"})])
    return Reader(store, scoped=False)


def record(number: int, **changes: Any) -> dict[str, Any]:
    """A record as the store takes it."""
    base = {
        "id": f"AUD-0000-0000-0000-{number:04}",
        "event": "extensions.shop.a",
        "timestamp": stored_timestamp(f"2026-01-0{number}T00:00:00Z"),
        "object": {"id": "ORD-1", "name": "ORD-1"},
        "viewers": [{"id": "ACC-1", "type": "Client"}],
    }
    return {**base, **changes}


def find(reader: Reader, query: str) -> list[int]:
    """The numbers of the records that a raw query string finds, in order."""
    page = reader.page(RECORDS, parse_query(query), READER)
    return [int(row["id"][-4:]) for row in page["data"]]


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("mistake(a)", {"mistake": "Unknown expression group."}),
        ("rql=eq(id,1)", {"eq": "Value expected."}),
        ("rql='x'", {"rql": "Invalid property path."}),
        ("word", {"word": "Expression expected."}),
        ("and()", {"and": "Expression group cannot be empty."}),
        ("()", {"": "Expression group cannot be empty."}),
        ("not(eq(id,'a'),eq(id,'b'))", {"not": "Unary expression must have 1 argument"}),
        ("eq(id)", {"eq": "Binary expression must have 2 arguments"}),
        ("eq(id,a,b)", {"eq": "Binary expression must have 2 arguments"}),
        ("all(viewers)", {"all": "Binary expression must have 2 arguments"}),
        ("eq(nothing,'a')", {"nothing": "Invalid property path."}),
        ("any(object,eq(id,'a'))", {"object": "Invalid property path."}),
        ("eq(nothing.more,'a')", {"nothing": "Invalid property path."}),
        ("eq(Object.nothing.more,'a')", {"Object.nothing": "Invalid property path."}),
        ("eq(viewers,'a')", {"viewers": "Filtering is not permitted."}),
        ("eq(viewers.id,'a')", {"viewers.id": "Invalid property path."}),
        ("eq(documents,'a')", {"documents": "Filtering is not permitted."}),
        ("eq(documents.order.id,'a')", {"documents.order": "Invalid property path."}),
        ("documents.order.id='a'", {"documents.order": "Invalid property path."}),
        ("any(documents,eq(id,'a'))", {"documents": "Invalid property path."}),
        ("order=documents", {"documents": "Ordering is not permitted."}),
        ("order=-documents.order.id", {"documents.order": "Invalid property path."}),
        ("order=viewers", {"viewers": "Ordering is not permitted."}),
        ("order=nothing", {"nothing": "Invalid property path."}),
        ("order=", {"order": "No valid ordering properties were detected"}),
        ("in(id,())", {"id": "Value has to be a non empty array."}),
        ("in(id,(null()))", {"id": "Null values are not supported."}),
        ("gt(summary,null())", {"summary": "Operator 'gt' is not permitted"}),
        ("like(timestamp,'*')", {"timestamp": "Operator 'like' is not permitted"}),
        ("eq(timestamp,'soon')", {"timestamp": "Cannot convert value: 'soon'."}),
        ("eq(revision,'x')", {"revision": "Cannot convert value: 'x'."}),
        ("a=b=c", {"a=b=c": "Invalid equals shortcut expression"}),
        ("='x'", {"='x'": "Invalid equals shortcut expression"}),
        ("eq(id,'a", {"eq(id,'a": "A quoted value is not closed."}),
        ("eq(id,'a')x", {"eq(id,'a')x": "Unexpected text after an expression."}),
        ("eq(id,'a'b)", {"eq(id,'a'b)": "Unexpected text after a quoted value."}),
        ("eq(id,'a'", {"eq(id,'a'": "Closing parenthesis expected."}),
        ("eq(id,'a'))", {"eq(id,'a'))": "Unexpected ')'."}),
        ("eq(id,foo())", {"foo": "Value expected."}),
        ("eq(self(),'a')", {"self()": "Filtering is not permitted."}),
    ],
)
def test_messages(reader: Reader, query: str, errors: dict[str, str]) -> None:
    """What cannot be understood is a 400 whose errors name the path or the function."""
    with pytest.raises(Problem) as caught:
        find(reader, query)
    assert caught.value.status == 400
    assert caught.value.errors == {key: [message] for key, message in errors.items()}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [3, 2, 1]),
        ("summary=Alpha", [1]),
        ("summary='Alpha'", [1]),
        ("eq(SUMMARY,alpha)", []),
        ("EQ(Summary,Alpha)", [1]),
        ("eq(object.name,object.id)", [2, 1]),
        ("eq(object.name,'object.id')", []),
        ("eq(summary,null())", [3]),
        ("ne(summary,null())", [2, 1]),
        ("not(eq(summary,'Alpha'))", [3, 2]),
        ("ne(summary,'Alpha')", [3, 2]),
        ("out(summary,(Alpha,beta))", [3]),
        ("in(summary,(Alpha))", [1]),
        ("in(summary,Alpha)", [1]),
        ("summary=Alpha|summary=beta", [2, 1]),
        ("summary=Alpha;summary=beta,id='x'", [1]),
        ("(summary=Alpha;summary=beta),gt(id,AUD-0000-0000-0000-0001)", [2]),
        ("or(summary=Alpha,summary=beta)", [2, 1]),
        ("summary=Alpha&summary=beta", []),
        ("and(eq(id,'x');eq(summary,'beta'))", [2]),
        ("any(viewers)", [3, 2, 1]),
        ("any(viewers,eq(type,'Client'))&eq(object.id,'AGR-1')", [3]),
        ("any(viewers,id='ACC-2')", []),
        ("all(viewers,id=ACC-1)", [3, 2, 1]),
        ("not(any(viewers,type=Client))", []),
        ("eq(actor,null())&limit=1", [3]),
        ("ne(object,null())", [3, 2, 1]),
        ("ge(timestamp,2026-01-02)", [3, 2]),
        ("lt(timestamp,'2026-01-02T00:00:00.000Z')", [1]),
        ("eq(timestamp,'2026-01-02T01:00:00%2B01:00')", [2]),
        ("ilike(summary,%22*A*%22)", [2, 1]),
        ("like(summary,*a)", [2, 1]),
        ("order=summary", [3, 1, 2]),
        ("order=-summary,+id", [2, 1, 3]),
        ("order=+object.id,-timestamp", [3, 2, 1]),
        ("ORDER=timestamp&LIMIT=2&OFFSET=1", [2, 3]),
        ("limit=0", []),
        ("limit=x&offset=-1", [3, 2, 1]),
        ("&&limit=1&", [3]),
        (" and( eq( summary , 'Alpha' ) ) ", [1]),
    ],
)
def test_what_is_found(reader: Reader, query: str, found: list[int]) -> None:
    """Every form of the grammar means what the contract says."""
    assert find(reader, query) == found


TEXT = st.text(alphabet="aAb*'\"&+#%;|(),\\ é\x00ẞ😀=?/", max_size=4)
MOMENTS = st.integers(0, 3000).map(lambda ms: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms))
NAMES = ["summary", "details", "object.name", "actor.account.name", "type"]
VIEWERS = st.lists(st.fixed_dictionaries({"id": TEXT}, optional={"name": TEXT}), max_size=2)
RECORDS_IN = st.lists(
    st.fixed_dictionaries(
        {"timestamp": MOMENTS}, optional={**dict.fromkeys(NAMES, TEXT), "viewers": VIEWERS}
    ),
    max_size=5,
)


def _leaf(path: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Expression]:
    name = F(path)
    comparisons = st.sampled_from(
        [Property.__eq__, Property.__ne__, Property.__gt__, Property.__ge__, Property.__lt__, Property.__le__]
    )
    return st.one_of(
        st.builds(lambda compare, value: compare(name, value), comparisons, values),
        st.builds(name.in_, st.lists(values, min_size=1, max_size=3)),
        st.builds(name.out, st.lists(values, min_size=1, max_size=3)),
        st.sampled_from([name.is_null(), name.is_empty()] if values is not MOMENTS else [name.is_null()]),
    )


def _text_leaf(path: str) -> st.SearchStrategy[Expression]:
    name = F(path)
    methods = st.sampled_from([name.contains, name.startswith, name.endswith, name.like])
    return st.one_of(
        _leaf(path, TEXT.filter(lambda text: not {"'", '"'} <= set(text))),
        st.builds(_sayable, methods, TEXT, st.booleans()),
    )


def _sayable(method: Any, text: str, fold: bool) -> Expression:
    try:
        return method(text, ignore_case=fold)  # type: ignore[no-any-return]
    except ConfigurationError:
        return method.__self__.is_null()  # type: ignore[no-any-return]


LEAVES = st.one_of(
    *[_text_leaf(name) for name in NAMES],
    _leaf("timestamp", MOMENTS),
    st.just(F.summary == F.details),
    st.just(F.summary < F.details),
    st.just(F.viewers.any()),
    _text_leaf("id").map(F.viewers.any),
    _text_leaf("name").map(F.viewers.all),
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a: ~a, inner),
    ),
    max_leaves=6,
)


def holds(expression: Expression, row: dict[str, Any]) -> bool:
    """What an expression means, in plain Python."""
    match expression:
        case Group("and", parts):
            return all(holds(part, row) for part in parts)
        case Group("or", parts):
            return any(holds(part, row) for part in parts)
        case Group("not", parts):
            return not holds(parts[0], row)
        case Quantified(operator, path, condition):
            elements = row.get(path) or []
            tests = [condition is None or holds(condition, element) for element in elements]
            return any(tests) if operator == "any" else all(tests)
        case Condition(operator, path, value):
            return _compare(operator, dig(row, path), value, row)
    raise AssertionError(expression)


def _compare(operator: str, left: Any, right: Any, row: dict[str, Any]) -> bool:
    if isinstance(right, Property):
        right = dig(row, right._path)
    if operator in {"eq", "ne"}:
        return (left == right) is (operator == "eq")
    if operator in {"in", "out"}:
        return (left is not None and left in right) is (operator == "in")
    if operator in {"like", "ilike"}:
        return bool(like(left, right, operator == "ilike"))
    if left is None or right is None:
        return False
    return bool({"gt": left > right, "ge": left >= right, "lt": left < right, "le": left <= right}[operator])


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, RECORDS_IN)
@example(F.summary.startswith("*"), [{"timestamp": datetime(2026, 1, 1, tzinfo=UTC), "summary": "*a"}])
def test_the_same_rows_as_python(expression: Expression, given_rows: list[dict[str, Any]]) -> None:
    """For any expression and any records, the emulator finds what plain Python finds."""
    assume(len(str(expression)) < 2000)
    store = Store()
    rows, stored = [], []
    for number, flat in enumerate(given_rows):
        row: dict[str, Any] = {
            "id": f"AUD-0000-0000-0000-{number:04}",
            "event": "extensions.a.b",
            "object": {},
        }
        row["actor"] = {"account": {"name": flat.get("actor.account.name")}}
        row["object"] = {"name": flat.get("object.name")}
        row |= {name: value for name, value in flat.items() if "." not in name}
        rows.append(row)
        stored.append({**row, "timestamp": stored_timestamp(row["timestamp"].isoformat())})
    store.add_all(stored)
    url = httpx.URL(f"http://x/?{Listing((expression,), limit=100).query()}")
    page = Reader(store, scoped=False).page(RECORDS, parse_query(url.query.decode()), READER)
    found = {row["id"] for row in page["data"]}
    assert found == {row["id"] for row in rows if holds(expression, row)}
    assert page["$meta"]["pagination"]["total"] == len(found)


@given(TEXT, TEXT)
def test_patterns_mean_what_their_names_say(text: str, needle: str) -> None:
    """contains, startswith and endswith take every star and backslash literally, or refuse."""
    meanings = {
        "contains": needle in text,
        "startswith": text.startswith(needle),
        "endswith": text.endswith(needle),
    }
    for name, meaning in meanings.items():
        try:
            condition = getattr(F.summary, name)(needle)
        except ConfigurationError:
            continue
        assert bool(like(text, condition.value, 0)) is meaning


WORDS = "and or not eq in any all like self null empty ( ) , ; | & = ' \" * render() limit="
PATHS = ["object.id", "viewers", "timestamp", "summary", "documents", "order=", "select="]
GRAMMAR = st.lists(
    st.one_of(st.sampled_from(WORDS.split(" ")), st.sampled_from(PATHS), st.text(max_size=3)), max_size=25
).map("".join)


@settings(max_examples=500, deadline=None)
@given(st.one_of(GRAMMAR, st.text()))
@example("(" * 2000)
@example("eq(id,'a')" + ",eq(id,'a')" * 4000)
@example("not(" * 24 + "or(" + ",".join(["id=a"] * 4000) + ")" + ")" * 24)
@example("in(id,(" + ",".join(["a"] * 4900) + "))")
@example("offset=99999999999999999999")
@example("eq(revision,'99999999999999999999')")
@example("eq(timestamp,'0001-01-01T00:00:00+14:00')")
def test_any_text(query: str) -> None:
    """For any text the answer is a page or a 400 with the platform's body; never anything else."""
    try:
        answer = ANY.page(RECORDS, parse_query(query), READER)
    except Problem as problem:
        answer = body_of(problem)
    assert set(answer) == {"data", "$meta"} or (answer["status"] == 400 and answer["errors"])
    json.dumps(answer)


ANY = Reader(Store(), scoped=False)


def test_values_are_bound() -> None:
    """No value of a query becomes part of the SQL."""
    store = create_app().state.service.store
    seen: list[str] = []
    store.db.set_trace_callback(seen.append)
    reader = Reader(store, scoped=False)
    selection = parse_query("eq(summary,\"x' OR 1=1 --\")&in(id,('q1','q2'))&like(event,'q3*')")
    reader.page(RECORDS, selection, READER)
    statement = reader.statement(RECORDS, selection, _everything(), READER)
    assert not any(value in statement.where for value in ("OR 1=1", "q1", "q3"))
    assert statement.values == ["x' OR 1=1 --", "q1", "q2", "q3*"]


def _everything() -> Any:
    from auditbox.emulator.query import Selection

    return Selection.of("*")
