"""Flask applications: configuration, who acts, and what only Flask knows of a request."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import flask_login
import pytest
from click.testing import CliRunner
from flask import Flask, Response, abort, send_file, stream_with_context

from auditbox import default as defaults
from auditbox.capture.decorator import audited
from auditbox.cli.flush import command as flush
from auditbox.context import bind, current_scope
from auditbox.errors import ConfigurationError
from auditbox.integrations.flask import Audit
from auditbox.testing import CapturedRecords, capture
from auditbox.trail import AuditTrail

ORDER = "ORD-1208-2301-8479"
RULE = {"event": "order.changed", "object": "{order_id}", "failed": "order.refused"}


class User(flask_login.UserMixin):  # type: ignore[misc]
    """A user with a name."""

    def __init__(self, id: str) -> None:
        self.id, self.name = id, f"Name of {id}"


@pytest.fixture(autouse=True)
def _no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "_default", None)


@pytest.fixture
def records() -> Iterator[CapturedRecords]:
    """What any trail of this process captures."""
    with capture() as captured:
        yield captured


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """An application with an order that can be changed, not audited yet."""
    app = Flask("shop")
    app.secret_key = "a key"
    app.config["AUDITBOX_OUTBOX"] = tmp_path / "audit.db"
    app.config["AUDITBOX_EXTENSION"] = "shop"
    app.config["AUDITBOX_SHARE"] = ["name"]
    app.config["AUDITBOX_ROUTES"] = {"POST /orders/<string:order_id>": RULE}

    @app.post("/orders/<string:order_id>")
    def change(order_id: str) -> dict[str, str]:
        return {"id": order_id}

    return app


@pytest.fixture
def users(app: Flask) -> Flask:
    """The same application with flask-login: who logs in by the header, by the session, and out."""
    login = flask_login.LoginManager(app)

    @login.user_loader
    def by_session(id: str) -> User:
        if id == "broken":
            raise RuntimeError("no database")
        return User(id)

    @login.request_loader
    def by_header(request: Any) -> User | None:
        return User(request.headers["user"]) if "user" in request.headers else None

    @app.post("/login/<order_id>/<id>")
    def log_in(order_id: str, id: str) -> str:
        flask_login.login_user(User(id))
        return "in"

    @app.post("/logout/<order_id>")
    def log_out(order_id: str) -> str:
        flask_login.logout_user()
        return "out"

    return app


def test_a_request_is_recorded(app: Flask, records: CapturedRecords) -> None:
    """With Flask's own route, its parameters and the status; the trail is the process's default."""
    Audit(app)
    assert app.test_client().post(f"/orders/{ORDER}").json == {"id": ORDER}
    record = records.one("order.changed")
    assert record.object is not None
    assert record.object.id == ORDER
    request = record.auditbox["request"]
    assert (request["route"], request["status"]) == ("/orders/{order_id}", 200)
    assert app.extensions["auditbox"] is defaults.get_trail()


def test_init_app_and_settings(app: Flask, records: CapturedRecords) -> None:
    """An application factory's way; arguments win over the configuration; each application has its trail."""
    audit = Audit(extension="other", share=[])
    audit.init_app(app)
    with app.app_context():
        assert audit.trail is app.extensions["auditbox"]
    app.test_client().post(f"/orders/{ORDER}")
    assert records[0].event == "extensions.other.order.changed"
    with pytest.raises(ConfigurationError, match="audited already"):
        audit.init_app(app)


def test_a_trail_that_exists(app: Flask, records: CapturedRecords, tmp_path: Path) -> None:
    """It is used, and the process's default stays what it is."""
    trail = AuditTrail(tmp_path / "own.db", extension="own")
    Audit(app, trail=trail)
    app.test_client().post(f"/orders/{ORDER}")
    assert records[0].event == "extensions.own.order.changed"
    assert defaults._default is None


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("AUDITBOX_ROUTS", {}, "AUDITBOX_ROUTES"),
        ("AUDITBOX_ROUTES", {"POST /orders/<id>": {"event": "x.y", "object": "{order_id}"}}, "order_id"),
        ("AUDITBOX_EVENTS", ["order.approved"], "order.changed"),
        ("AUDITBOX_DURABILITY", "always", "durability"),
        ("AUDITBOX_TRUSTED_PROXIES", ["nonsense"], "trusted_proxies"),
    ],
)
def test_mistakes_are_found_at_construction(app: Flask, key: str, value: Any, says: str) -> None:
    """An unknown key, a rule that cannot work, an event that is not declared: before the first request."""
    app.config[key] = value
    with pytest.raises(ConfigurationError, match=says):
        Audit(app)


def test_construction_touches_nothing(app: Flask, tmp_path: Path) -> None:
    """A container build imports the application: no file, no token needed."""
    Audit(app)
    assert app.test_cli_runner().invoke(args=["audit", "--help"]).exit_code == 0
    assert not list(tmp_path.iterdir())


def test_flush_says_what_auditbox_flush_says(app: Flask, tmp_path: Path) -> None:
    """Of everything that was ever captured: what is delivered or discarded, pending, dead; exit status 1."""
    Audit(app)
    for _ in range(2):
        app.test_client().post(f"/orders/{ORDER}")
    app.extensions["auditbox"].close()
    done = app.test_cli_runner().invoke(args=["audit", "flush"])
    told = "0 of 2 delivered or discarded, 2 pending, 0 dead letters\n"
    assert (done.exit_code, done.stdout, done.stderr) == (1, told, "see: flask audit status\n")
    plain = CliRunner().invoke(flush, ["--outbox", str(tmp_path / "audit.db")], env={"MPT_API_TOKEN": None})
    assert plain.stdout == told


# --- who acts


def test_the_actor_is_who_is_logged_in(users: Flask, records: CapturedRecords) -> None:
    """By header or by session, for what views capture and for the request's own record."""

    @users.post("/touch/<order_id>")
    @audited("order.touched", object="{order_id}")
    def touch(order_id: str) -> str:
        return order_id

    ways = ("touch/<order_id>", "login/<order_id>/<id>", "orders/<order_id>", "logout/<order_id>")
    Audit(users, routes={f"POST /{way}": RULE for way in ways})
    client = users.test_client()
    client.post(f"/touch/{ORDER}", headers={"user": "USR-0000-0001"})
    client.post(f"/login/{ORDER}/USR-0000-0002")
    client.post(f"/orders/{ORDER}")
    client.post(f"/logout/{ORDER}")
    client.post(f"/orders/{ORDER}")
    actors = [record.auditbox.get("actor") for record in records]
    first, second = ({"id": id, "name": f"Name of {id}"} for id in ("USR-0000-0001", "USR-0000-0002"))
    assert actors == [first, first, second, second, second, None]


def test_what_a_view_binds_wins(users: Flask, records: CapturedRecords) -> None:
    """An application that knows better says so."""

    @users.post("/touch/<order_id>")
    def touch(order_id: str) -> str:
        bind(actor="USR-0000-0009")
        return order_id

    Audit(users, routes={"POST /touch/<order_id>": RULE})
    users.test_client().post(f"/touch/{ORDER}", headers={"user": "USR-0000-0001"})
    assert records.one().auditbox["actor"] == {"id": "USR-0000-0009"}


def test_nobody_is_looked_up_for_nothing(users: Flask, records: CapturedRecords) -> None:
    """A request that is not recorded costs no look at the session or the database."""
    looked: list[str] = []
    users.login_manager.request_loader(lambda request: looked.append(request.path))  # type: ignore[attr-defined]
    users.get("/public")(lambda: "public")
    Audit(users)
    client = users.test_client()
    assert client.get("/public").data == b"public"
    assert looked == []
    client.post(f"/orders/{ORDER}")
    assert looked == [f"/orders/{ORDER}"]
    assert "actor" not in records.one().auditbox


def test_a_user_that_cannot_be_loaded(users: Flask, records: CapturedRecords) -> None:
    """The request is served as without auditbox, the record says what failed."""
    Audit(users)
    client = users.test_client()
    with client.session_transaction() as session:
        session["_user_id"] = "broken"
    assert client.post(f"/orders/{ORDER}").status_code == 200
    record = records.one("order.changed")
    assert record.auditbox["outcome"]["unresolved"] == {"actor": "RuntimeError: no database"}


def test_users_at_the_same_time(users: Flask, records: CapturedRecords) -> None:
    """Threads that serve one user after the other never mix them up."""
    Audit(users)
    barrier = threading.Barrier(4)

    def serve(number: int) -> None:
        order, user = f"ORD-{number:04d}", f"USR-{number:04d}"
        if number < 4:
            barrier.wait(60)
        assert users.test_client().post(f"/orders/{order}", headers={"user": user}).status_code == 200
        assert current_scope() is None

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(serve, range(100)))
    pairs = sorted((record.object and record.object.id, record.auditbox["actor"]["id"]) for record in records)
    assert pairs == [(f"ORD-{number:04d}", f"USR-{number:04d}") for number in range(100)]


# --- answers


def test_an_unhandled_exception(users: Flask, records: CapturedRecords) -> None:
    """Flask answers it with a 500 by itself: the record still says what it was, and who met it."""

    @users.post("/break/<order_id>")
    def fail(order_id: str) -> str:
        raise ValueError("no stock")

    @users.post("/refuse/<order_id>")
    def refuse(order_id: str) -> str:
        abort(409)

    Audit(users, routes={"POST /break/<order_id>": RULE, "POST /refuse/<order_id>": RULE})
    client = users.test_client()
    headers = {"user": "USR-0000-0001"}
    assert client.post(f"/break/{ORDER}", headers=headers).status_code == 500
    assert client.post(f"/refuse/{ORDER}", headers=headers).status_code == 409
    broken, refused = records.all("order.refused")
    assert broken.auditbox["outcome"]["error"] == "ValueError: no stock"
    assert broken.auditbox["request"]["status"] == 500
    assert broken.auditbox["request"]["route"] == "/break/{order_id}"
    assert broken.auditbox["actor"]["id"] == "USR-0000-0001"
    assert "error" not in refused.auditbox["outcome"]


def test_an_exception_that_flask_lets_through(users: Flask, records: CapturedRecords) -> None:
    """In tests and under a debugger the very exception reaches the server, after its record."""
    error = ValueError("no stock")

    @users.post("/break/<order_id>")
    def fail(order_id: str) -> str:
        raise error

    Audit(users, routes={"POST /break/<order_id>": RULE})
    users.testing = True
    with pytest.raises(ValueError, match="no stock") as caught:
        users.test_client().post(f"/break/{ORDER}")
    assert caught.value is error
    assert records.one("order.refused").auditbox["outcome"]["error"] == "ValueError: no stock"


def test_streams_files_and_heads(users: Flask, records: CapturedRecords) -> None:
    """A stream flows part by part with Flask's context and ours; a file and a HEAD pass as they are."""

    @audited("order.touched", object=ORDER)
    def touch() -> None: ...

    @users.post("/stream/<order_id>")
    def stream(order_id: str) -> Response:
        @stream_with_context
        def parts() -> Iterator[str]:
            for number in range(3):
                touch()
                yield f"data: {number}\n\n"

        return Response(parts(), mimetype="text/event-stream")

    @users.route("/file/<order_id>", methods=["GET", "POST"])
    def file(order_id: str) -> Response:
        return send_file(io.BytesIO(b"x" * 100_000), mimetype="application/pdf")

    Audit(users, routes={"* /stream/<order_id>": RULE, "* /file/<order_id>": RULE})
    client = users.test_client()
    headers = {"user": "USR-0000-0001"}
    streamed = client.post(f"/stream/{ORDER}", headers=headers, buffered=False)
    assert streamed.data == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert len(client.post(f"/file/{ORDER}", headers=headers).data) == 100_000
    assert client.head(f"/file/{ORDER}", headers=headers).data == b""
    assert len(records.all("order.touched")) == 3
    assert {record.auditbox["actor"]["id"] for record in records} == {"USR-0000-0001"}
    outcomes = [record.auditbox["outcome"].get("bytesOut") for record in records.all("order.changed")]
    assert outcomes == [None, 100_000, 0]


def test_other_paths(app: Flask, records: CapturedRecords) -> None:
    """Where Flask has no route, ``every=`` tells the path; a redirect to the right path is no action."""
    app.post("/slashed/")(lambda: "done")
    Audit(app, every={"event": "http.changed", "object": ORDER, "failed": "http.failed"})
    client = app.test_client()
    assert client.post("/nothing/here").status_code == 404
    assert client.post("/slashed", follow_redirects=True).data == b"done"
    assert records.one("http.failed").auditbox["request"]["route"] == "/nothing/here"
    assert records.one("http.changed").auditbox["request"]["route"] == "/slashed/"
