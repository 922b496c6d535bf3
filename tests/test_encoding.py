"""Any value becomes JSON, whatever it is, and fits where it must."""

from __future__ import annotations

import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import gc
import hashlib
import ipaddress
import itertools
import json
import numbers
import pathlib
import signal
import threading
import types
import uuid
import weakref
from typing import Any
from unittest import mock

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditbox.encoding import Json, cut, plain, raw_encoder, to_json
from auditbox.redaction import Redaction


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Tag(enum.StrEnum):
    NEW = "new"


class Text(str):
    """A text that lies about itself."""

    def __str__(self) -> str:
        return "lie"


@dataclasses.dataclass
class Order:
    id: str
    placed: datetime.date
    line: Any = None


class Point(collections.namedtuple("Point", "x y")):
    """A named tuple."""


class Buyer(pydantic.BaseModel):
    name: str
    password: pydantic.SecretStr = pydantic.SecretStr("hunter2")
    hidden: str = pydantic.Field("hidden", exclude=True)


class Attrs:
    """Looks like a class that attrs made."""

    __attrs_attrs__ = (types.SimpleNamespace(name="a"), types.SimpleNamespace(name="gone"))

    def __init__(self) -> None:
        self.a = 1


class Struct:
    """Looks like a msgspec struct."""

    __struct_fields__ = ("b",)
    b = 2


class NoRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Shouting:
    def __repr__(self) -> str:
        return "x" * 5000


class Overriding(dict[str, int]):
    def keys(self) -> Any:
        raise ValueError

    def __iter__(self) -> Any:
        raise ValueError


class Failing(collections.UserDict[str, int]):
    def __getitem__(self, key: str) -> int:
        raise ValueError(key)


class Endless(list[int]):
    def __iter__(self) -> Any:
        return itertools.count()


class Hostile(type):
    def __getattribute__(cls, name: str) -> Any:
        raise ValueError(name)


class HostileKey:
    def __init__(self) -> None:
        self.hashed = 0

    def __hash__(self) -> int:
        self.hashed += 1
        if self.hashed > 1:
            raise ValueError
        return 1


class Unsayable(Exception):
    def __str__(self) -> str:
        raise ValueError


def caused() -> Exception:
    """An exception with a cause and with a local variable that must not be shown."""
    try:
        password = "hunter2"
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as error:
        assert password
        return error


UTC = datetime.UTC

CONVERTED = [
    (datetime.datetime(2026, 3, 1, 10, 15, 30, 123, tzinfo=UTC), "2026-03-01T10:15:30.000123+00:00"),
    (datetime.datetime(2026, 3, 1), "2026-03-01T00:00:00"),
    (datetime.date(2026, 3, 1), "2026-03-01"),
    (datetime.time(1, 2, 3), "01:02:03"),
    (datetime.timedelta(days=1, seconds=5, milliseconds=250), "P1DT5.25S"),
    (datetime.timedelta(seconds=-90), "-P0DT90S"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (decimal.Decimal("1.10"), "1.10"),
    (decimal.Decimal("NaN"), "NaN"),
    (fractions.Fraction(1, 3), "1/3"),
    (1 + 2j, "1+2j"),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (Tag.NEW, "new"),
    (Text("truth"), "truth"),
    (pathlib.PurePosixPath("/a/b"), "/a/b"),
    (ipaddress.ip_address("192.0.2.1"), "192.0.2.1"),
    (b"caf\xc3\xa9", "café"),
    (bytearray(b"a"), "a"),
    (memoryview(b"abc")[::2], "ac"),
    (b"\xff\x00", "[base64] /wA="),
    (float("nan"), "NaN"),
    (float("inf"), "Infinity"),
    (float("-inf"), "-Infinity"),
    (2**64 - 1, 2**64 - 1),
    (2**64, "18446744073709551616"),
    (-(2**63) - 1, "-9223372036854775809"),
    (True, True),
    ((1, (2,)), [1, [2]]),
    ({7}, [7]),
    (frozenset(), []),
    (collections.deque([1]), [1]),
    ({"a": 1}.keys(), ["a"]),
    ({"a": 1}.values(), [1]),
    ({"a": 1}.items(), [["a", 1]]),
    (types.MappingProxyType({"a": {1}}), {"a": [1]}),
    (collections.OrderedDict(a=1), {"a": 1}),
    (collections.UserDict(a=1), {"a": 1}),
    (collections.ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
    (Overriding(a=1), {"a": 1}),
    (Order("ORD-1", datetime.date(2026, 3, 1)), {"id": "ORD-1", "placed": "2026-03-01", "line": None}),
    (Point(1, {2}), {"x": 1, "y": [2]}),
    (Buyer(name="Ann"), {"name": "Ann", "password": "**********"}),
    (pydantic.RootModel[int](5), [5]),
    (pydantic.SecretStr("hunter2"), "**********"),
    (Attrs(), {"a": 1, "gone": "[unreadable]"}),
    (Struct(), {"b": 2}),
    (
        caused(),
        {"type": "ValueError", "message": "outer", "cause": {"type": "KeyError", "message": "'inner'"}},
    ),
    (
        ExceptionGroup("both", [ValueError("a")]),
        {
            "type": "ExceptionGroup",
            "message": "both (1 sub-exception)",
            "exceptions": [{"type": "ValueError", "message": "a"}],
        },
    ),
    (Unsayable(), {"type": f"{__name__}.Unsayable", "message": "[unreadable]"}),
    (int, "[repr] <class 'int'>"),
    (range(10**12), "[repr] range(0, 1000000000000)"),
    (NoRepr(), f"[unreadable] {__name__}.NoRepr"),
    (Failing(a=1), f"[unreadable] {__name__}.Failing"),
    (Hostile("Evil", (), {})(), "[unreadable] object"),
]


@pytest.mark.parametrize(("value", "expected"), CONVERTED, ids=[repr(type(value)) for value, _ in CONVERTED])
def test_each_type_has_its_form(value: object, expected: Json) -> None:
    """A value that JSON does not know is converted as documented, at the root and inside a container."""
    assert plain(value) == expected
    assert plain([{"v": value}]) == [{"v": expected}]
    assert type(plain(value)) is type(expected)


def test_numbers_of_other_libraries_are_numbers() -> None:
    """Whatever registers as a number is converted to Python's own."""

    class Whole:
        def __int__(self) -> int:
            return 41

    class Broken:
        def __float__(self) -> float:
            return 0.5

    numbers.Integral.register(Whole)
    numbers.Real.register(Broken)
    assert plain([Whole(), Broken()]) == [41, 0.5]


def test_an_iterator_is_not_consumed() -> None:
    """A generator in a document still has all its items afterwards."""
    generator = (number for number in range(3))
    assert str(plain({"g": generator})["g"]).startswith("[repr] <generator object")  # type: ignore[index,call-overload]
    assert list(generator) == [0, 1, 2]


def test_a_mock_cannot_pretend() -> None:
    """An object that claims another class is shown as what it is."""
    for impostor in (mock.Mock(spec=dict), mock.Mock(spec=datetime.datetime), mock.MagicMock()):
        assert str(plain(impostor)).startswith("[repr] <")


def test_a_long_repr_is_bounded() -> None:
    """The repr of a foreign object cannot fill the record."""
    assert len(str(plain(Shouting()))) < 1020


def test_keys_become_texts_and_never_collide() -> None:
    """Keys of any type are told apart even where their texts are equal."""
    members = {
        1: "int",
        "1": "str",
        None: "none",
        False: "bool",
        1.5: "float",
        (1, "a"): "tuple",
        Colour.RED: "enum",
        b"red": "bytes",
        frozenset([1]): "set",
    }
    assert plain(members) == {
        "1": "int",
        "1 [2]": "str",
        "None": "none",
        "false": "bool",
        "1.5": "float",
        "1,a": "tuple",
        "red": "enum",
        "red [8]": "bytes",
        "[1]": "set",
    }


def test_a_structure_that_holds_itself_ends() -> None:
    """Recursion is marked where it closes; what merely occurs twice is written twice."""
    ring: list[Any] = [1]
    ring.append({"again": ring})
    assert plain(ring) == [1, {"again": "[recursion]"}]
    order = Order("ORD-1", datetime.date(2026, 3, 1))
    order.line = {"order": order}
    assert plain(order)["line"] == {"order": "[recursion]"}  # type: ignore[index,call-overload]
    shared = {"a": 1}
    assert plain([shared, shared]) == [{"a": 1}, {"a": 1}]


def test_objects_that_all_hold_each_other_end_soon() -> None:
    """A fully connected graph has more paths than anyone can wait for: the number of values is bounded."""

    @dataclasses.dataclass
    class Node:
        others: list[Any]

    nodes = [Node([]) for _ in range(12)]
    for node in nodes:
        node.others.extend(nodes.copy())
    assert b"[too large]" in to_json(plain(nodes))


def test_depth_is_bounded_and_the_mark_shows_no_content() -> None:
    """What lies too deep is marked by its type: its content was never checked for secrets."""
    deep: Any = {"password": "hunter2"}
    for _ in range(5000):
        deep = [deep]
    body = to_json(plain(deep))
    assert b"[too deep] list" in body
    assert b"hunter2" not in body


def test_an_endless_iterable_ends() -> None:
    """A list whose iterator never ends is cut off and marked."""
    result = plain(Endless())
    assert isinstance(result, list)
    assert result[-1] == "[too large]"


def test_a_key_that_fails_when_hashed_again_is_survived() -> None:
    """A dictionary whose key breaks afterwards is still encoded."""
    assert isinstance(plain({HostileKey(): 1}), dict)


def test_a_dict_that_another_thread_changes_is_never_lost() -> None:
    """Whatever a thread does to a mapping meanwhile, its record is encoded."""
    changed: dict[str, int] = {}
    user = collections.UserDict(changed)
    user.data = changed
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            for number in range(50):
                changed[str(number)] = number
            changed.clear()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            assert isinstance(plain({"d": changed, "s": changed.keys()}), dict)
            assert isinstance(plain(user), dict | str)
    finally:
        stop.set()
        thread.join()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=6)
    | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner, max_size=6),
    max_leaves=30,
)  # fmt: skip
ANYTHING = st.recursive(
    st.one_of(
        PLAIN, st.text(), st.binary(), st.integers(), st.floats(), st.complex_numbers(), st.decimals(),
        st.fractions(), st.datetimes(), st.timedeltas(), st.uuids(), st.builds(object), st.builds(NoRepr),
        st.just(int), st.builds(ValueError, st.text()), st.sampled_from(Colour), st.functions(),
    ),
    lambda inner: st.lists(inner, max_size=4)
    | st.tuples(inner, inner)
    | st.builds(collections.deque, st.lists(inner, max_size=3))
    | st.builds(Order, st.text(), st.dates(), inner)
    | st.dictionaries(st.text() | st.integers() | st.none() | st.booleans() | st.binary(), inner, max_size=4)
    | st.builds(ValueError, inner),
    max_leaves=20,
)  # fmt: skip


@given(PLAIN)
def test_plain_json_stays_what_it_is(value: Json) -> None:
    """Plain JSON passes unchanged, into new containers, and comes back from its bytes."""
    converted = plain(value)
    assert converted == value
    assert json.loads(to_json(value)) == value
    if isinstance(value, (list, dict)):
        assert converted is not value


@given(ANYTHING)
def test_anything_can_be_encoded(value: object) -> None:
    """Whatever the value is, its JSON is valid UTF-8 that a strict parser reads."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(to_json(plain(value)).decode("utf-8"), parse_constant=refuse)


def test_a_lone_surrogate_does_not_lose_the_record() -> None:
    """Half a character, in a value or a key, becomes its escape as text; the rest stays."""
    body = to_json({"file\udcff": "a\ud800b", "é": "ü"})
    assert json.loads(body.decode()) == {"file\\udcff": "a\\ud800b", "é": "ü"}


def test_to_json_never_raises() -> None:
    """Even what is no plain JSON is encoded."""
    deep: Any = []
    for _ in range(1000):
        deep = [deep]
    for value in (float("nan"), {"n": float("inf")}, deep, object(), {"k": NoRepr()}, "\ud800"):
        json.loads(to_json(value))  # type: ignore[arg-type]


def test_the_raw_encoder_raises_for_what_is_not_json() -> None:
    """The fast way says so when it cannot."""
    with pytest.raises(ValueError, match="unknown type"):
        raw_encoder()(object())


def test_large_documents_fit_their_room() -> None:
    """Small values stay whole, large ones are shortened and say by how much."""
    text = "x" * 10_000
    documents: dict[str, Json] = {
        "order": {"id": "ORD-1", "total": 5},
        "log": text,
        "rows": list(range(5000)),
    }
    shorter = cut(documents, 2000)
    assert len(to_json(shorter)) <= 2000
    assert shorter["order"] == documents["order"]
    kept = str(shorter["log"]).split("…")[0]
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert shorter["log"] == f"{kept}…[cut {len(text) - len(kept)} bytes, sha256 {digest}]"
    rows = shorter["rows"]
    assert isinstance(rows, list)
    assert rows[:-1] == list(range(len(rows) - 1))
    assert rows[-1] == f"[cut] {5000 - len(rows) + 1} more"
    assert len(to_json(shorter)) > 1800, "the room is used"


def test_what_fits_is_returned_as_it_is() -> None:
    """Nothing is touched where there is room."""
    documents: dict[str, Json] = {"a": [1, {"b": None}]}
    assert cut(documents, len(to_json(documents))) is documents


def test_an_object_without_room_is_replaced_by_its_size_and_hash() -> None:
    """One can still prove what had been there."""
    big: Json = {"k": ["é" * 50] * 50}
    documents: dict[str, Json] = {"big": big, "text": "y" * 60}
    assert cut({"all": documents}, 50) == {"[cut]": f"{len(to_json({'all': documents}))} bytes"}
    assert cut({"all": documents, "id": 1}, 90) == {
        "all": {"[cut]": f"{len(to_json(documents))} bytes"},
        "id": 1,
    }
    assert cut({"big": 10**60, "b": "y" * 500}, 90)["big"] == {"[cut]": "61 bytes"}
    assert cut({str(number): 10**20 for number in range(9)}, 120)["0"] == "[cut]"
    wide: Json = {"k" * 300: 1}
    digest = hashlib.sha256(to_json(wide)).hexdigest()
    assert cut({"a": wide, "b": 1}, 250)["a"] == {"[cut]": f"{len(to_json(wide))} bytes, sha256 {digest}"}


def test_wide_and_deep_documents_are_cut_quickly() -> None:
    """A million keys, 10 MB of text and a thousand levels end, and fit."""
    deep: Json = "z" * 1_000_000
    for _ in range(1000):
        deep = [deep]
    wide: Json = {f"key {number}": number for number in range(100_000)}
    documents: dict[str, Json] = {"text": "\u00e9\n" * 3_000_000, "wide": wide, "deep": deep, "k" * 10**6: 1}
    assert 9_000 < len(to_json(cut(documents, 10_000))) <= 10_000


def test_a_cut_text_is_never_broken_inside_a_character() -> None:
    """Escapes and characters of several bytes count as what they take on the wire."""
    for text in ("é" * 100, "\n" * 100, "\ud800" * 100, "😀" * 100, '"' * 100):
        for room in range(20, 130):
            body = to_json(cut({"t": text}, room))
            assert len(body) <= max(room, 2)
            json.loads(body.decode())


def test_numbers_that_grow_with_the_other_encoder_still_fit() -> None:
    """A lone surrogate changes the encoder, and with it how small floats are written."""
    documents: dict[str, Json] = {"n": [1e-7] * 200, "t": "\ud800" * 50}
    for room in range(300, 1000, 7):
        shorter = cut(documents, room)
        assert room - 60 < len(to_json(shorter)) <= room


@given(st.dictionaries(st.text(), PLAIN, max_size=8), st.integers(-5, 400))
def test_every_room_is_kept(documents: dict[str, Json], room: int) -> None:
    """The result is valid and fits; only the empty object, two bytes, may be more than what was asked for."""
    shorter = cut(documents, room)
    body = to_json(shorter)
    assert isinstance(shorter, dict)
    assert len(body) <= max(room, 2)
    assert json.loads(body) == json.loads(to_json(shorter))


def test_a_value_is_not_kept_alive() -> None:
    """Nothing that was converted is held on to."""

    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)
    plain({"big": big})
    del big
    gc.collect()
    assert gone() is None


def test_base64_gives_back_the_bytes() -> None:
    """Bytes that are no text survive whole."""
    octets = bytes(range(256))
    assert base64.b64decode(str(plain(octets)).removeprefix("[base64] ")) == octets


class TimeLimit(Exception):
    """What a soft time limit raises."""


class Interrupted:
    """A value whose own code is interrupted by a signal."""

    def __init__(self, handled: bool) -> None:
        self.handled = handled

    def __repr__(self) -> str:
        if self.handled:
            signal.raise_signal(signal.SIGUSR1)
        raise TimeLimit


class Limit:
    """A handler of each kind that there may be."""

    def method(self, *_: object) -> None:
        raise TimeLimit

    def __call__(self, *_: object) -> None:
        raise TimeLimit


HANDLERS = {
    "function": lambda *_: Limit().method(),
    "method": Limit().method,
    "partial": functools.partial(Limit().method, 1),
    "object": Limit(),
}


@pytest.mark.parametrize("kind", HANDLERS)
@pytest.mark.parametrize("encode", [plain, to_json, Redaction().encode, Redaction().clean])
def test_what_a_signal_handler_raises_is_not_taken_for_the_values_own(encode: Any, kind: str) -> None:
    """A time limit that falls while a value is read reaches whoever set it; the value's own does not."""
    before = signal.signal(signal.SIGUSR1, HANDLERS[kind])
    try:
        for value in (Interrupted(True), {"deep": [Interrupted(True)]}):
            with pytest.raises(TimeLimit):
                encode(value)
        encode({"deep": [Interrupted(False)]})
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_time_limit_that_falls_anywhere_while_a_record_is_encoded_is_raised() -> None:
    """Two hundred of them, at any instruction of the fast way."""
    fell = 0

    def limit(*_: object) -> None:
        nonlocal fell
        fell += 1
        raise TimeLimit

    redaction, raised = Redaction(), 0
    value = {"order": {"id": "ORD-1", "lines": [{"n": n, "none": None, "x": 1.5} for n in range(20)]}}
    before = signal.signal(signal.SIGALRM, limit)
    gc.disable()  # Python ignores what is raised in a collector's callback
    try:
        for number in range(200):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + number * 1e-6)
                while fell == number:
                    redaction.encode(value)
            except TimeLimit:
                raised += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.enable()
        signal.signal(signal.SIGALRM, before)
    assert raised == fell == 200
