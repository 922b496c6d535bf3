"""The emulator as a server: threads, processes, files, seeds."""

import contextlib
import json
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from auditbox.emulator import EmulatorProcess, create_app, load_seed, running, shipped_seed, start_process
from auditbox.emulator.fields import EVENT_TYPES, RECORDS
from auditbox.emulator.server import is_loopback, listen
from auditbox.emulator.traffic import Traffic
from auditbox.errors import ConfigurationError
from tests.emulator.conftest import TOKEN, submission

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def post(url: str) -> httpx.Response:
    """Posts a good submission."""
    return httpx.post(f"{url}/public/v1/audit/records", json=submission(), headers=HEADERS)


def test_a_killed_emulator_has_what_it_answered_for(tmp_path: Path) -> None:
    """A record that was answered with 201 survives SIGKILL, and the same port can be taken again."""
    database = str(tmp_path / "emulator.db")
    with running(process=True, db=database) as first:
        assert isinstance(first, EmulatorProcess)
        ids = {post(first.url).json()["id"] for _ in range(50)}
        first.kill()
        with running(process=True, db=database, port=first.port) as second:
            assert second.url == first.url
            page = httpx.get(f"{second.url}/public/v1/audit/records?limit=100", headers=HEADERS).json()
            assert {row["id"] for row in page["data"]} == ids
            assert (
                len(httpx.get(f"{second.url}/public/v1/audit/event-types", headers=HEADERS).json()["data"])
                == 1
            )
            assert post(second.url).status_code == 201


def test_a_process_ends_with_its_parent() -> None:
    """The end of the parent's pipe ends the process in order."""
    emulator = start_process()
    assert emulator.process.stdin is not None
    emulator.process.stdin.close()
    assert emulator.process.wait(timeout=30) in {0, -15}
    emulator.stop()


def test_control_c() -> None:
    """SIGINT ends it in order, without a traceback."""
    command = [sys.executable, "-m", "auditbox.emulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be looked at", None])
def test_a_file_of_somebody_else(tmp_path: Path, content: bytes | None) -> None:
    """A file that is no emulator's database is refused, and left as it is."""
    file = tmp_path / "other.db"
    if content is None:
        with contextlib.closing(sqlite3.connect(file)) as other:
            other.execute("CREATE TABLE entry (seq)")
    else:
        file.write_bytes(content)
    before = file.read_bytes()
    with pytest.raises(ConfigurationError, match=r"other\.db"):
        create_app(file)
    assert file.read_bytes() == before
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        create_app(tmp_path / "no" / "such" / "folder.db")


def test_the_log_is_bounded() -> None:
    """What arrived is kept up to a number of requests and bytes; the count goes on."""
    traffic = Traffic()
    scope = {"method": "POST", "path": "/", "query_string": b"", "headers": []}
    for _ in range(100):
        traffic.note(scope, bytes(1024 * 1024))
    assert (traffic.count, len(traffic.seen)) == (100, 32)
    for _ in range(20_000):
        traffic.note(scope, b"")
    assert (traffic.count, len(traffic.seen), traffic.size) == (20_100, 10_000, 0)


def test_options_of_a_process(tmp_path: Path) -> None:
    """A process takes seeds and faults as content or as files."""
    seed = {"records": [{"id": "AUD-0000-0000-0000-0001", "event": "extensions.a.b"}]}
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps([{"action": "status", "status": 418}]))
    with running(process=True, seed=seed, faults=str(faults), strict=True) as emulator:
        assert emulator.health() == {"status": "ok", "records": 1, "strict": True}
        assert post(emulator.url).status_code == 418


def test_limits_of_a_process() -> None:
    """A process takes the limits as well, and whether it streams."""
    options: dict[str, Any] = {"streaming": False, "max_body": 10, "max_limit": 5, "max_stream": 1}
    with running(process=True, token_lifetime=0.5, **options) as emulator:
        assert post(emulator.url).status_code == 413
        records = f"{emulator.url}/public/v1/audit/records"
        assert httpx.get(records, headers={**HEADERS, "MPT-Streaming": "true"}).status_code == 501
        page = httpx.get(f"{records}?limit=100", headers=HEADERS).json()
        assert page["$meta"]["pagination"]["limit"] == 5
    with running(process=True, streaming=True) as emulator:
        records = f"{emulator.url}/public/v1/audit/records"
        assert httpx.get(records, headers={**HEADERS, "MPT-Streaming": "true"}).status_code == 200


def test_a_process_that_cannot_start(tmp_path: Path) -> None:
    """What is wrong is told in one line."""
    with pytest.raises(ConfigurationError, match="no-such-file"):
        start_process(seed=str(tmp_path / "no-such-file"))
    wrong = [sys.executable, "-m", "auditbox.emulator", "--host", "0.0.0.0"]
    done = subprocess.run(wrong, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use() -> None:
    """A port that is taken is a ConfigurationError."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigurationError, match="cannot listen"),
    ):
        listen("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_other_machines_stay_out(host: str) -> None:
    """An address that others can reach is refused unless that is allowed explicitly."""
    assert not is_loopback(host)
    with pytest.raises(ConfigurationError, match="other machines"):
        listen(host, 0)


def test_other_machines_can_be_let_in(caplog: pytest.LogCaptureFixture) -> None:
    """Allowed explicitly, every address is listened on, with a warning."""
    with listen("0.0.0.0", 0, allow_remote=True) as listener:
        assert listener.getsockname()[0] == "0.0.0.0"
    assert "no TLS" in caplog.text


def test_stopping_twice() -> None:
    """The second stop does nothing, and afterwards nobody listens."""
    with running() as emulator:
        emulator.stop()
        emulator.stop()
        with pytest.raises(httpx.ConnectError):
            post(emulator.url)


@pytest.mark.parametrize(
    ("seed", "where"),
    [
        ({"accounts": [{"id": "x", "name": "n", "type": "Vendor"}]}, "accounts.0.id"),
        ({"accounts": [{"id": "ACC-1111", "name": "n", "type": "vendor"}]}, "accounts.0.type"),
        (
            {"tokens": [{"id": "TKN-1111-1111", "name": "n", "account": "ACC-1111", "token": "t"}]},
            "TKN-1111-1111",
        ),
        ({"records": [{"event": "e"}]}, "records.0"),
        ({"records": [{"id": "AUD-1", "event": "e", "documents": [1]}]}, "records.0.documents"),
        ({"records": [{"id": "AUD-1", "event": "e", "timestamp": "soon"}]}, "records.0.timestamp"),
        ({"records": [{"id": "AUD-1", "event": "e", "summary": "\ud800"}]}, "seed"),
        ({"eventTypes": [{"id": "AET-1"}]}, "eventTypes.0"),
        ({"locations": [{"network": "here"}]}, "locations.0.network"),
        ({"record": []}, "record"),
        ([], "seed"),
    ],
)
def test_a_wrong_seed(tmp_path: Path, seed: Any, where: str) -> None:
    """A seed that cannot be used is an error that says where it is wrong."""
    file = tmp_path / "seed.json"
    file.write_text(json.dumps(seed))
    with pytest.raises(ConfigurationError, match=where):
        create_app(seed=file)


@pytest.mark.parametrize("text", ["{", "\ud800".encode("utf-16-le", "surrogatepass").decode("latin-1")])
def test_a_seed_that_is_no_json(tmp_path: Path, text: str) -> None:
    """A file that is not what it should be is a ConfigurationError that names it."""
    file = tmp_path / "seed.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=str(file)):
        load_seed(file)


YAML = """
accounts:
  - {id: ACC-1111-1111, name: Acme, type: Vendor}
tokens:
  - {id: TKN-1111-1111, name: CI, account: ACC-1111-1111, token: "idt:TKN-1111-1111:a", user: USR-0556-8733}
objects:
  - {id: ORD-1208-2301-8479, name: An order, objectType: Order, viewers: [ACC-1111-1111]}
records:
  - id: AUD-0000-0000-0000-0001
    event: platform.commerce.order.created
    object: {id: ORD-1208-2301-8479}
    timestamp: 2026-01-31T23:00:00Z
    viewers: [{id: ACC-1111-1111, type: Vendor}]
eventTypes:
  - {id: AET-0000-0001, key: platform.commerce.order.created, name: Order created}
locations:
  - {network: 127.0.0.0/8, countryCode: CH}
"""


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_every_part_of_a_seed(tmp_path: Path, suffix: str) -> None:
    """In JSON or YAML: accounts, tokens, objects, whole records, event types and places are there."""
    file = tmp_path / f"seed{suffix}"
    file.write_text(json.dumps(yaml.safe_load(YAML), default=str) if suffix == ".json" else YAML)
    with running(strict=True, seed=file) as emulator:
        base = f"{emulator.url}/public/v1/audit"
        headers = {"Authorization": "Bearer idt:TKN-1111-1111:a"}
        (record,) = httpx.get(f"{base}/records", headers=headers).json()["data"]
        assert (record["id"], record["timestamp"]) == ("AUD-0000-0000-0000-0001", "2026-01-31T23:00:00.000Z")
        (kind,) = httpx.get(f"{base}/event-types", headers=headers).json()["data"]
        assert (kind["id"], kind["name"]) == ("AET-0000-0001", "Order created")
        made = httpx.post(f"{base}/records", json=submission(), headers=headers).json()
        assert made["object"] == {"id": "ORD-1208-2301-8479", "name": "An order", "objectType": "Order"}
        assert made["actor"]["name"] == "CI"
        assert made["request"]["api"]["geolocation"] == {"countryCode": "CH"}
        assert httpx.get(f"{base}/records", headers=HEADERS).status_code == 401


def test_a_seed_that_is_no_yaml(tmp_path: Path) -> None:
    """It is an error that names the file; an empty file is an empty seed."""
    file = tmp_path / "seed.yaml"
    file.write_text("accounts: [")
    with pytest.raises(ConfigurationError, match=r"seed\.yaml"):
        load_seed(file)
    file.write_text("")
    assert load_seed(file).accounts == []


def test_the_shipped_seed() -> None:
    """The shipped seed has an account and a token of each type, and is what strict begins with."""
    seed = shipped_seed()
    assert {account.type for account in seed.accounts} == {"Client", "Vendor", "Operations"}
    assert {token.account for token in seed.tokens} == {account.id for account in seed.accounts}
    assert create_app(strict=True).state.service.reader.scoped


def test_a_seed_is_taken_in_once(tmp_path: Path) -> None:
    """Starting again on the same file with the same seed doubles nothing and changes nothing."""
    database = tmp_path / "emulator.db"
    for _ in range(2):
        app = create_app(database, seed=shipped_seed())
        store = app.state.service.store
        counts = [store.last_seq(table) for table in (RECORDS, EVENT_TYPES)]
        store.close()
        assert counts == [2, 3]


def test_the_clock() -> None:
    """Timestamps come from the clock that was given."""
    app = create_app(clock=lambda: 0.5)
    body = app.state.service.create(_caller(app), submission(), {})
    assert body["timestamp"] == "1970-01-01T00:00:00.500Z"


def _caller(app: Any) -> Any:
    return app.state.service.directory.identify(HEADERS["Authorization"])
