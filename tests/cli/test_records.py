"""``auditbox records``."""

from __future__ import annotations

import csv
import io
import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from auditbox.api import AuditApi
from auditbox.emulator import Emulator, running
from auditbox.records import AuditRecord

from .conftest import ORDER, TOKEN, Run, Start, ended, line_with

OTHER = "AGR-1111-1111-1111"
Post = Callable[..., AuditRecord]


@pytest.fixture
def post(api: Emulator) -> Post:
    """Posts a record."""

    def post(
        event: str = "extensions.shop.order.approved",
        about: str = ORDER,
        token: str = TOKEN,
        summary: str = "Approved",
        documents: dict[str, Any] | None = None,
    ) -> AuditRecord:
        with AuditApi(api.url, token=token) as client:
            return client.records.create(
                event=event, object=about, summary=summary, details="By {{order.by}}", documents=documents
            )

    return post


@pytest.fixture
def env(api: Emulator) -> dict[str, str]:
    """Where the API is and with which token: in the environment, as for every command."""
    return {"MPT_API_BASE_URL": api.url, "MPT_API_TOKEN": TOKEN}


def ids(run: Run, env: dict[str, str], *arguments: object) -> list[str]:
    """The ids that a list gives."""
    result = run("records", "list", "--json", *arguments, **env)
    assert result.returncode == 0, result.stderr
    return [record["id"] for record in json.loads(result.stdout)]


def test_a_table_shows_the_newest_first(run: Run, env: dict[str, str], post: Post) -> None:
    """Time, id, event, object, actor and summary; nothing in it steers the terminal."""
    first, second = post(summary="One"), post(about=OTHER, summary="T\x1b]0;wo")
    result = run("records", "list", **env)
    assert (result.returncode, result.stderr) == (0, "")
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["TIME", "ID", "EVENT", "OBJECT", "ACTOR", "SUMMARY"]
    assert [line.split()[1] for line in lines] == [second.id, first.id]
    assert lines[0].endswith("T\\u001b]0;wo")
    for part in ("extensions.shop.order.approved", ORDER, "TKN-1234-5678", "One"):
        assert part in lines[1]


def test_json_is_the_apis_own_shape(run: Run, env: dict[str, str], post: Post) -> None:
    """An array; with --select what lists lack otherwise, with --render the texts filled in."""
    record = post(documents={"order": {"by": "Will"}})
    (shown,) = json.loads(run("records", "list", "--json", "--select", "documents,viewers", **env).stdout)
    assert shown["timestamp"] == record.to_wire()["timestamp"]
    assert shown["documents"] == {"order": {"by": "Will"}}
    assert shown["viewers"]
    (shown,) = json.loads(run("records", "list", "--json", "--render", **env).stdout)
    assert shown["details"] == "By Will"
    assert "documents" not in shown


def test_csv_keeps_every_value_whole(run: Run, env: dict[str, str], post: Post) -> None:
    """Quotes, commas and line breaks included."""
    awkward = 'say "a, b"\nand c'
    post(summary=awkward)
    (row,) = csv.DictReader(io.StringIO(run("records", "list", "--csv", **env).stdout))
    assert (row["SUMMARY"], row["OBJECT"], row["OBJECT TYPE"]) == (awkward, ORDER, "Order")


@pytest.mark.parametrize(("shape", "expected"), [("--json", "[]\n"), (None, "nothing found\n")])
def test_nothing_found_is_no_error(run: Run, env: dict[str, str], shape: str | None, expected: str) -> None:
    """It says so; in JSON an empty array."""
    result = run("records", "list", *filter(None, [shape]), **env)
    assert (result.returncode, result.stdout) == (0, expected)


def test_friendly_filters_narrow_down(run: Run, env: dict[str, str], post: Post) -> None:
    """By object, event (whole, its end, a pattern) and actor, and all of them together."""
    approved = post().id
    created = post("extensions.shop.order.created", OTHER).id
    by_other = post(token="idt:TKN-9999-9999:x").id
    assert ids(run, env, "--object", OTHER) == [created]
    assert ids(run, env, "--event", "extensions.shop.order.created") == [created]
    assert ids(run, env, "--event", "order.created") == [created]
    assert ids(run, env, "--event", "extensions.shop.*") == [by_other, created, approved]
    assert ids(run, env, "--event", "created") == [created]
    assert ids(run, env, "--event", "der.created") == []
    assert ids(run, env, "--event", "order.*") == [by_other, created, approved]
    assert ids(run, env, "--event", "order.cr**") == [created]
    assert ids(run, env, "--event", "der.*") == ids(run, env, "--event", "platform*") == []
    assert ids(run, env, "--event", "*") == [by_other, created, approved]
    assert ids(run, env, "--actor", "TKN-9999-9999") == [by_other]
    assert ids(run, env, "--actor", "TKN-1234-5678", "--event", "*approved", "--object", ORDER) == [approved]


def test_a_star_inside_an_event_is_an_error_that_names_the_way_out(run: Run) -> None:
    """The API has none: it would find nothing without a word."""
    for pattern in ("extensions.*.approved", "*or*er*"):
        result = run("records", "list", "--event", pattern)
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        for part in (pattern, "at the ends alone", "--filter \"like(event,'*.approved')\""):
            assert part in result.stderr


@pytest.mark.parametrize(("arguments", "form"), [((), "the table"), (("--csv",), "CSV")])
def test_what_only_json_shows_is_said(
    run: Run, env: dict[str, str], post: Post, arguments: tuple[str, ...], form: str
) -> None:
    """Documents do not fit into columns; on stderr, so that what is piped stays what it is."""
    post(documents={"order": {"by": "Will"}})
    result = run("records", "list", "--select", "documents", *arguments, **env)
    assert (result.returncode, result.stdout) == (0, run("records", "list", *arguments, **env).stdout)
    said = f"auditbox: {form} does not show what --select names (documents): --json does\n"
    assert result.stderr == said
    assert run("records", "list", "--select", "documents", "--json", **env).stderr == ""


def test_times_bound_from_below_and_above(run: Run) -> None:
    """--since is included, --until is not; without a time zone they are UTC."""
    start = datetime(2026, 1, 31, 9, tzinfo=UTC)
    times = [start + timedelta(seconds=number) for number in range(3)]
    records = [
        {"id": f"AUD-0000-0000-0000-000{number}", "event": "platform.a.b.c", "summary": "s", "details": "d",
         "object": {"id": ORDER}, "timestamp": at.isoformat()}
        for number, at in enumerate(times)
    ]  # fmt: skip
    with running(seed={"records": records}) as api:
        env = {"MPT_API_BASE_URL": api.url, "MPT_API_TOKEN": TOKEN}
        assert ids(run, env, "--since", "2026-01-31T09:00:01") == [records[2]["id"], records[1]["id"]]
        assert ids(run, env, "--until", "2026-01-31T10:00:01+01:00") == [records[0]["id"]]
        assert ids(run, env, "--since", "2026-01-31", "--until", "2026-02-01", "--limit", "1") == [
            records[2]["id"]
        ]
        assert ids(run, env, "--since", "2h") == []


def test_rql_is_taken_as_it_is_and_joined(run: Run, env: dict[str, str], post: Post) -> None:
    """Alternatives inside one filter do not leak into the others."""
    post(OTHER_EVENT, OTHER, summary="a & b")
    wanted = post(OTHER_EVENT, summary="a & b").id
    post(summary="c")
    either = "eq(summary,'a & b');eq(summary,'c')"
    assert ids(run, env, "--filter", either, "--object", ORDER, "--filter", f"eq(event,'{OTHER_EVENT}')") == [
        wanted
    ]


OTHER_EVENT = "extensions.shop.order.shipped"


def test_a_limit_says_that_there_is_more(run: Run, env: dict[str, str], post: Post) -> None:
    """On stderr, so that nobody takes a part for the whole; 0 reads all pages."""
    for _ in range(3):
        post()
    result = run("records", "list", "--limit", "2", "--json", **env)
    assert len(json.loads(result.stdout)) == 2
    assert result.stderr == "auditbox: there are more than 2: --limit 0 shows all\n"
    assert run("records", "list", "--limit", "3", **env).stderr == ""
    assert len(ids(run, env, "--limit", "0")) == 3


def test_many_rows_come_page_by_page(run: Run) -> None:
    """More than one page and more than one table, each row once."""
    records = [
        {"id": f"AUD-0000-0000-0000-{number:04}", "event": "platform.a.b.c", "summary": "s", "details": "d",
         "object": {"id": ORDER}, "timestamp": "2026-01-31T09:00:00Z"}
        for number in range(601)
    ]  # fmt: skip
    with running(seed={"records": records}) as api:
        env = {"MPT_API_BASE_URL": api.url, "MPT_API_TOKEN": TOKEN}
        shown = run("records", "list", "--limit", "0", **env).stdout
    assert sorted(line.split()[1] for line in shown.splitlines() if "AUD-" in line) == [
        record["id"] for record in records
    ]


def test_get_shows_one_record_whole(run: Run, env: dict[str, str], post: Post) -> None:
    """As JSON, with documents; one that is not there is status 1."""
    record = post(documents={"order": {"by": "Will"}})
    result = run("records", "get", record.id, "--render", **env)
    shown = json.loads(result.stdout)
    assert (shown["id"], shown["documents"], shown["details"]) == (
        record.id,
        {"order": {"by": "Will"}},
        "By Will",
    )
    assert json.loads(run("records", "get", record.id, "--json", **env).stdout) == record.to_wire()
    (row,) = csv.DictReader(io.StringIO(run("records", "get", record.id, "--csv", **env).stdout))
    assert (row["ID"], row["OBJECT"]) == (record.id, ORDER)
    missing = run("records", "get", "AUD-0000-0000-0000-0000", **env)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("auditbox: no record AUD-0000-0000-0000-0000")


def test_watch_prints_what_comes(start: Start, env: dict[str, str], post: Post) -> None:
    """Not what was there before; Ctrl-C ends it."""
    post(summary="before")
    process = start("records", "watch", "--interval", "0.05", **env)
    line_with("watching", process.stderr)
    for summary in ("first", "second"):
        post(summary=summary)
    assert "before" not in line_with("first", process.stdout)
    line_with("second", process.stdout)
    code, rest, said = ended(process, signal.SIGINT)
    assert (code, rest, said) == (130, "", "")


def test_watch_begins_on_an_empty_trail(start: Start, env: dict[str, str], post: Post) -> None:
    """The very first record is new; with a filter only what it lets through; JSON a line."""
    process = start("records", "watch", "--object", OTHER, "--json", "--render", "--interval", "0.05", **env)
    line_with("watching", process.stderr)
    post()
    record = post(about=OTHER, documents={"order": {"by": "Will"}})
    shown = json.loads(line_with("AUD-", process.stdout))
    assert (shown["id"], shown["details"]) == (record.id, "By Will")


def test_watch_as_csv(start: Start, env: dict[str, str], post: Post) -> None:
    """The headers at once, then a line a record."""
    process = start("records", "watch", "--csv", "--interval", "0.05", **env)
    header = line_with("TIME", process.stdout)
    line_with("watching", process.stderr)
    record = post(summary='a, "b"')
    line = line_with(record.id, process.stdout)
    (row,) = csv.DictReader([header, line])
    assert (row["ID"], row["SUMMARY"]) == (record.id, 'a, "b"')


def test_watch_with_since_begins_earlier(start: Start, env: dict[str, str], post: Post) -> None:
    """Each record once, however often it looks."""
    for number in range(3):
        post(summary=f"old {number}")
    process = start("records", "watch", "--since", "1h", "--interval", "0.02", **env)
    line_with("old 2", process.stdout)
    for number in range(3):
        post(summary=f"new {number}")
    seen = []
    while not seen or "new 2" not in seen[-1]:
        seen.append(line_with("", process.stdout))
    assert [line.split("  ")[-1].strip() for line in seen] == ["new 0", "new 1", "new 2"]


def test_watch_waits_while_the_api_is_away(
    start: Start, env: dict[str, str], post: Post, api: Emulator
) -> None:
    """It says so once, and goes on where it was."""
    process = start("records", "watch", "--interval", "0.05", **env)
    line_with("watching", process.stderr)
    api.script({"action": "status", "status": 501, "method": "GET"})
    line_with("501", process.stderr)
    record = post()
    api.script()
    line_with("is back", process.stderr)
    assert record.id in line_with("AUD-", process.stdout)


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (("list",), {"MPT_API_TOKEN": TOKEN}, "MPT_API_BASE_URL"),
        (("list",), {"MPT_API_BASE_URL": "http://127.0.0.1:1"}, "MPT_API_TOKEN"),
        (("list",), {"MPT_API_BASE_URL": "http://example.com", "MPT_API_TOKEN": TOKEN}, "https://"),
        (("list", "--since", "soon"), {}, "how long ago"),
        (("list", "--limit", "-1"), {}, "--limit"),
        (("get",), {}, "ID"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    run: Run, arguments: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    """Status 2, and what to do."""
    result = run("records", *arguments, **env)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_apis_refusals_are_one_line(run: Run, env: dict[str, str], path: Path) -> None:
    """A filter that it does not understand; a token that it does not accept, not shown, but where it is."""
    wrong = run("records", "list", "--filter", "mistake(a,b)", **env)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "mistake: Unknown expression group." in wrong.stderr
    refused = run("records", "list", **{**env, "MPT_API_TOKEN": "sesame-9"})
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    told = f"auditbox: {env['MPT_API_BASE_URL']}/public/v1 answers 401 Unauthorized; check the token in "
    assert refused.stderr.startswith(f"{told}MPT_API_TOKEN")
    (path.parent / "token").write_text("sesame-9")
    from_file = run("records", "list", "--token-file", path.parent / "token", **env)
    assert from_file.stderr.startswith(f"{told}{path.parent / 'token'}")
    assert "sesame-9" not in refused.stderr + from_file.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("records", "list"),
        ("records", "get", "AUD-0000-0000-0000-0000"),
        ("event-types", "get", "AET-0000-0000"),
        ("event-types", "list"),
    ],
    ids=" ".join,
)
def test_a_wrong_address_is_named(run: Run, env: dict[str, str], command: tuple[str, ...]) -> None:
    """It is not said that there is no such record: that is not known."""
    wrong = f"{env['MPT_API_BASE_URL']}/elsewhere"
    result = run(*command, **{**env, "MPT_API_BASE_URL": wrong})
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    for part in (
        f"{wrong}/public/v1 answers 404 Not Found",
        "check the address",
        "MPT_API_BASE_URL",
        "--url",
    ):
        assert part in result.stderr


def test_the_token_may_come_from_a_file(run: Run, env: dict[str, str], tmp_path: Any, post: Post) -> None:
    """--token-file wins over the environment."""
    post()
    (tmp_path / "token").write_text(TOKEN + "\n")
    result = run(
        "records", "list", "--token-file", tmp_path / "token", **{**env, "MPT_API_TOKEN": "sesame-9"}
    )
    assert result.returncode == 0
