"""Who acts: whoever the session, the view, REST framework or ninja has authenticated."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient, Client

from auditbox.testing import CapturedRecords

from .conftest import Configure

pytestmark = pytest.mark.usefixtures("database", "log_handler")
ORDER = "ORD-1208-2301-8479"


@pytest.fixture
def user() -> User:
    """A user with a full name."""
    return User.objects.create_user("ann", password="pw", first_name="Ann", last_name="Lee")


@pytest.fixture
def token(user: User) -> str:
    """The user's token."""
    from auditbox_shop.models import Token

    return str(Token.objects.create(key="secret-key-1", user=user).key)


def bearer(token: str) -> dict[str, str]:
    """The header of a token, as Django's test client wants it."""
    return {"HTTP_AUTHORIZATION": f"Bearer {token}"}


def apost(client: AsyncClient, path: str, **headers: str) -> Any:
    """A request to the project's ASGI application."""
    return asyncio.run(client.post(path, headers=headers))


def whos(records: CapturedRecords) -> list[Any]:
    """The actors of the records."""
    return [record.auditbox.get("actor") for record in records]


@pytest.mark.parametrize("view", ["plain", "coroutine", "class"])
def test_the_sessions_user(audit: Configure, records: CapturedRecords, user: User, view: str) -> None:
    """A view that never looks at its user has it in its records; WSGI and ASGI, sync and async views."""
    audit(ROUTES={f"POST /{view}/{{order}}/": {"event": "order.changed", "object": "{order}"}})
    client, aclient = Client(), AsyncClient()
    client.force_login(user)
    aclient.cookies = client.cookies
    assert client.post(f"/{view}/{ORDER}/").status_code == 200
    assert apost(aclient, f"/{view}/{ORDER}/").status_code == 200
    assert [record.event.rpartition(".")[2] for record in records] == ["touched", "changed"] * 2
    assert whos(records) == [{"id": str(user.pk), "name": "Ann Lee"}] * 4


@pytest.mark.parametrize("view", ["plain", "coroutine"])
def test_an_anonymous_request_has_no_actor(
    audit: Configure, records: CapturedRecords, view: str, django_assert_no_queries: Any
) -> None:
    """And nobody asks the database for one: there is no session's cookie."""
    audit()
    with django_assert_no_queries():
        assert Client().post(f"/{view}/{ORDER}/").status_code == 200
    assert apost(AsyncClient(), f"/{view}/{ORDER}/").status_code == 200
    assert whos(records) == [None, None]


@pytest.mark.parametrize("view", ["plain", "coroutine"])
def test_looking_does_not_change_the_answer(
    audit: Configure, records: CapturedRecords, user: User, view: str
) -> None:
    """The session does not count as accessed: a cache may keep the answer as before."""
    audit()
    client = Client()
    client.force_login(user)
    assert "Vary" not in client.post(f"/{view}/{ORDER}/").headers
    assert whos(records) == [{"id": str(user.pk), "name": "Ann Lee"}]


def test_rest_framework_authenticates_in_the_view(
    audit: Configure, records: CapturedRecords, user: User, token: str
) -> None:
    """Inside the view, and for the middleware's own record; a token that is refused is nobody."""
    rule = {"event": "order.changed", "failed": "order.refused", "object": "{order}"}
    audit(ROUTES={"POST /rest/{order}/": rule})
    assert Client().post(f"/rest/{ORDER}/", **bearer(token)).status_code == 200
    assert Client().post(f"/rest/{ORDER}/", **bearer("wrong")).status_code == 403
    assert apost(AsyncClient(), f"/rest/{ORDER}/", authorization=f"Bearer {token}").status_code == 200
    known = {"id": str(user.pk), "name": "Ann Lee"}
    assert whos(records) == [known, known, None, known, known]


def test_ninjas_auth_is_an_actor(audit: Configure, records: CapturedRecords, user: User, token: str) -> None:
    """A user, or the claims of a token; not the session's user, who did not authenticate this view."""
    audit(EVERY={"event": "order.changed", "object": ORDER})
    other = User.objects.create_user("other", password="pw")
    client = Client()
    client.force_login(other)
    assert client.post(f"/ninja/user/{ORDER}", **bearer(token)).status_code == 200
    assert client.post(f"/ninja/claims/{ORDER}", **bearer("x")).status_code == 200
    assert apost(AsyncClient(), f"/ninja/claims/{ORDER}", authorization="Bearer x").status_code == 200
    known, claims = {"id": str(user.pk), "name": "Ann Lee"}, {"id": "USR-0001-0001", "name": "Ann"}
    assert whos(records) == [known, known, *[claims] * 4]


def test_secrets_are_no_actors(audit: Configure, records: CapturedRecords, token: str) -> None:
    """A token, or a model whose primary key is one, is never written down; its owner is."""
    from auditbox_shop.models import Token

    Token.objects.create(key="ownerless")
    audit()
    client = Client()
    assert client.post(f"/ninja/token/{ORDER}", **bearer("s3cret")).status_code == 200
    assert client.post(f"/ninja/key/{ORDER}", HTTP_X_KEY="ownerless").status_code == 200
    assert client.post(f"/ninja/key/{ORDER}", HTTP_X_KEY=token).status_code == 200
    assert whos(records)[:2] == [None, None]
    assert whos(records)[2]["name"] == "Ann Lee"
    assert not any(
        secret in record.model_dump_json() for record in records for secret in ("s3cret", "ownerless")
    )


def test_logging_in_and_out(audit: Configure, records: CapturedRecords, user: User) -> None:
    """Who logs in is the actor from then on; who logs out is the actor of that."""
    audit(
        ROUTES={
            f"POST /{way}/": {"event": f"user.{way}", "object": "USR-0001"}
            for way in ("login", "logout", "alogout")
        }
    )
    client = Client()
    for way in ("login", "logout", "login", "alogout"):
        assert client.post(f"/{way}/", {"name": "ann"}).status_code == 200
    assert whos(records) == [{"id": str(user.pk), "name": "Ann Lee"}] * len(records)
    assert [record.event.rpartition(".")[2] for record in records] == [
        "touched", "login", "logout", "touched", "login", "alogout",
    ]  # fmt: skip


def test_what_the_view_binds_wins(audit: Configure, records: CapturedRecords, user: User) -> None:
    """``auditbox.bind`` knows better than the session."""
    audit(ROUTES={"POST /bound/{order}/": {"event": "order.changed", "object": "{order}"}})
    client = Client()
    client.force_login(user)
    client.post(f"/bound/{ORDER}/")
    assert whos(records) == [{"id": "USR-0556-8733", "name": "Will"}] * 2


def of_header(request: Any) -> Any:
    """A project's own idea of who acts."""
    given = request.headers.get("x-user")
    if given == "broken":
        raise ValueError("broken")
    return {"id": given, "name": "Somebody"} if given == "USR-0002" else given


def test_the_projects_own_function(
    audit: Configure, records: CapturedRecords, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    """``ACTOR`` decides alone: an id, a mapping, None; where it fails nobody is known, and a line says so."""
    audit(ACTOR=f"{__name__}.of_header")
    client = Client()
    client.force_login(user)
    for given in ("USR-0001", "USR-0002", "broken"):
        assert client.post(f"/plain/{ORDER}/", HTTP_X_USER=given).status_code == 200
    assert client.post(f"/plain/{ORDER}/").status_code == 200
    assert whos(records) == [{"id": "USR-0001"}, {"id": "USR-0002", "name": "Somebody"}, None, None]
    assert "broken" in caplog.text


def test_users_at_the_same_time(audit: Configure, records: CapturedRecords) -> None:
    """Many tasks of one event loop, views in threads and coroutines: each has its own user."""
    audit(EVERY={"event": "order.changed", "object": lambda request: request.path.split("/")[2]})
    users = [User.objects.create_user(f"user{number}") for number in range(12)]
    clients = []
    for user in users:
        client = Client()
        client.force_login(user)
        aclient = AsyncClient()
        aclient.cookies = client.cookies
        clients.append(aclient)

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(
            *(
                client.post(f"/{view}/ORD-{user.pk:04d}/")
                for user, client in zip(users, clients, strict=True)
                for view in ("plain", "coroutine", "class")
            )
        )

    assert {answer.status_code for answer in asyncio.run(all_at_once())} == {200}
    assert len(records) == 12 * 3 * 2
    for record in records:
        assert record.object is not None
        assert f"ORD-{int(record.auditbox['actor']['id']):04d}" == record.object.id
