"""Tokens: those of the seed, those that expire, and whom they act for (contract, section 9)."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from auditbox.api import AuditApi
from auditbox.emulator import Emulator, running
from auditbox.emulator.jwt import CLAIM
from tests.emulator.conftest import CLIENT, OPERATIONS, ORDER, TOKEN, VENDOR, submission

INSTALLATIONS = "/public/v1/integration/installations/-/token"
EXTENSION = "idt:EXT-1234-5678:secret"


def fetch(emulator: Emulator, token: str = EXTENSION, **query: str) -> httpx.Response:
    """Asks for a short-lived token."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(f"{emulator.url}{INSTALLATIONS}", params=query, headers=headers)


def foreign(**claims: Any) -> str:
    """A JSON Web Token of somebody else."""
    return ".".join(map(part, [{"alg": "RS256"}, claims, {"signature": 1}]))


def part(value: Any) -> str:
    """A part of a JSON Web Token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_an_extension_fetches_a_token_for_an_account(
    emulator: Emulator, connect: Callable[..., httpx.Client]
) -> None:
    """It tells when it expires, its claims are the platform's, and records are the extension's."""
    answer = fetch(emulator, **{"account.id": "ACC-9042-0088"}).json()
    claims = answer["token"].split(".")[1]
    read = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert read[f"{CLAIM}accountId"] == "ACC-9042-0088"
    assert read[f"{CLAIM}extensionId"] == "EXT-1234-5678"
    assert read["exp"] == answer["exp"]
    actor = connect(emulator, answer["token"]).post("/records", json=submission()).json()["actor"]
    assert (actor["id"], actor["account"]["id"]) == ("EXT-1234-5678", "ACC-9042-0088")


def test_strict_it_has_the_accounts_rights(strict: Emulator, connect: Callable[..., httpx.Client]) -> None:
    """A token for a client's account may read what clients may, and write nothing; the seed has its type."""
    token = fetch(strict, VENDOR, **{"account.id": "ACC-9042-0088"}).json()["token"]
    reader = connect(strict, token)
    rows = reader.get("/records").json()["data"]
    assert [row["object"]["id"] for row in rows] == [ORDER]
    assert reader.post("/records", json=submission()).status_code == 403
    assert fetch(strict, VENDOR).status_code == 200
    assert fetch(strict, VENDOR, **{"account.id": "ACC-7777-7777"}).status_code == 404
    assert fetch(strict, VENDOR, **{"account.id": "ORD-1"}).status_code == 400
    assert fetch(strict, EXTENSION).status_code == 401


def test_an_expired_token_is_renewed(tmp_path: Any) -> None:
    """An expired one is a 401; the client asks its callable once more, and the write is sent again."""
    now = [1_000_000.0]
    with running(clock=lambda: now[0], token_lifetime=60) as emulator:
        asked: list[str] = []

        def token() -> str:
            asked.append(fetch(emulator).json()["token"])
            return asked[-1]

        with AuditApi(emulator.url, token=token) as api:
            given: Any = {"event": "extensions.a.b", "summary": "s", "details": "d", "object": ORDER}
            api.records.create(**given)
            now[0] += 61
            api.records.create(**given)
        posted = [r["status"] for r in emulator.requests() if r["path"].endswith("/records")]
    assert (posted, len(asked)) == ([201, 401, 201], 2)


def test_lax_any_token_is_read_by_its_claims(
    emulator: Emulator, connect: Callable[..., httpx.Client]
) -> None:
    """Without anybody's key the claims are believed: account, its type, and who it is."""
    claims = {"accountId": "ACC-1111-1111", "accountType": "Operations", "userId": "USR-0556-8733"}
    token = foreign(**{f"{CLAIM}{name}": value for name, value in claims.items()})
    actor = connect(emulator, token).post("/records", json=submission()).json()["actor"]
    assert actor["id"] == "USR-0556-8733"
    assert actor["account"] == {"id": "ACC-1111-1111", "name": "ACC-1111-1111", "accountType": "Operations"}


@pytest.mark.parametrize(
    "token",
    [
        "x.y.z",
        "..",
        foreign(),
        foreign(**{f"{CLAIM}accountId": "x"}),
        foreign(**{f"{CLAIM}accountId": ["ACC-1111-1111"]}),
        foreign(**{f"{CLAIM}accountId": "ACC-1111-1111", f"{CLAIM}userId": {"a": 1}}),
        foreign(**{f"{CLAIM}accountId": "ACC-1111-1111", "exp": 1}),
        foreign(**{f"{CLAIM}accountId": "ACC-1111-1111", "exp": "soon"}),
        part({}) + "." + part([]) + ".",
        "é.é.é".encode().decode("latin-1"),
    ],
)
def test_what_is_no_token(emulator: Emulator, token: str) -> None:
    """A token that cannot be read, names no account or has expired is a 401."""
    headers = {b"Authorization": b"Bearer " + token.encode("latin-1")}
    answer = httpx.get(f"{emulator.url}/public/v1/audit/records", headers=headers)
    assert (answer.status_code, answer.content) == (401, b"")


def test_strict_only_its_own_tokens_are_good(strict: Emulator, connect: Callable[..., httpx.Client]) -> None:
    """Claims that nobody signed, or that were changed afterwards, are a 401."""
    claims = {f"{CLAIM}accountId": "ACC-0000-0001", f"{CLAIM}accountType": "Operations"}
    assert connect(strict, foreign(**claims)).get("/records").status_code == 401
    head, _, signature = fetch(strict, CLIENT).json()["token"].split(".")
    assert connect(strict, f"{head}.{part(claims)}.{signature}").get("/records").status_code == 401
    assert connect(strict, fetch(strict, CLIENT).json()["token"]).get("/records").status_code == 200


def test_people_may_read_what_is_about_themselves(connect: Callable[..., httpx.Client]) -> None:
    """A record about a user is for the token that acts for that user, though its account is no viewer."""
    account = {"id": "ACC-9042-0088", "name": "Contoso", "type": "Client"}
    tokens = [
        {"id": id, "name": id, "account": account["id"], "token": f"idt:{id}:s", **user}
        for id, user in (("TKN-0000-0002", {"user": "USR-0556-8733"}), ("TKN-0000-0003", {}))
    ]
    login = {"id": "AUD-0000-0000-0000-0001", "event": "platform.accounts.user.login", "type": "Private",
             "object": {"id": "USR-0556-8733"}}  # fmt: skip
    with running(strict=True, seed={"accounts": [account], "tokens": tokens, "records": [login]}) as emulator:
        own, other = (connect(emulator, token["token"]) for token in tokens)
        assert [row["id"] for row in own.get("/records").json()["data"]] == [login["id"]]
        assert other.get("/records").json()["data"] == []
        assert other.get(f"/records/{login['id']}").status_code == 404


def test_the_log_shows_no_secret(emulator: Emulator, connect: Callable[..., httpx.Client]) -> None:
    """Neither kind of token can be used by who reads what arrived."""
    token = fetch(emulator).json()["token"]
    for given in (token, TOKEN, OPERATIONS):
        connect(emulator, given).get("/records")
    shown = [request["headers"]["authorization"] for request in emulator.requests()]
    assert not any(given in " ".join(shown) for given in (token, TOKEN, EXTENSION))
    assert shown[-1] == "Bearer idt:TKN-0000-0001:***"
