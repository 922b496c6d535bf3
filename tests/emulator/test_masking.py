"""What readers are not shown of documents: credentials and prices (contract, section 3, rule 10)."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from auditbox.emulator import Emulator
from auditbox.emulator.masking import shown
from tests.emulator.conftest import CLIENT, OPERATIONS, ORDER, VENDOR, submission

PRICE = {
    "SPxY": 165, "SPxM": 13.75, "SPx1": 300, "unitSP": 3, "markup": 10, "margin": 9, "defaultMarkup": 15,
    "PPxY": 150, "PPxM": 12.5, "PPx1": 290, "unitPP": 2, "currency": "USD",
}  # fmt: skip
PURCHASE = {name: PRICE[name] for name in ("PPxY", "PPxM", "PPx1", "unitPP", "currency")}
SEEN_BY = [(OPERATIONS, PRICE), (VENDOR, PURCHASE), (CLIENT, {"currency": "USD"})]
DOCUMENTS = {
    "order": {"id": ORDER, "price": PRICE, "lines": [{"price": PRICE}]},
    "box": {"margin": 5},
}


@pytest.fixture
def priced(strict: Emulator, connect: Callable[..., httpx.Client]) -> str:
    """The id of a record about an order with prices."""
    given = submission(documents=DOCUMENTS, details="{{order.price.SPxY}}/{{order.price.PPxY}}")
    return str(connect(strict, OPERATIONS).post("/records", json=given).json()["id"])


@pytest.mark.parametrize(("token", "price"), SEEN_BY)
def test_prices_are_hidden_by_the_readers_account(
    strict: Emulator, connect: Callable[..., httpx.Client], priced: str, token: str, price: dict[str, Any]
) -> None:
    """Vendors do not see the sales side, clients no side, wherever a platform object is read; others' do."""
    expected = {
        "order": {"id": ORDER, "price": price, "lines": [{"price": price}]},
        "box": {"margin": 5},
    }
    reader = connect(strict, token)
    assert reader.get(f"/records/{priced}").json()["documents"] == expected
    page = reader.get(f"/records?id={priced}&select=documents").json()
    assert page["data"][0]["documents"] == expected
    assert "documents" not in page["$meta"]["omitted"]
    stream = reader.get(f"/records?id={priced}&select=documents", headers={"MPT-Streaming": "true"})
    assert json.loads(stream.text)["documents"] == expected
    one = reader.get(f"/records?id={priced}&select=documents.order.price.SPxY").json()["data"][0]
    assert one["documents"] == {"order": {"price": {"SPxY": 165} if "SPxY" in price else {}}}


@pytest.mark.parametrize(("token", "text"), [(OPERATIONS, "165/150"), (VENDOR, "/150"), (CLIENT, "/")])
def test_a_placeholder_does_not_tell_a_hidden_price(
    strict: Emulator, connect: Callable[..., httpx.Client], priced: str, token: str, text: str
) -> None:
    """Templates are filled in with what the reader may see."""
    assert connect(strict, token).get(f"/records/{priced}?render()").json()["details"] == text


def test_the_submitters_answer_hides_them_too(strict: Emulator, connect: Callable[..., httpx.Client]) -> None:
    """A vendor is not told the prices that it sent; what is stored is whole."""
    made = connect(strict, VENDOR).post("/records", json=submission(documents=DOCUMENTS)).json()
    assert made["documents"]["order"]["price"] == PURCHASE
    kept = connect(strict, OPERATIONS).get(f"/records/{made['id']}").json()
    assert kept["documents"] == DOCUMENTS


def test_lax_everybody_sees_prices(http: httpx.Client) -> None:
    """Without the platform's rules on accounts there is nobody to hide them from."""
    made = http.post("/records", json=submission(documents=DOCUMENTS)).json()
    assert made["documents"] == DOCUMENTS
    assert http.get(f"/records/{made['id']}").json()["documents"] == DOCUMENTS


SECRETS = {
    "user": {"id": "USR-0556-8733", "password": "p"},
    "originalUser": {"password": "p", "name": "by the document's name"},
    "list": [{"deep": {"id": "TKN-1111-1111", "token": "t"}}],
    "other": {"id": ORDER, "password": "kept", "token": "kept"},
}
MASKED = {
    "user": {"id": "USR-0556-8733", "password": "********"},
    "originalUser": {"password": "********", "name": "by the document's name"},
    "list": [{"deep": {"id": "TKN-1111-1111", "token": "********"}}],
    "other": {"id": ORDER, "password": "kept", "token": "kept"},
}


def test_credentials_are_masked(http: httpx.Client) -> None:
    """A user's password and a token's secret are masked at any depth, in every answer and in templates."""
    given = submission(documents=SECRETS, details="{{user.password}}")
    made = http.post("/records", json=given).json()
    assert made["documents"] == MASKED
    assert http.get(f"/records/{made['id']}?render()").json() == {**made, "details": "********"}
    assert http.get("/records?select=documents").json()["data"][0]["documents"] == MASKED


@pytest.mark.parametrize("token", [OPERATIONS, VENDOR, CLIENT])
def test_credentials_are_masked_for_everybody(
    strict: Emulator, connect: Callable[..., httpx.Client], token: str
) -> None:
    """Operations is no exception."""
    made = connect(strict, VENDOR).post("/records", json=submission(documents=SECRETS)).json()
    assert connect(strict, token).get(f"/records/{made['id']}").json()["documents"] == MASKED


def test_what_was_given_stays_as_it_is() -> None:
    """Masking copies; documents nested beyond Python's stack are no exception."""
    deep: Any = {"id": "USR-0556-8733", "password": "p"}
    for _ in range(50_000):
        deep = [deep]
    documents = {"a": deep}
    seen = shown(documents)["a"]
    while isinstance(deep, list):
        deep, seen = deep[0], seen[0]
    assert (deep["password"], seen["password"]) == ("p", "********")
