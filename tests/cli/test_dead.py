"""``auditbox dead``."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditbox import AuditTrail, Policy
from auditbox.api import AuditApi
from auditbox.emulator import Emulator
from auditbox.names import NO_OBJECT
from auditbox.outbox.inspection import Inspection
from auditbox.wsgi import AuditMiddleware

from .conftest import ORDER, PROBLEM, TOKEN, Run, arrived

Capture = Callable[..., list[str]]
Bury = Callable[..., None]
OTHER = "ORD-1111-1111-1111"


def test_list_shows_what_is_dead_and_why(run: Run, path: Path, capture: Capture, bury: Bury) -> None:
    """Number, id, object, event, time and the server's words."""
    ids = capture(ORDER, OTHER)
    bury(1)
    listed = run("dead", "list", "--outbox", path).stdout.splitlines()
    assert len(listed) == 2
    for part in ("1", ids[0], ORDER, "extensions.shop.order.approved", PROBLEM["reason"]):
        assert str(part) in listed[1]
    (letter,) = json.loads(run("dead", "list", "--json", "--outbox", path).stdout)
    assert (letter["id"], letter["problem"], letter["state"]) == (ids[0], PROBLEM, "dead")


def test_list_shows_the_object_and_the_lane_only_where_it_is_another(
    run: Run, path: Path, bury: Bury
) -> None:
    """A lane that the capture named has a column; without an object it says none, and no id twice."""

    def listed() -> list[list[str]]:
        shown = run("dead", "list", "--outbox", path).stdout.splitlines()
        return [line.split()[:5] for line in shown]

    with AuditTrail(path, extension="shop") as trail:
        ids = [
            trail.record("order.approved", object=ORDER),
            trail.record("order.changed", object=NO_OBJECT),
        ]
    event = "extensions.shop.order."
    bury(1, 2)
    assert listed() == [
        ["SEQ", "ID", "OBJECT", "EVENT", "CAPTURED"],
        ["1", ids[0], ORDER, f"{event}approved", listed()[1][4]],
        ["2", ids[1], "none", f"{event}changed", listed()[2][4]],
    ]
    with AuditTrail(path, extension="shop") as trail:
        ids.append(trail.record("order.imported", object=OTHER, lane="import"))
    bury(3)
    assert listed() == [
        ["SEQ", "ID", "OBJECT", "LANE", "EVENT"],
        ["1", ids[0], ORDER, f"{event}approved", listed()[1][4]],
        ["2", ids[1], "none", f"{event}changed", listed()[2][4]],
        ["3", ids[2], OTHER, "import", f"{event}imported"],
    ]
    letters = json.loads(run("dead", "list", "--json", "--outbox", path).stdout)
    known = [(letter["object"], letter["lane"]) for letter in letters]
    assert known == [(ORDER, ORDER), (None, ids[1]), (OTHER, "import")]
    assert json.loads(run("dead", "show", "3", "--outbox", path).stdout)["object"] == OTHER


def test_list_says_where_the_object_cannot_be_read_any_more(
    run: Run, path: Path, capture: Capture, bury: Bury
) -> None:
    """A damaged record is about something that is not known; the lane may tell."""
    capture(ORDER)
    bury(1)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entry SET body = CAST('{\"object\":' AS BLOB)")
    db.close()
    assert run("dead", "list", "--outbox", path).stdout.splitlines()[1].split()[2:4] == ["?", ORDER]


def test_list_without_dead_letters(run: Run, path: Path, capture: Capture) -> None:
    """Says so; in JSON an empty list."""
    capture(ORDER)
    assert run("dead", "list", "--outbox", path).stdout == "no dead letters\n"
    assert run("dead", "list", "--json", "--outbox", path).stdout == "[]\n"


def test_show_is_the_whole_story_as_json(run: Run, path: Path, capture: Capture, bury: Bury) -> None:
    """By id or number; the body cannot steer the terminal."""
    ids = capture(ORDER, summary="a\x1b]0;title\x07b")
    bury(1)
    shown = run("dead", "show", ids[0], "--outbox", path).stdout
    assert shown == run("dead", "show", "1", "--outbox", path).stdout
    assert "\x1b" not in shown
    story = json.loads(shown)
    assert story["problem"] == PROBLEM
    assert story["record"]["summary"] == "a\x1b]0;title\x07b"
    assert story["record"]["object"] == {"id": ORDER}


def test_what_is_unknown_is_status_1(run: Run, path: Path, capture: Capture) -> None:
    """An entry that is not there cannot be shown, and one that is not dead neither replayed nor discarded."""
    capture(ORDER)
    shown = run("dead", "show", "77", "--outbox", path)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "no entry 77" in shown.stderr
    for arguments in (("replay", "1"), ("discard", "1", "--reason", "x")):
        result = run("dead", *arguments, "--outbox", path)
        assert (result.returncode, result.stderr) == (1, "auditbox: 1 is no dead letter\n")
    assert Inspection(path).status().pending == 1


def test_replay_sends_again(run: Run, path: Path, capture: Capture, bury: Bury, api: Emulator) -> None:
    """The next relay delivers it; it says that none is running."""
    (id,) = capture(ORDER)
    bury(1)
    result = run("dead", "replay", id, "--outbox", path)
    assert (result.returncode, result.stdout) == (0, f"1 {id} will be sent again\n")
    assert "no relay is running" in result.stderr
    assert Inspection(path).dead_letters() == []
    assert run("flush", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN).returncode == 0
    assert arrived(api) == [id]


def test_replay_says_what_has_been_overtaken(
    run: Run, path: Path, capture: Capture, bury: Bury, api: Emulator
) -> None:
    """A later record of the same object has arrived: the order in the trail is not that of the capture."""
    first, _, third = capture(ORDER, OTHER, ORDER)
    bury(1, 2)
    assert run("flush", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN).returncode == 1
    assert arrived(api) == [third]
    lines = run("dead", "replay", "--all", "--outbox", path).stdout.splitlines()
    assert lines[0] == f"1 {first} will be sent again; out of order: later records of its object have arrived"
    assert lines[1].endswith("will be sent again")


def test_replay_chooses_by_the_problem(run: Run, path: Path, capture: Capture, bury: Bury) -> None:
    """--reason takes those whose problem holds the text, and leaves the others."""
    capture(ORDER)
    bury(1, reason="400 Bad Request: no such order")
    capture(OTHER)
    bury(2, reason="422 Unprocessable: too late")
    result = run("dead", "replay", "--reason", "unprocessable", "--outbox", path)
    assert result.stdout.startswith("2 ")
    assert [letter.seq for letter in Inspection(path).dead_letters()] == [1]


def test_discard_leaves_a_tombstone(run: Run, path: Path, capture: Capture, bury: Bury) -> None:
    """The entry stays, with the reason; it is no dead letter any more and never sent."""
    (id,) = capture(ORDER)
    bury(1)
    result = run("dead", "discard", "1", "--reason", "agreed with Ann", "--outbox", path)
    assert (result.returncode, result.stdout) == (0, f"1 {id} is discarded\n")
    story = Inspection(path).story(id)
    assert story is not None
    assert story.state == "discarded"
    assert (story.reason or "").startswith("agreed with Ann (it was dead because: 400")
    assert story.record is not None
    status = Inspection(path).status()
    assert (status.dead, status.discarded, status.pending) == (0, 1, 0)


@pytest.mark.parametrize("command", ["discard", "fix"])
def test_a_reason_is_kept_without_the_secrets_in_it(
    run: Run, path: Path, capture: Capture, bury: Bury, command: str
) -> None:
    """It stays for ever, and is as readable as the file."""
    capture(ORDER)
    bury(1)
    arguments = ("--set", "summary=x") if command == "fix" else ()
    said = "as told: password=hunter2, Bearer abcdefghijklmnop123456"
    assert run("dead", command, "1", *arguments, "--reason", said, "--outbox", path).returncode == 0
    kept = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    assert b"as told: password=[redacted]" in kept
    assert b"hunter2" not in kept
    assert b"abcdefghijklmnop123456" not in kept


@pytest.mark.parametrize(
    "arguments",
    [
        ("discard", "1"),
        ("discard", "1", "--reason", " "),
        ("discard", "--reason", "x"),
        ("replay",),
        ("replay", "1", "--all"),
        ("replay", "--all", "--reason-like", "x"),
    ],
    ids=" ".join,
)
def test_nothing_is_decided_by_accident(
    run: Run, path: Path, capture: Capture, bury: Bury, arguments: tuple[str, ...]
) -> None:
    """A discard wants a reason, and what is meant must be said, in one way."""
    capture(ORDER)
    bury(1)
    result = run("dead", *arguments, "--outbox", path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert Inspection(path).status().dead == 1


def test_list_does_not_carry_the_records(run: Run, path: Path, capture: Capture, bury: Bury) -> None:
    """Show has them; a list of many stays small."""
    capture(ORDER, documents={"order": {"text": "x" * 10_000}})
    bury(1)
    listed = run("dead", "list", "--json", "--outbox", path).stdout
    assert len(listed) < 1000
    (letter,) = json.loads(listed)
    assert (letter["event"], letter["attempts"]) == ("extensions.shop.order.approved", 1)


def test_fix_captures_a_correction_and_discards_the_letter(
    run: Run, path: Path, capture: Capture, bury: Bury, api: Emulator
) -> None:
    """It occurred when it occurred, says what it replaces, and both numbers are explained."""
    (id,) = capture(ORDER, documents={"order": {"total": 1}})
    bury(1)
    result = run(
        "dead", "fix", "1", "--set", f"object.id={OTHER}", "--set", "documents.order.total=2",
        "--set", "summary=Bearer abcdefghijklmnop123456", "--reason", "wrong order", "--outbox", path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"1 {id} is discarded; 2 ")
    new = result.stdout.split()[5]
    assert run("flush", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN).returncode == 0
    (request,) = [request for request in api.requests() if request["method"] == "POST"]
    body, old = request["body"], Inspection(path).story(id)
    assert old is not None
    assert old.state == "discarded"
    own = body["documents"]["auditbox"]
    assert (own["id"], own["replaces"], own["seq"]) == (new, id, 2)
    assert own["occurredAt"] == old.record["documents"]["auditbox"]["occurredAt"]
    assert (body["object"]["id"], body["documents"]["order"]) == (OTHER, {"total": 2})
    assert "abcdefghijklmnop123456" not in body["summary"]
    (tombstone,) = Inspection(path).tombstones()
    assert (tombstone.seq, tombstone.id) == (1, id)
    assert tombstone.reason.startswith(f"wrong order; replaced by {new} (it was dead because: 400")


def test_the_record_of_a_request_without_an_object_is_a_dead_letter_that_can_be_given_one(
    run: Run, path: Path, api: Emulator
) -> None:
    """It is refused, holds nobody up, and arrives once it says what it is about."""

    def application(environ: object, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"ok"]

    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/orders/none", "wsgi.input": io.BytesIO()}
    with AuditTrail(
        path, sink=api.url, token=TOKEN, extension="shop", policy=Policy(verify_after=0.1)
    ) as trail:
        middleware = AuditMiddleware(application, every={"event": "order.changed"}, trail=trail)
        assert list(middleware(environ, lambda *_: None)) == [b"ok"]
        trail.record("order.approved", object=ORDER)
        assert trail.flush(timeout=20).dead == 1
    (letter,) = json.loads(run("dead", "list", "--json", "--outbox", path).stdout)
    assert letter["problem"]["status"] == 400
    fix = ("dead", "fix", "1", "--set", f"object.id={OTHER}", "--reason", "there was none", "--outbox", path)
    assert run(*fix).returncode == 0
    assert run("flush", "--outbox", path, MPT_API_BASE_URL=api.url, MPT_API_TOKEN=TOKEN).returncode == 0
    with AuditApi(api.url, token=TOKEN) as client:
        assert sorted(record.object.id for record in client.records.iterate()) == sorted([ORDER, OTHER])


@pytest.mark.parametrize(
    ("arguments", "env"), [(("--extension", "shop"), {}), ((), {"AUDITBOX_EXTENSION": "shop"})]
)
def test_a_short_event_is_of_the_extension(
    run: Run, path: Path, capture: Capture, bury: Bury, arguments: tuple[str, ...], env: dict[str, str]
) -> None:
    """As in the application; where none is named, it is said how to name one, and nothing is changed."""
    capture(ORDER)
    bury(1)
    fix = ("dead", "fix", "1", "--set", "event=order.renumbered", "--reason", "x", "--outbox", path)
    result = run(*fix)
    assert result.returncode == 2
    for way in ("AUDITBOX_EXTENSION", "--extension", "extensions.<extension>.order.renumbered"):
        assert way in result.stderr
    assert run(*fix, *arguments, **env).returncode == 0
    shown = json.loads(run("dead", "show", "2", "--outbox", path).stdout)
    assert shown["event"] == shown["record"]["event"] == "extensions.shop.order.renumbered"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("object.id=order 1", "an object id looks like"),
        ("event=", "not empty"),
        ("documents.auditbox.id=x", "can be set"),
        ("actor=x", "can be set"),
        ("summary", "FIELD=VALUE"),
    ],
)
def test_a_fix_that_breaks_a_rule_changes_nothing(
    run: Run, path: Path, capture: Capture, bury: Bury, change: str, said: str
) -> None:
    """The rule is said, and the dead letter stays one."""
    capture(ORDER)
    bury(1)
    result = run("dead", "fix", "1", "--set", change, "--reason", "x", "--outbox", path)
    assert (result.returncode, said in result.stderr) == (2, True), result.stderr
    status = Inspection(path).status()
    assert (status.dead, status.captured) == (1, 1)


def test_only_a_dead_letter_can_be_fixed(run: Run, path: Path, capture: Capture) -> None:
    """What is still on its way is left alone."""
    capture(ORDER)
    result = run("dead", "fix", "1", "--set", "summary=x", "--reason", "x", "--outbox", path)
    assert (result.returncode, result.stderr) == (1, "auditbox: 1 is no dead letter\n")
