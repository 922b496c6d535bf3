"""``auditbox emulator``."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from auditbox.api import AuditApi

from .conftest import ORDER, TOKEN, Run, Start, ended, environment, line_with


def test_it_serves_and_keeps_its_records(start: Start, tmp_path: Path) -> None:
    """What it prints are the settings of a client; what was posted survives a restart."""
    for expected in (1, 2):
        process = start("emulator", "--port", "0", "--db", tmp_path / "api.db")
        line = line_with("MPT_API_BASE_URL=", process.stdout)
        found = re.fullmatch(r"MPT_API_BASE_URL=(\S+) MPT_API_TOKEN=(\S+)\n", line)
        assert found is not None
        with AuditApi(found[1], token=found[2]) as api:
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
    url = line_with("MPT_API_BASE_URL=", process.stdout).strip().partition("=")[2]
    with AuditApi(url, token="idt:TKN-0000-0001:a") as api:
        assert api.records.list().total == 0
    with AuditApi(url, token=TOKEN) as api, pytest.raises(Exception, match="401"):
        api.records.list()


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
