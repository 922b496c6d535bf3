"""``auditbox emulator``."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from auditbox.api import AuditApi
from auditbox.errors import ApiStatusError, ValidationFailed

from .conftest import ORDER, TOKEN, Run, Start, ended, environment, line_with


def settings(process: Any) -> tuple[str, str]:
    """The URL and the token that it prints for the settings of an application."""
    line = line_with("MPT_API_BASE_URL=", process.stdout)
    found = re.fullmatch(r"MPT_API_BASE_URL=(\S+) MPT_API_TOKEN=(\S+)\n", line)
    assert found is not None
    assert line_with("/docs", process.stdout).startswith(f"# {found[1]}/docs ")
    return found[1], found[2]


def test_it_serves_and_keeps_its_records(start: Start, tmp_path: Path) -> None:
    """What it prints are the settings of a client; what was posted survives a restart."""
    for expected in (1, 2):
        process = start("emulator", "--port", "0", "--db", tmp_path / "api.db")
        url, token = settings(process)
        with AuditApi(url, token=token) as api:
            api.records.create(event="extensions.shop.ping", summary="s", details="d", object=ORDER)
            assert api.records.list().total == expected
        code, _, said = ended(process, signal.SIGINT)
        assert (code, said) == (0, "")


def test_strict_refuses_tokens_that_nobody_seeded(start: Start, tmp_path: Path) -> None:
    """--strict with --seed: only the accounts of the file."""
    seed = tmp_path / "seed.json"
    seed.write_text(
        '{"accounts": [{"id": "ACC-0000-0001", "name": "Ops", "type": "Operations"}],'
        ' "tokens": [{"id": "TKN-0000-0001", "name": "t", "account": "ACC-0000-0001",'
        '  "token": "idt:TKN-0000-0001:a"}]}'
    )
    process = start("emulator", "--port", "0", "--strict", "--seed", seed)
    url, token = settings(process)
    assert token == "idt:TKN-0000-0001:a"
    with AuditApi(url, token=token) as api:
        assert api.records.list().total == 0
    with AuditApi(url, token=TOKEN) as api, pytest.raises(Exception, match="401"):
        api.records.list()


def test_strict_says_which_tokens_are_good(start: Start) -> None:
    """Of the shipped seed a vendor's to begin with, and all three with whose they are; each of them works."""
    process = start("emulator", "--port", "0", "--strict")
    url, token = settings(process)
    told = [line_with("# idt:", process.stdout).split() for _ in range(3)]
    assert [(line[1], line[2]) for line in told] == [
        ("idt:TKN-1111-1111:vendor", "Vendor"),
        ("idt:TKN-0000-0001:operations", "Operations"),
        ("idt:TKN-9042-0088:client", "Client"),
    ]
    assert token == told[0][1]
    for line in told:
        with AuditApi(url, token=line[1]) as api:
            assert api.records.list(limit=0).total >= 1


def test_strict_without_tokens_is_warned_about(start: Start, tmp_path: Path) -> None:
    """A seed that nobody can use says so at the start."""
    (tmp_path / "seed.json").write_text("{}")
    process = start("emulator", "--port", "0", "--strict", "--seed", tmp_path / "seed.json")
    assert "MPT_API_TOKEN" not in line_with("MPT_API_BASE_URL=", process.stdout)
    assert "every request is a 401" in line_with("auditbox: ", process.stderr)


def test_a_lax_seeds_own_token_is_named(start: Start, tmp_path: Path) -> None:
    """Where the seed has tokens, those are printed: another one with the same id would be refused."""
    (tmp_path / "seed.json").write_text(
        '{"accounts": [{"id": "ACC-1111-1111", "name": "Acme", "type": "Vendor"}], "tokens": [{"id":'
        ' "TKN-1234-5678", "name": "t", "account": "ACC-1111-1111", "token": "idt:TKN-1234-5678:own"}]}'
    )
    url, token = settings(start("emulator", "--port", "0", "--seed", tmp_path / "seed.json"))
    assert token == "idt:TKN-1234-5678:own"
    with AuditApi(url, token=token) as api:
        assert api.records.list().total == 0


def test_limits_are_options(start: Start) -> None:
    """Sizes of bodies, pages and streams, and whether it streams at all."""
    process = start("emulator", "--port", "0", "--max-body", "10", "--max-limit", "5", "--no-streaming")
    url, token = settings(process)
    with AuditApi(url, token=token) as api:
        assert api.records.list(limit=50).limit == 5
        with pytest.raises(ValidationFailed, match="413"):
            api.records.create(event="extensions.shop.ping", summary="s", details="d", object=ORDER)
        assert list(api.records.stream()) == []
    assert httpx.get(
        f"{url}/public/v1/audit/records",
        headers={"MPT-Streaming": "true", "Authorization": f"Bearer {token}"},
    ).status_code == 501  # fmt: skip
    process = start("emulator", "--port", "0", "--max-stream", "0")
    url, token = settings(process)
    with AuditApi(url, token=token) as api:
        api.records.create(event="extensions.shop.ping", summary="s", details="d", object=ORDER)
        with pytest.raises(ValidationFailed, match="more than 0 rows"):
            list(api.records.stream())


def test_faults_and_latency_are_scripted_from_the_start(start: Start, tmp_path: Path) -> None:
    """--faults takes what the emulator's own page for faults takes, --latency holds for every request."""
    script = tmp_path / "faults.json"
    script.write_text('[{"action": "status", "status": 418, "method": "POST", "count": 1}]')
    process = start("emulator", "--port", "0", "--faults", script, "--latency", "0.01")
    url = line_with("MPT_API_BASE_URL=", process.stdout).split()[0].partition("=")[2]
    fields = {"event": "extensions.shop.ping", "summary": "s", "details": "d", "object": ORDER}
    with AuditApi(url, token=TOKEN) as api:
        with pytest.raises(ApiStatusError, match="418"):
            api.records.create(**fields)  # type: ignore[arg-type]
        api.records.create(**fields)  # type: ignore[arg-type]
    plan = httpx.get(f"{url}/_emulator/faults").json()
    assert (plan["latency"], plan["faults"][0]["struck"]) == (0.01, 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), ("{", "is no JSON"), ('[{"action": "explode"}]', "action")],
)
def test_faults_that_cannot_be_used_are_one_line(
    run: Run, tmp_path: Path, content: str | None, said: str
) -> None:
    """And status 2, before it listens."""
    if content is not None:
        (tmp_path / "faults.json").write_text(content)
    result = run("emulator", "--port", "0", "--faults", tmp_path / "faults.json")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert said in result.stderr


def test_a_port_in_use_is_one_line(run: Run) -> None:
    """And status 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("emulator", "--port", port)
    assert result.returncode == 2
    assert result.stderr.startswith("auditbox: ")
    assert str(port) in result.stderr
    assert result.stderr.count("\n") == 1


def test_other_machines_are_let_in_only_on_request(run: Run, start: Start) -> None:
    """An address that is not loopback needs a flag of its own, and is warned about."""
    refused = run("emulator", "--port", "0", "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    process = start("emulator", "--port", "0", "--host", "0.0.0.0", "--allow-remote")
    line_with("MPT_API_BASE_URL=", process.stdout)
    _, _, said = ended(process)
    assert said.startswith("auditbox: whoever reaches 0.0.0.0 gets in")


@pytest.mark.parametrize("command", ["emulator", "demo"])
def test_a_missing_extra_names_the_command_that_installs_it(command: str) -> None:
    """Without FastAPI the rest of auditbox works, and these two say what they need."""
    script = (
        "import sys; sys.modules['fastapi'] = None;"
        f"from auditbox.cli import main; sys.exit(main(['{command}']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment({}), capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "pip install 'auditbox[emulator]'" in result.stderr
    assert result.stderr.count("\n") == 1
