"""``auditbox event-types``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from auditbox import AuditTrail
from auditbox.api import AuditApi
from auditbox.emulator import Emulator

from .conftest import ORDER, TOKEN, Run

KEY = "extensions.shop.order.approved"


@pytest.fixture
def env(api: Emulator) -> dict[str, str]:
    """An API that knows two event types, in the environment."""
    with AuditApi(api.url, token=TOKEN) as client:
        for event in (KEY, "extensions.shop.order.created"):
            client.records.create(event=event, summary=f"By {event}", details="d", object=ORDER)
    return {"MPT_API_BASE_URL": api.url, "MPT_API_TOKEN": TOKEN}


def test_list_shows_them_by_key(run: Run, env: dict[str, str]) -> None:
    """As a table, JSON or CSV; a filter narrows it down."""
    lines = run("event-types", "list", **env).stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["KEY", KEY, "extensions.shop.order.created"]
    listed = json.loads(run("event-types", "list", "--json", "--filter", f"eq(key,'{KEY}')", **env).stdout)
    assert [(one["key"], one["name"]) for one in listed] == [(KEY, f"By {KEY}")]
    rows = list(csv.DictReader(io.StringIO(run("event-types", "list", "--csv", **env).stdout)))
    assert [row["KEY"] for row in rows] == [KEY, "extensions.shop.order.created"]


def test_get_takes_an_id_or_a_key(run: Run, env: dict[str, str]) -> None:
    """The same event type, as JSON."""
    by_key = json.loads(run("event-types", "get", KEY, **env).stdout)
    assert json.loads(run("event-types", "get", by_key["id"], **env).stdout) == by_key
    assert by_key["key"] == KEY
    assert run("event-types", "get", KEY, "--json", **env).stdout.count("\n") == 1
    (row,) = csv.DictReader(io.StringIO(run("event-types", "get", KEY, "--csv", **env).stdout))
    assert row == {"ID": by_key["id"], "KEY": KEY, "NAME": f"By {KEY}", "DESCRIPTION": ""}


def test_rename_changes_the_name_alone_or_the_description_too(run: Run, env: dict[str, str]) -> None:
    """By key or id; the key stays, and so does what is not named."""
    renamed = run("event-types", "rename", KEY, "Order approved", **env)
    assert renamed.returncode == 0
    shown = json.loads(run("event-types", "get", KEY, **env).stdout)
    assert renamed.stdout == f"{shown['id']}  {KEY}  Order approved\n"
    assert (
        run("event-types", "rename", shown["id"], "--description", "After the check", **env).returncode == 0
    )
    assert json.loads(run("event-types", "get", KEY, **env).stdout) == {
        "id": shown["id"],
        "key": KEY,
        "name": "Order approved",
        "description": "After the check",
    }


def test_a_type_is_called_by_its_first_records_summary_until_it_is_renamed(
    run: Run, path: Path, api: Emulator
) -> None:
    """Whatever title events= gives; later records change nothing, before and after."""
    event, env = "extensions.shop.order.shipped", {"MPT_API_BASE_URL": api.url, "MPT_API_TOKEN": TOKEN}

    def name(*summaries: str | None) -> str:
        titles = {"order.shipped": "Order shipped"}
        with AuditTrail(path, sink=api.url, token=TOKEN, extension="shop", events=titles) as trail:
            for summary in summaries:
                trail.record("order.shipped", object=ORDER, summary=summary)
            assert trail.flush(timeout=30)
        return str(json.loads(run("event-types", "get", event, **env).stdout)["name"])

    assert name("Shipped to Ann Example", None) == "Shipped to Ann Example"
    assert run("event-types", "rename", event, "Order shipped", **env).returncode == 0
    assert name("Shipped to Bob Example") == "Order shipped"


@pytest.mark.parametrize("wanted", ["AET-0000-0000", "extensions.shop.nothing", "it's"])
@pytest.mark.parametrize("command", [("get",), ("rename",)])
def test_one_that_is_not_there_is_status_1(
    run: Run, env: dict[str, str], command: tuple[str], wanted: str
) -> None:
    """And one line."""
    result = run("event-types", *command, wanted, *(["x"] if command == ("rename",) else []), **env)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"auditbox: no event type {wanted}\n"


@pytest.mark.parametrize("arguments", [(KEY,), (KEY, " "), (KEY, "--description", "")])
def test_rename_wants_something_to_say(run: Run, env: dict[str, str], arguments: tuple[str, ...]) -> None:
    """Status 2; nothing has changed."""
    result = run("event-types", "rename", *arguments, **env)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert json.loads(run("event-types", "get", KEY, **env).stdout)["name"] == f"By {KEY}"
