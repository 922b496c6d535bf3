"""Secrets leave before the disk, whatever holds them, and nothing else does."""

from __future__ import annotations

import base64
import collections
import dataclasses
import datetime
import enum
import json
import pickle
import re
import threading
import uuid
from typing import Any

import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from auditbox.encoding import Json, plain, to_json
from auditbox.errors import ConfigurationError
from auditbox.redaction import Redaction
from auditbox.redaction.names import NAMES, WORDS
from auditbox.redaction.prefilter import LITERALS

MASK = "[redacted]"
SECRET = "5ecr3tV4lue"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n5ecr3tV4lue\n-----END RSA PRIVATE KEY-----"
BASIC = base64.b64encode(f"ann:{SECRET}".encode()).decode()

SENSITIVE = """
    password Password PASSWORD passwd pwd passphrase passcode secret token authorization cookie credential
    credentials db_password userPassword dbpassword new-password oldPassword passwordHash
    password_confirmation password2 pwd_1 githubToken accessToken access_token ACCESS-TOKEN refreshToken
    idToken csrfToken tokens access_tokens tokenValue clientSecret client_secret aws_secret_access_key
    secrets SecretString Set-Cookie cookies Proxy-Authorization X-Api-Key apiKey APIKey apikey api_keys
    access_key private-key privateKey signing_key encryptionKey accountKey sessionId session_id JSESSIONID
    PHPSESSID sess-id jwt connectionString auth basic_auth httpAuth HTTPAuth x-auth otp user_otp cvv cvc pin
    userPin user_pass pass bearer authBearer csrf X-CSRF _csrf xsrf
""".split()  # noqa: SIM905
HARMLESS = """
    tokenCount tokenExpiresAt total_tokens maxTokens token_type tokenId passwordChangedAt passwordPolicy
    password_at secretary secretName author authorId authored cookieConsent key keys keyboard accessKeyId
    compass bypass spin shipping inside passenger passport credentialId sessionCount session author_id
    oauth_provider id name pinned bearerShares csrfEnabled
""".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def redaction() -> Redaction:
    """What an application has that configures nothing."""
    return Redaction()


@pytest.mark.parametrize("key", SENSITIVE)
def test_a_sensitive_key_masks_all_that_it_holds(redaction: Redaction, key: str) -> None:
    """Whatever stands under a sensitive key is gone, by both ways to the bytes."""
    for value in (SECRET, 123456, 1.5, [SECRET], {"a": {"b": SECRET}}, (SECRET,), SECRET.encode(), "", 0):
        assert redaction.clean({"a": [{key: value}]}) == {"a": [{key: MASK}]}
        assert redaction.encode({"a": [{key: value}]}) == to_json({"a": [{key: MASK}]})


@pytest.mark.parametrize("key", HARMLESS)
def test_a_key_that_only_looks_sensitive_is_kept(redaction: Redaction, key: str) -> None:
    """Counts, dates, names and ordinary words are not secrets."""
    assert redaction.clean({key: "some value"}) == {key: "some value"}
    assert redaction.encode({key: "some value"}) == to_json({key: "some value"})


def test_nothing_true_and_false_stay_under_a_sensitive_key(redaction: Redaction) -> None:
    """Whether there is a password is worth knowing and no secret."""
    flags = {"hasPassword": True, "isSecret": False, "token": None, "pin": None}
    assert redaction.clean(flags) == flags
    assert redaction.encode(flags) == to_json(flags)


@pytest.mark.parametrize("key", ["authorization", "token", "apiToken"])
def test_platform_objects_named_like_secrets_are_kept(redaction: Redaction, key: str) -> None:
    """An order's Authorization is a business object: it stays, and what is secret inside it goes."""
    document = {key: {"id": "AUT-1234-5678", "name": "EU", "token": SECRET, "n": {"password": SECRET}}}
    expected = {key: {"id": "AUT-1234-5678", "name": "EU", "token": MASK, "n": {"password": MASK}}}
    assert redaction.clean(document) == expected
    assert redaction.encode(document) == to_json(expected)  # type: ignore[arg-type]
    harmless = {key: {"id": "TKN-1234-5678", "name": "EU"}}
    assert redaction.clean(harmless) == harmless
    assert redaction.encode(harmless) == to_json(harmless)  # type: ignore[arg-type]
    for other in (
        {"id": "ORD-1234-5678"},
        {"id": "AUT-1234-5678x"},
        {"id": SECRET},
        {"id": ["AUT-1234-5678"]},
    ):
        assert redaction.clean({key: other}) == {key: MASK}
        assert redaction.encode({key: other}) == to_json({key: MASK})


TEXTS = [
    (f"Authorization: Bearer {SECRET}", f"Authorization: {MASK}"),
    (f"sent Bearer {SECRET}, then", f"sent Bearer {MASK}, then"),
    (f"bearer\t{SECRET}", f"bearer\t{MASK}"),
    ("The Bearer token expired.", "The Bearer token expired."),
    ("bearer of bad news", "bearer of bad news"),
    ("Bearer token-5ecr3tV4lue", f"Bearer {MASK}"),
    (f"Basic {BASIC}", f"Basic {MASK}"),
    (f"basic {BASIC.rstrip('=')}!", f"basic {MASK}!"),
    ("a Basic subscription", "a Basic subscription"),
    (f"idt:TKN-1234-5678:{SECRET}", f"idt:TKN-1234-5678:{MASK}"),
    (f"with idt:EXT-1234-5678:{SECRET} now", f"with idt:EXT-1234-5678:{MASK} now"),
    (f"jwt is {JWT}.", f"jwt is {MASK}"),
    (f"x_{JWT}", f"x_{MASK}"),
    ("see eyJust.png", "see eyJust.png"),
    (f"https://ann:{SECRET}@example.com/x?y=z", f"https://ann:{MASK}@example.com/x?y=z"),
    (f"redis://:{SECRET}@cache/0", f"redis://:{MASK}@cache/0"),
    (f"postgres://u:p@{SECRET}@db", f"postgres://u:{MASK}@db"),
    (f"https://{SECRET * 3}@example.com", f"https://{MASK}@example.com"),
    (
        "https://example.com:8080/@ann and ann@example.com",
        "https://example.com:8080/@ann and ann@example.com",
    ),
    ("ssh://git@example.com", "ssh://git@example.com"),
    (f"/callback?code=1&access_token={SECRET}&x=1", f"/callback?code=1&access_token={MASK}&x=1"),
    (f"Server=db;Password={SECRET};", f"Server=db;Password={MASK}"),
    (f"login failed: password: {SECRET}", f"login failed: password: {MASK}"),
    (f"db-password = {SECRET}\nnext", f"db-password = {MASK}\nnext"),
    (f'{{"user": "ann", "password": "{SECRET}"}}', f'{{"user": "ann", "password": "{MASK}"}}'),
    (f'{{"password":"a\\"{SECRET}","b":1}}', f'{{"password":"{MASK}","b":1}}'),
    (f"{{'apiKey': '{SECRET} {SECRET}', 'b': 1}}", f"{{'apiKey': '{MASK}', 'b': 1}}"),
    (f"User(name='ann', password='{SECRET}')", f"User(name='ann', password='{MASK}')"),
    (f"User(token=SecretStr('{SECRET}'), n=1)", f"User(token={MASK}, n=1)"),
    (f"secret=b'{SECRET}'", f"secret=b'{MASK}'"),
    (f"secrets: ['{SECRET}', '{SECRET}'].", f"secrets: {MASK}."),
    (f"secrets: ('a)', [1, ({SECRET})]), b", f"secrets: {MASK}, b"),
    (f"token=deque([{{'a': '{SECRET}'}}]), n=1", f"token={MASK}, n=1"),
    (f"password=a{{b}}{SECRET} c", f"password={MASK} c"),
    (f"token=f({SECRET}", f"token={MASK}"),
    ("password= & token:", "password= & token:"),
    (f"credentials={{'a': '{SECRET}'}}.", f"credentials={MASK}."),
    (json.dumps({"body": json.dumps({"pwd": SECRET})}), json.dumps({"body": json.dumps({"pwd": MASK})})),
    (f"password='{SECRET} never closed", f"password='{MASK}"),
    (f"user_pass={SECRET} {{'userPin': {SECRET}}}", f"user_pass={MASK} {{'userPin': {MASK}"),
    (
        "pass: 5, fail: 2; auth: failed; bypass=yes; spin=1",
        "pass: 5, fail: 2; auth: failed; bypass=yes; spin=1",
    ),
    (f"Cookie: a=b; sid={SECRET}\r\nHost: x", f"Cookie: {MASK}\r\nHost: x"),
    (f"x-api-key: {SECRET}", f"x-api-key: {MASK}"),
    (f"password=none-{SECRET}", f"password={MASK}"),
    ("password: null, token=None; secret: true", "password: null, token=None; secret: true"),
    ("authorization: AUT-1234-5678 of EU", "authorization: AUT-1234-5678 of EU"),
    ("The password was changed; 5 tokens: fine", "The password was changed; 5 tokens: fine"),
    ("secretary: Ann, tokenCount=5", "secretary: Ann, tokenCount=5"),
    (f"key:\n{PEM}\nend", f"key:\n{MASK}\nend"),
    (PEM[:50], MASK),
    (f"😀 password={SECRET}\udcff é", f"😀 password={MASK} é"),
    ("{{order.id}} approved by {{auditbox.actor.id}}", "{{order.id}} approved by {{auditbox.actor.id}}"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_secrets_inside_texts_are_masked(redaction: Redaction, text: str, expected: str) -> None:
    """A secret in a text goes and its surroundings stay: alone, as a value, in a key, and encoded at once."""
    assert redaction.text(text) == expected
    assert redaction.clean({"a": ["b", text]}) == {"a": ["b", expected]}
    assert redaction.clean({text: 1}) == {expected: 1}
    assert redaction.encode({"a": ["b", text]}) == to_json({"a": ["b", expected]})
    assert redaction.encode({text: 1}) == to_json({expected: 1})
    assert redaction.text(expected) == expected, "a masked text stays as it is"


def test_the_message_of_an_exception_is_masked(redaction: Redaction) -> None:
    """Exceptions carry what was being done, secrets included."""
    with pytest.raises(ValueError) as caught:
        raise ValueError(f"cannot connect to https://ann:{SECRET}@db/") from KeyError(f"token={SECRET}")
    assert SECRET.encode() not in redaction.encode({"error": caught.value})


def test_two_keys_that_mask_to_the_same_text_both_stay(redaction: Redaction) -> None:
    """Masking a key must not lose a value."""
    cleaned = redaction.clean({f"Bearer {SECRET}": 1, f"Bearer {SECRET}2": 2, "Bearer [redacted]": 3})
    assert isinstance(cleaned, dict)
    assert sorted(cleaned.values()) == [1, 2, 3]  # type: ignore[type-var]
    assert SECRET not in str(cleaned)


def test_colliding_keys_and_huge_integers_survive_the_fast_way(redaction: Redaction) -> None:
    """What pydantic-core would write twice or larger than 64 bits is written as clean() has it."""
    for value in ({1: "a", "1": "b"}, {None: 1, "None": 2}, {True: 1, "true": 2}, {1.5: 1, "1.5": 2}):
        assert sorted(json.loads(redaction.encode({"d": value}))["d"].values()) == sorted(value.values())
    assert redaction.encode([2**64, 2**64 - 1]) == b'["18446744073709551616",18446744073709551615]'
    assert (
        redaction.encode({"id": "AUD-0123-4567-8901-2345-6789"}) == b'{"id":"AUD-0123-4567-8901-2345-6789"}'
    )


def test_generators_are_not_consumed(redaction: Redaction) -> None:
    """Looking for secrets leaves an iterator as it was."""
    generator = iter([1, 2])
    redaction.encode({"g": generator})
    redaction.clean({"g": generator})
    assert list(generator) == [1, 2]


@dataclasses.dataclass
class Login:
    user: str
    password: Any


class Model(pydantic.BaseModel):
    apiKey: Any
    note: str = "n"


class Named(collections.namedtuple("Named", "a token")):
    """A named tuple with a sensitive field."""


WRAPS: list[Any] = [
    lambda inner: [inner],
    lambda inner: (1, inner),
    lambda inner: {"a": inner},
    lambda inner: {"a": 1, 5: inner},
    lambda inner: collections.deque([inner]),
    lambda inner: collections.OrderedDict(a=inner),
    lambda inner: collections.UserDict(a=inner),
    lambda inner: Login("ann", inner),
    lambda inner: Login(inner, None),
    lambda inner: Model(apiKey=inner),
    lambda inner: Named(inner, inner),
    ValueError,
    lambda inner: {"password": inner},
    lambda inner: {"x": inner, "y": datetime.date(2026, 1, 1)},
]
PLANTED: list[Any] = [
    *({key: SECRET} for key in ("password", "X-Api-Key", "githubToken", "user_pass")),
    {"credentials": {"deep": [{"er": SECRET}]}},
    {"secret": SECRET.encode()},
    {"token": Login(SECRET, 1)},
    {"authorization": {"id": SECRET}},
    {"authorization": {"id": "AUT-1234-5678", "secret": SECRET}},
    Login("ann", SECRET),
    Login("ann", {SECRET}),
    Model(apiKey=SECRET),
    Named(1, SECRET),
    pydantic.SecretStr(SECRET),
    f"Bearer {SECRET}",
    f"Bearer {SECRET}".encode(),
    f"https://ann:{SECRET}@example.com",
    f"idt:TKN-1234-5678:{SECRET}",
    f"password={SECRET}",
    ValueError(f"token={SECRET}"),
    {f"Bearer {SECRET}": 1},
    {f"password={SECRET}".encode(): 1},
    PEM,
]


@given(st.sampled_from(PLANTED), st.lists(st.sampled_from(WRAPS), max_size=8), st.booleans())
def test_a_planted_secret_never_comes_out(secret: Any, wraps: list[Any], ascii_only: bool) -> None:
    """In any container, at any depth, in any foreign type: the bytes do not hold it."""
    redaction = Redaction()
    value = secret
    for wrap in wraps:
        value = wrap(value)
    value = {"value": value, "note": "n" if ascii_only else "é\ud800"}
    assert SECRET.encode() not in to_json(redaction.clean(value))
    assert SECRET.encode() not in redaction.encode(value)


UNICODE = st.text(st.characters(exclude_categories=("Cs",)))
FRAGMENTS = st.sampled_from(
    """password Bearer bearer Basic idt: eyJ token Token api key ApiKey secret authorization cookie auth pin
    22 true null AUT-1234-5678 id hash value session_id -----BEGIN abcdefgh SecretStr( b' None none nationalId
    größe a.b :// // "id":" we"ird ----- PRIVATE""".split()  # noqa: SIM905
) | st.sampled_from("_-:=\"'\\{}[](),&;/@.+ \t\n10")
TRICKY = st.lists(FRAGMENTS | UNICODE, max_size=10).map("".join)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TRICKY | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(TRICKY | st.sampled_from(SENSITIVE), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
@example({"authorization": {"id": "AUT12345678", "x": 1}})
@example({"authorization": {"id": "AUT-1234-5678"}, "b": '"authorization":{"id":"AUT-1234-5678"}'})
@example({"a": "password\t: x"})
@example({"a": 'password" : x'})
@example({"a": {"tokens": 5}})
@example(["token", ": x"])
def test_the_fast_way_and_the_thorough_way_agree(value: Any) -> None:
    """encode() is the JSON of clean(), whether or not it looked at every value."""
    for redaction in (DEFAULT, OWN):
        assert redaction.encode(value) == to_json(redaction.clean(value))


DEFAULT = Redaction()
OWN = Redaction(keys=("nationalId", "id 2", 'we"ird', "größe", "a.b", "+"), safe_keys=("token",), mask="***")


@given(TRICKY)
def test_what_a_rule_masks_the_prefilter_suspects(text: str) -> None:
    """The quick look never overlooks what the rules would find."""
    masked = text
    for rule in DEFAULT._rules:
        masked = rule(masked)
    assert DEFAULT.text(text) == masked


@pytest.mark.parametrize("name", [*NAMES, *WORDS])
def test_every_sensitive_name_has_a_literal(name: str) -> None:
    """The first of the quick looks knows every name."""
    key = name.replace(" ", "") + '":'
    assert name in WORDS or any(literal in key for literal in LITERALS)
    assert DEFAULT.encode({f"a_{name.replace(' ', '_')}": SECRET}).count(MASK.encode()) == 1


ORDINARY_TEXT = UNICODE.filter(lambda text: DEFAULT.text(text) == text)
ORDINARY_KEY = ORDINARY_TEXT.filter(lambda key: DEFAULT.clean({key: 0}) == {key: 0})
ORDINARY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False) | ORDINARY_TEXT,
    lambda inner: st.lists(inner, max_size=5)
    | st.dictionaries(st.sampled_from(HARMLESS) | ORDINARY_KEY, inner, max_size=5),
    max_leaves=25,
)  # fmt: skip


def containers(value: Any) -> list[int]:
    """The identities of all containers in the value."""
    if isinstance(value, dict):
        return [id(value), *(one for member in value.values() for one in containers(member))]
    if isinstance(value, list):
        return [id(value), *(one for item in value for one in containers(item))]
    return []


@given(ORDINARY)
def test_what_holds_no_secret_stays_what_it_is(value: Json) -> None:
    """Plain JSON comes out equal, in containers of its own."""
    cleaned = DEFAULT.clean(value)
    assert cleaned == value
    assert DEFAULT.encode(value) == to_json(value)
    assert not set(containers(value)) & set(containers(cleaned))


def test_the_input_is_not_changed(redaction: Redaction) -> None:
    """Masking happens in a copy."""
    document = {"password": SECRET, "list": [f"Bearer {SECRET}", {"when": datetime.date(2026, 1, 1)}]}
    before = repr(document)
    redaction.clean(document)
    redaction.encode(document)
    assert repr(document) == before


class Breaking:
    """Raises wherever it can."""

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        return 7


class Once(str):
    """A key that can be hashed but once."""

    hashed = False

    def __hash__(self) -> int:
        if self.hashed:
            raise RuntimeError
        self.hashed = True
        return 1


class Kind(enum.Enum):
    TOKEN = "token"


def test_it_never_raises(redaction: Redaction) -> None:
    """Recursion, depth, width, hostile objects and keys: there is always a result that encodes."""
    ring: list[Any] = []
    ring.append({"again": ring, "password": SECRET})
    deep: Any = {"password": SECRET}
    for _ in range(3000):
        deep = [deep]
    hostile = [
        ring,
        deep,
        Breaking(),
        {Breaking(): 1},
        {Once("k"): SECRET * 0},
        {Kind.TOKEN: SECRET},
        "\ud800",
    ]
    for value in (
        *hostile,
        [*hostile],
        {"wide": [{} for _ in range(50_000)]},
        object(),
        ...,
    ):
        for body in (to_json(redaction.clean(value)), redaction.encode(value)):
            json.loads(body)
            assert SECRET.encode() not in body
    assert redaction.text(object()).startswith("[repr]")  # type: ignore[arg-type]


def test_what_refers_to_itself_on_many_levels_is_cut_off(redaction: Redaction) -> None:
    """Two to the power of sixty references end soon."""
    for double in (
        lambda inner: [inner, inner],
        lambda inner: {"a": inner, "b": inner},
        lambda inner: (inner, inner),
    ):
        shared: Any = ["x"]
        for _ in range(60):
            shared = double(shared)
        assert b"[too large]" in to_json(redaction.clean(shared))


@given(st.from_type(type).flatmap(st.from_type) | st.builds(object))
def test_it_never_raises_for_objects_of_any_type(value: object) -> None:
    """Whatever hypothesis can build is cleaned and encoded."""
    json.loads(DEFAULT.encode({"value": value}))
    to_json(DEFAULT.clean(value))


def test_a_dict_that_another_thread_changes_is_never_lost(redaction: Redaction) -> None:
    """A thread that changes a document meanwhile neither breaks the capture nor smuggles a secret in."""
    document: dict[str, Any] = {}
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            for number in range(30):
                document[f"key{number}"] = [number]
                document["password"] = SECRET
            document.clear()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(500):
            assert SECRET.encode() not in redaction.encode({"d": document, "u": uuid.UUID(int=1)})
            assert SECRET.encode() not in redaction.encode({"d": document})
    finally:
        stop.set()
        thread.join()


ADVERSARIAL = [
    "eyJ" * 30_000, "eyJ-" * 30_000, "a" * 100_000 + "eyJ", "eyJa." * 30_000, "bearer " * 20_000,
    "bearer" + " " * 100_000, "bearer auth" + "a" * 100_000, "Basic " + "A" * 100_000, "password" * 15_000,
    "password" + "hash" * 30_000, "token" + "0" * 100_000, "token0" * 20_000, "secret" + " " * 100_000,
    "secret=" + "\\" * 50_000 + '"' + "\\" * 50_000, "secret=\\\"" * 12_000, "secret='" * 15_000,
    "password=[" * 10_000, "password={" * 10_000, "password=a(" * 10_000, "password=" + "a" * 100_000,
    "https://" * 15_000, "https://" + "a" * 100_000, "https://a:" + "b" * 100_000, "://a:@" * 20_000,
    "https://" + ":" * 100_000, "://" + "@" * 100_000, "idt:" * 25_000, "idt:" + "a" * 100_000,
    "-----BEGIN " * 10_000, "-----BEGIN PRIVATE KEY-----" * 4_000,
    "-----BEGIN PRIVATE KEY-----" + "-----END " * 10_000, "pass=" * 20_000, "pin" + " " * 100_000,
    "cookie:" * 15_000, "authorization: " * 8_000, "4111 " * 20_000, "4" * 100_000, "4111-1111-" * 10_000,
    "password: " + "\n" * 100_000, "authorization: {" + " " * 100_000, 'token="' + "\\" * 100_000,
]  # fmt: skip


@pytest.mark.timeout(30)
@pytest.mark.parametrize("text", ADVERSARIAL, ids=[text[:24] for text in ADVERSARIAL])
def test_no_text_takes_long(text: str) -> None:
    """Work grows with the length of a text, not with its square, which would take many minutes here."""
    redaction = Redaction(cards=True)
    for part in (text, text[1:], text[: len(text) // 2]):
        redaction.text(part)


def test_own_keys_are_whole_words(redaction: Redaction) -> None:
    """A key that the application names is found in any spelling, ending other keys, not inside words."""
    own = Redaction(keys=("nationalId", "ssn", "größe"))
    for key in (
        "nationalId",
        "national_id",
        "NATIONAL-ID",
        "nationalid",
        "buyerNationalId",
        "ssn",
        "userSSN",
        "größe",
    ):
        assert own.clean({key: SECRET}) == {key: MASK}
        assert own.encode({key: SECRET}) == to_json({key: MASK})
        assert redaction.clean({key: SECRET}) == {key: SECRET}
    assert own.text(f"failed for ssn={SECRET}, {{'national_id': '{SECRET}'}}") == (
        f"failed for ssn={MASK} {{'national_id': '{MASK}'}}"
    )
    for key in ("lessn", "internationalId", "nationalIdType"):
        assert own.encode({key: SECRET}) == to_json({key: SECRET})


def test_safe_keys_are_kept() -> None:
    """A key can be exempted in any spelling; what is inside is still looked at."""
    own = Redaction(safe_keys=("page_token",))
    assert own.clean({"pageToken": "abc", "accessToken": SECRET}) == {"pageToken": "abc", "accessToken": MASK}
    assert own.encode({"page-token": {"password": SECRET}}) == to_json({"page-token": {"password": MASK}})


def test_own_patterns_mask_texts_and_keys() -> None:
    """A pattern masks its match, or only its group named secret; anchors mean one value."""
    own = Redaction(patterns=(r"\bCUST-\d+\b", re.compile(r"(?i)iban (?P<secret>\w+)!"), r"^exact$"))
    assert own.text("CUST-12 has IBAN DE99!") == f"{MASK} has IBAN {MASK}!"
    document = {"CUST-1": ["CUST-2", "exact", "not exact", f"Bearer {SECRET}"], "password": 1}
    expected: Json = {MASK: [MASK, MASK, "not exact", f"Bearer {MASK}"], "password": MASK}
    assert own.clean(document) == expected
    assert own.encode(document) == to_json(expected)


@pytest.mark.parametrize(
    "number",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "5500-0000-0000-0004",
        "378282246310005",
        "3782 822463 10005",
    ],
)
def test_card_numbers_are_masked_on_request(redaction: Redaction, number: str) -> None:
    """Digits that pass Luhn's check are card numbers, as texts or integers; ids of the platform are not."""
    cards = Redaction(cards=True)
    assert cards.text(f"paid with {number}.") == f"paid with {MASK}."
    assert redaction.text(f"paid with {number}.") == f"paid with {number}."
    digits = int(re.sub(r"\D", "", number))
    assert cards.clean({"n": [digits, digits + 1, 5]}) == {"n": [MASK, digits + 1, 5]}
    assert cards.encode({"n": digits}) == to_json({"n": MASK})
    for harmless in ("AUD-4111-1111-1111-1111", number[:-1] + "9", "1" + number, number + "0"):
        assert cards.text(harmless) == harmless


def test_the_mask_can_be_chosen() -> None:
    """The mask is the application's."""
    assert Redaction(mask="***").clean({"token": "x", "t": "pwd=x"}) == {"token": "***", "t": "pwd=***"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"patterns": ("(",)}, r"patterns holds '\(': missing"),
        ({"patterns": ("a*",)}, "matches the empty text"),
        ({"patterns": (b"a",)}, "patterns holds b'a'"),
        ({"patterns": (5,)}, "patterns holds 5"),
        ({"patterns": "abc"}, "several are expected"),
        ({"keys": "ssn"}, "several are expected"),
        ({"keys": 5}, "several are expected"),
        ({"keys": ("",)}, "a name of a key"),
        ({"safe_keys": (None,)}, "a name of a key"),
        ({"mask": ""}, "mask=''"),
        ({"mask": None}, "mask=None"),
    ],
)
def test_a_wrong_setting_is_told_at_construction(settings: dict[str, Any], said: str) -> None:
    """Nothing waits until the first secret to fail."""
    with pytest.raises(ConfigurationError, match=said):
        Redaction(**settings)


def test_a_redaction_is_a_value() -> None:
    """It compares, hashes and shows its settings; iterables that end are read once."""
    assert Redaction(keys=iter(["a"])) == Redaction(keys=("a",))
    assert hash(Redaction(patterns=["x"])) == hash(Redaction(patterns=("x",)))
    assert "keys=('a',)" in repr(Redaction(keys=["a"]))


def test_a_redaction_goes_into_other_processes(redaction: Redaction) -> None:
    """It can be pickled, used or not."""
    own = Redaction(keys=("ssn",), patterns=(re.compile("x+"),), mask="***")
    assert own.clean({"ssn": 1, "a": "axb"}) == {"ssn": "***", "a": "a***b"}
    copy = pickle.loads(pickle.dumps(own))
    assert copy == own
    assert copy.clean({"ssn": 1, "a": "axb"}) == {"ssn": "***", "a": "a***b"}


def test_many_different_keys_do_not_fill_the_memory(redaction: Redaction) -> None:
    """Only so many keys are remembered, and none that is long."""
    for number in range(10_000):
        redaction.clean({f"key {number}": 1, f"{'x' * 100}{number}": 2})
    assert len(redaction._ordinary) <= 4096
    assert max(map(len, redaction._ordinary)) <= 64


def test_plain_of_clean_is_clean(redaction: Redaction) -> None:
    """The result holds plain JSON types only."""
    cleaned = redaction.clean({"when": datetime.date(2026, 1, 1), "t": ({1}, Login("a", "b")), 5: "x"})
    assert (
        plain(cleaned)
        == cleaned
        == {"when": "2026-01-01", "t": [[1], {"user": "a", "password": MASK}], "5": "x"}
    )


@pytest.mark.parametrize("name", ["_id", "ID", "i-d"])
def test_only_the_platforms_own_objects_are_kept(name: str) -> None:
    """What looks like one in all but case and dashes is a secret, the fast way, too."""
    value = {"token": {name: "AUT-1234-5678", "value": SECRET}}
    assert DEFAULT.encode(value) == to_json({"token": MASK})


@pytest.mark.parametrize("text", ['{"password":tiger}', '"token":nS3CRET', '"secret":f', '"pwd":nullify'])
def test_a_secret_may_begin_as_a_literal_does(text: str) -> None:
    """Null, true and false are no secrets; what only begins like them is."""
    assert MASK in DEFAULT.text(text)
    assert MASK.encode() in DEFAULT.encode({"note": text})
