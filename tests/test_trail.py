"""AuditTrail: what a program holds, from construction to the Audit API."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import auditbox
from auditbox import AuditTrail, Backoff, Policy, audit_context, audited
from auditbox.cli.status import why
from auditbox.errors import (
    ConfigurationError,
    NotAnOutbox,
    NoTrail,
    OutboxBusy,
    OutboxFull,
    OutboxUnusable,
    RecordError,
    UndeclaredEvent,
    WrongDestination,
)
from auditbox.outbox.files import FileLock
from auditbox.outbox.inspection import Inspection
from auditbox.sinks.audit_api import AuditApiSink
from auditbox.sinks.base import Delivery, FakeSink, Problem, Refused, SendOutcome
from auditbox.sinks.jsonlines import JsonLinesSink
from auditbox.testing import capture

ORDER = "ORD-1208-2301-8479"
URL, TOKEN = "https://api.example.com", "idt:TKN-1234-5678:do-not-store-me"


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[AuditTrail]:
    with AuditTrail(tmp_path / "audit.db", sink=FakeSink(), extension="shop") as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_default_trail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditbox.default._default", None)


def test_importing_and_constructing_leave_no_trace(tmp_path: Path) -> None:
    """No file, no thread, no HTTP client: an application may be imported in a container build."""
    code = """
import sys, threading, auditbox
heavy = {"fastapi", "starlette", "uvicorn", "sqlite_utils", "opentelemetry.sdk", "flask", "django"}
assert not {"httpx", "pydantic", "asyncio", *heavy} & set(sys.modules), sys.modules.keys()
auditbox.configure(auditbox.AuditTrail("audit.db", sink="https://api.example.com", extension="shop"))
assert not heavy & set(sys.modules), sys.modules.keys()
assert threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_record_is_delivered_as_the_contract_wants_it(tmp_path: Path) -> None:
    """With the outbox's id and a gapless number."""
    target = tmp_path / "out.jsonl"
    with AuditTrail(tmp_path / "audit.db", sink=JsonLinesSink(target), extension="shop") as trail:
        ids = [trail.record("order.approved", object=ORDER, documents={"n": n}) for n in range(3)]
        assert trail.flush(10)
        name = trail.outbox.name
    sent = [json.loads(line) for line in target.read_text().splitlines()]
    assert [one["documents"]["auditbox"]["id"] for one in sent] == ids
    assert [one["documents"]["auditbox"]["seq"] for one in sent] == [1, 2, 3]
    assert {one["documents"]["auditbox"]["outbox"] for one in sent} == {name}


def test_records_are_stored_all_or_none(trail: AuditTrail) -> None:
    """One bad record, and none of its companions is captured."""
    good = {"event": "order.split", "object": ORDER}
    for bad, message in [
        ({"event": "order.split", "object": "x"}, "object='x'"),
        ({"object": ORDER}, "event=None"),
        ({**good, "colour": "red"}, "unknown key; known are actor"),
    ]:
        with pytest.raises(RecordError, match=message):
            trail.record_many([good, bad])
    assert trail.outbox.last_seq() == 0
    assert len(trail.record_many([good] * 3)) == 3
    assert trail.outbox.last_seq() == 3


def test_composed_now_and_stored_later(tmp_path: Path) -> None:
    """record_many in two halves: context, checks and time of the first, the disk of the second."""
    trail = AuditTrail(tmp_path / "audit.db", extension="shop")
    with audit_context(actor="USR-0556-8733", object=ORDER):
        drafts = trail.compose([{"event": "order.split"}, {"event": "order.priced"}])
    assert not (tmp_path / "audit.db").exists()
    with pytest.raises(RecordError, match="object"):
        trail.compose([{"event": "order.split"}])
    trail.store(drafts)
    trail.close()
    with sqlite3.connect(trail.outbox.path) as database:
        bodies = [json.loads(body) for (body,) in database.execute("SELECT body FROM entry ORDER BY seq")]
    assert [body["documents"]["auditbox"]["id"] for body in bodies] == [draft.id for draft in drafts]
    assert {body["documents"]["auditbox"]["actor"]["id"] for body in bodies} == {"USR-0556-8733"}


def test_what_is_done_is_kept_when_it_cannot_be_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """store(done=True) never raises: the very drafts wait in memory until they can be stored."""
    (tmp_path / "folder").write_text("in the way")
    trail = AuditTrail(tmp_path / "folder" / "audit.db", extension="shop")
    drafts = trail.compose([{"event": "order.split", "object": ORDER}])
    with pytest.raises(OutboxUnusable):
        trail.store(drafts)
    trail.store(drafts, done=True)
    assert f"a change about '{ORDER}' waits in memory" in caplog.text
    (tmp_path / "folder").unlink()
    (tmp_path / "folder").mkdir()
    trail.record("order.priced", object=ORDER)
    trail.close()
    with sqlite3.connect(trail.outbox.path) as database:
        ids = [id for (id,) in database.execute("SELECT id FROM entry ORDER BY seq")]
    assert ids[0] == drafts[0].id
    assert len(ids) == 2


def test_secrets_never_reach_the_disk(tmp_path: Path) -> None:
    """Byte for byte: neither the database nor its WAL nor any file beside it holds them."""
    secret = "correct-horse-battery-staple"
    bearer = "Bearer abcdefGHIJ.klmnop-123456"
    with AuditTrail(tmp_path / "audit.db", extension="shop", token=None) as trail:
        trail.record(
            "user.created",
            object=ORDER,
            summary=f"created with password={secret}",
            details=f"Authorization: {bearer}",
            documents={"user": {"Password": secret, "nested": [{"api-key": secret}], "note": bearer}},
            outcome={"status": "failure", "error": f"ValueError: token={secret}"},
            actor={"id": f"idt:TKN-1234-5678:{secret}"},
        )
        with audit_context(documents={"session": {"cookie": secret}}):
            trail.record("user.created", object=ORDER)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"user.created" in content
    assert secret.encode() not in content
    assert b"abcdefGHIJ" not in content


def test_the_token_is_stored_and_shown_nowhere(tmp_path: Path) -> None:
    """Neither in the file nor in any repr."""
    trail = AuditTrail(tmp_path / "audit.db", sink=URL, token=TOKEN, extension="shop")
    trail.outbox.ready()
    shown = f"{trail!r} {trail._sink!r} {vars(trail)!r}"
    trail.outbox.close()
    assert "do-not-store-me" not in shown
    assert b"do-not-store-me" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sink": "http://api.example.com"}, "https://"),
        ({"sink": "ftp://x"}, "https://"),
        ({"sink": "https://user:pass@host"}, "token="),
        ({"sink": 5}, "sink=5"),
        ({"sink": URL, "token": "a b"}, "token"),
        ({"sink": FakeSink(), "token": "x"}, "token="),
        *(
            ({"extension": bad}, f"extension={bad!r}: one name such as 'shop', without dots, blanks, quotes")
            for bad in (
                "a.b",
                "",
                "a b",
                "a\u00a0b",
                'sh"op',
                "sh'op",
                "sh\\op",
                "a\0b",
                "a\x7f",
                "\ud800",
                5,
            )
        ),
        *(
            (
                {"busy_timeout": bad},
                f"busy_timeout={bad!r}: a number of seconds, more than 0 and at most 86400",
            )
            for bad in (0, -1.0, float("inf"), float("nan"), 1e10, 10**400, None, "5")
        ),
        ({"events": "order.approved"}, "events='order.approved'"),
        ({"events": {"order approved": "x"}}, "event='order approved'"),
        ({"durability": "eventual"}, "durability='eventual'"),
        ({"share": ["all"]}, "share="),
        ({"concurrency": 0}, "concurrency=0"),
        ({"max_bytes": 1}, "max_bytes=1"),
        ({"path": ""}, "outbox path ''"),
    ],
)
def test_bad_settings_are_refused_at_construction(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    """One clear error each, and no file."""
    arguments = {"path": tmp_path / "audit.db", "extension": "shop", **arguments}
    with pytest.raises((ConfigurationError, RecordError)) as caught:
        AuditTrail(arguments.pop("path"), **arguments)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("use", ["check", "with", "record"])
def test_a_file_that_is_no_outbox_is_found_wherever_it_is_first_used(tmp_path: Path, use: str) -> None:
    """check(), with, and the first capture say the same, and leave it as it was."""
    path = tmp_path / "audit.db"
    path.write_bytes(b"somebody's notes " * 100)
    trail = AuditTrail(path, sink=FakeSink(), extension="shop")
    with pytest.raises(NotAnOutbox):
        {"check": trail.check, "with": trail.__enter__, "record": lambda: trail.record("x.y", object=ORDER)}[
            use
        ]()
    assert trail.close() == (0, 0, 0)
    assert path.read_bytes() == b"somebody's notes " * 100


def test_another_destination_on_the_same_file_is_refused(tmp_path: Path) -> None:
    """Entries for one API never go to another; and who captured nothing there has nothing to close."""
    first = AuditTrail(tmp_path / "audit.db", sink=FakeSink(), extension="shop")
    first.record("order.approved", object=ORDER)
    assert first.flush(timeout=10)
    first.close()
    other = AuditTrail(tmp_path / "audit.db", sink="https://other.example.com", token=TOKEN, extension="shop")
    with pytest.raises(WrongDestination, match="one outbox per destination"):
        other.check()
    with pytest.raises(WrongDestination):
        other.record("order.approved", object=ORDER)
    assert other.close() == (0, 0, 0)


def test_a_missing_token_fails_the_check_and_no_capture(tmp_path: Path) -> None:
    """Delivery pauses, captures go on."""
    trail = AuditTrail(tmp_path / "audit.db", sink="http://127.0.0.1:9", extension="shop")
    with pytest.raises(ConfigurationError, match="MPT_API_TOKEN"):
        trail.check()
    trail.record("order.approved", object=ORDER)
    flushed = trail.close(3)
    assert (flushed.pending, flushed.dead) == (1, 0)


def test_undeclared_events_are_errors(tmp_path: Path) -> None:
    """A mistyped event would become a type that nobody can delete."""
    trail = AuditTrail(tmp_path / "audit.db", extension="shop", events=["order.approved"])
    with pytest.raises(UndeclaredEvent, match=r"order\.aproved"):
        trail.record("order.aproved", object=ORDER)
    assert not (tmp_path / "audit.db").exists()


def test_the_default_trail_is_the_configured_one(trail: AuditTrail) -> None:
    """Module functions capture into it; without it they say what to do."""
    with pytest.raises(NoTrail, match=r"auditbox\.configure"):
        auditbox.record("order.approved", object=ORDER)
    assert auditbox.configure(trail) is trail is auditbox.get_trail()
    auditbox.record("order.approved", object=ORDER)
    auditbox.record_many([{"event": "order.split", "object": ORDER}])
    assert trail.outbox.last_seq() == 2
    with pytest.raises(ConfigurationError, match="pass an AuditTrail"):
        auditbox.configure("audit.db")  # type: ignore[arg-type]


def test_a_coroutine_captures_without_blocking_its_loop(trail: AuditTrail) -> None:
    """While another process holds the outbox, the loop goes on and the record is stored afterwards."""

    async def main() -> tuple[str, int]:
        trail.record("order.approved", object=ORDER)
        lock = FileLock(trail.outbox.path.with_name("audit.db.lock"))
        lock.acquire(5)
        task = asyncio.create_task(trail.arecord("order.approved", object=ORDER))
        turns = 0
        for _ in range(20):
            await asyncio.sleep(0.01)
            turns += not task.done()
        lock.release()
        lock.forget()
        return await task, turns

    id, turns = asyncio.run(main())
    assert turns == 20
    assert id
    assert trail.outbox.last_seq() == 2


def test_many_tasks_capture_at_once(trail: AuditTrail) -> None:
    """Every one of them is stored."""

    async def main() -> list[str]:
        return list(
            await asyncio.gather(*(trail.arecord("order.approved", object=ORDER) for _ in range(300)))
        )

    assert len(set(asyncio.run(main()))) == 300
    assert trail.outbox.last_seq() == 300


def test_a_busy_outbox_is_an_error_and_a_spilled_record_is_stored_later(tmp_path: Path) -> None:
    """The other documented exception: after the action nothing raises, and nothing is silent."""
    trail = AuditTrail(tmp_path / "audit.db", extension="shop", busy_timeout=0.1)
    trail.record("order.approved", object=ORDER)
    lock = FileLock(tmp_path / "audit.db.lock")
    lock.acquire(5)
    with pytest.raises(OutboxBusy) as caught:
        trail.record("order.approved", object=ORDER)
    trail.spill(caught.value, "order.approved", {"object": ORDER, "documents": {"late": True}})
    lock.release()
    lock.forget()
    trail.record("order.approved", object=ORDER, documents={"late": False})
    with sqlite3.connect(tmp_path / "audit.db") as db:
        bodies = [
            json.loads(body)["documents"].get("late") for (body,) in db.execute("SELECT body FROM entry")
        ]
    db.close()
    assert bodies == [None, True, False]
    trail.close()


def test_a_spill_is_bounded_and_says_what_it_loses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A record that cannot be composed is lost aloud."""
    trail = AuditTrail(tmp_path / "audit.db", extension="shop")
    trail.spill(OutboxFull(), "order.approved", {"object": "nonsense"})
    assert "audit record of order.approved about 'nonsense' is lost" in caplog.text


def test_a_lost_record_is_said_also_where_its_object_cannot_be_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The line is there; nothing of the value's own code fails inside logging."""

    class Unprintable:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    trail = AuditTrail(tmp_path / "audit.db", extension="shop")

    @audited("order.approved", object=lambda _call: Unprintable(), trail=trail)
    def approve() -> str:
        return "done"

    assert approve() == "done"
    assert "audit record of order.approved about <unprintable" in caplog.text
    assert "object=<unprintable" in caplog.text


def test_status_says_how_things_stand(trail: AuditTrail) -> None:
    """Depth, dead letters, destination, relay."""
    trail.record("order.approved", object=ORDER)
    assert trail.flush(10)
    status = trail.status()
    assert (status["captured"], status["delivered"], status["pending"], status["dead"]) == (1, 1, 0, 0)
    assert status["relay_alive"]
    assert status["waits"] is None


class Hidden(FakeSink):
    """A sink that does not show the object."""

    def send(self, delivery: Delivery) -> SendOutcome:
        return Refused(Problem("403 Forbidden: hidden", status=403))


def test_status_says_that_one_object_is_refused(tmp_path: Path) -> None:
    """It stops nobody else's delivery, and is said by the trail as the command says it."""
    trail = AuditTrail(tmp_path / "audit.db", sink=Hidden(), extension="shop")
    trail.record("order.approved", object=ORDER)
    while (said := trail.status()["waits"]) is None:
        time.sleep(0.01)
    assert said == why(Inspection(tmp_path / "audit.db").status()) == "403 Forbidden: hidden"
    trail.close(0)


def test_a_misspelled_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that a promise depends on is never ignored for a typing error."""
    monkeypatch.setenv("AUDITBOX_DURABLITY", "power")
    with pytest.raises(ConfigurationError, match="did you mean AUDITBOX_DURABILITY"):
        AuditTrail.from_env()


def test_from_env_reads_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MPT_API_BASE_URL, MPT_API_TOKEN and AUDITBOX_*; arguments win."""
    variables = {
        "MPT_API_BASE_URL": URL, "MPT_API_TOKEN": TOKEN, "AUDITBOX_OUTBOX": str(tmp_path / "env.db"),
        "AUDITBOX_EXTENSION": "shop", "AUDITBOX_FAIL_CLOSED": "1", "AUDITBOX_SHARE": "name, trace",
        "AUDITBOX_MAX_BYTES": "2000000", "AUDITBOX_TRANSPORT": "fast",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    trail = AuditTrail.from_env()
    assert str(tmp_path / "env.db") in repr(trail)
    assert "api.example.com" in repr(trail)
    assert trail.fail_closed
    assert isinstance(trail._sink, AuditApiSink)
    assert trail._sink.transport == "fast"
    assert not AuditTrail.from_env(fail_closed=False).fail_closed
    monkeypatch.setenv("AUDITBOX_MAX_BYTES", "plenty")
    with pytest.raises(ConfigurationError, match="AUDITBOX_MAX_BYTES='plenty'"):
        AuditTrail.from_env()


@pytest.mark.parametrize("name", ["MPT_API_TOKEN", "AUDITBOX_TOKEN_FILE", "AUDITBOX_TRANSPORT"])
def test_from_env_says_that_the_address_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In the words of who sets the environment; what the program passes itself is its own affair."""
    monkeypatch.delenv("MPT_API_BASE_URL", raising=False)
    monkeypatch.setenv(name, "fast")
    with pytest.raises(ConfigurationError, match=f"{name} is set and MPT_API_BASE_URL is missing"):
        AuditTrail.from_env(path=tmp_path / "audit.db")
    assert AuditTrail.from_env(path=tmp_path / "audit.db", sink=URL, transport="httpx").sink is not None
    overrides = {"token": None, "transport": None}
    assert AuditTrail.from_env(path=tmp_path / "audit.db", **overrides).sink is None


def test_from_env_knows_the_transports_before_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport that is none is told as such, with an address or without."""
    monkeypatch.delenv("MPT_API_BASE_URL", raising=False)
    monkeypatch.setenv("AUDITBOX_TRANSPORT", "carrier pigeon")
    with pytest.raises(ConfigurationError, match="AUDITBOX_TRANSPORT='carrier pigeon': 'httpx' or 'fast'"):
        AuditTrail.from_env()


@pytest.mark.parametrize("token", [5, b"idt:TKN-1234-5678:secret", ["x"]])
def test_a_token_of_another_type_is_refused_at_construction(tmp_path: Path, token: Any) -> None:
    """Not at the first delivery; and what it is is not shown."""
    with pytest.raises(ConfigurationError, match=f"not {type(token).__name__}$"):
        AuditTrail(tmp_path / "audit.db", sink=URL, token=token)


@pytest.mark.parametrize("scope", [{}, {"actor": "USR-0556-8733"}])
def test_an_empty_object_is_named_as_it_was_given(tmp_path: Path, scope: dict[str, Any]) -> None:
    """Not as None: who passes an empty text looks for an empty text."""
    trail = AuditTrail(tmp_path / "audit.db", extension="shop")
    with audit_context(**scope), pytest.raises(RecordError, match="object=''"):
        trail.record("order.approved", object="")


def test_a_transport_goes_with_a_url(tmp_path: Path) -> None:
    """A sink of one's own has its own; so one of both is a mistake."""
    with pytest.raises(ConfigurationError, match="transport"):
        AuditTrail(tmp_path / "audit.db", sink=FakeSink(), transport="fast")
    with pytest.raises(ConfigurationError, match="'httpx' or 'fast'"):
        AuditTrail(tmp_path / "audit.db", sink=URL, token=TOKEN, transport="carrier pigeon")


def test_capture_intercepts_every_trail(tmp_path: Path) -> None:
    """Nothing is opened; records are validated and redacted as ever; blocks nest."""
    trail = AuditTrail(tmp_path / "audit.db", sink=FakeSink(), extension="shop")
    with capture() as records:
        trail.record("order.approved", object=ORDER, documents={"password": "x"})
        trail.record_many([{"event": "order.split", "object": ORDER}] * 2)
        asyncio.run(trail.arecord("order.sent", object=ORDER))
        auditbox.record("order.lost", object=ORDER)
        with trail, capture() as inner:
            trail.record("order.inner", object=ORDER)
        with pytest.raises(RecordError):
            trail.record("order.approved", object="x")
    assert [record.event.split(".")[-1] for record in records] == [
        "approved",
        "split",
        "split",
        "sent",
        "lost",
    ]
    approved = records.one("order.approved")
    assert approved.object is not None
    assert approved.object.id == ORDER
    assert approved.documents is not None
    assert approved.documents["password"] == "[redacted]"
    assert len(inner) == 1
    with pytest.raises(AssertionError, match=r"2 records of 'order\.split', not one"):
        records.one("order.split")
    assert list(tmp_path.iterdir()) == []


def test_records_captured_before_a_restart_are_delivered_after_it(tmp_path: Path) -> None:
    """kill -9 right after the call returned: the next start delivers."""
    code = f"""
import os, auditbox
trail = auditbox.AuditTrail({str(tmp_path / "audit.db")!r}, extension="shop")
for _ in range(5):
    print(trail.record("order.approved", object="{ORDER}"), flush=True)
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert killed.returncode == -9
    sink = FakeSink()
    with AuditTrail(
        tmp_path / "audit.db", sink=sink, extension="shop", policy=Policy(verify_after=1)
    ) as trail:
        assert trail.flush(10)
    assert sink.stored == killed.stdout.split()
    assert len(sink.stored) == 5


def test_the_path_is_made_absolute_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later chdir does not split the trail in two."""
    monkeypatch.chdir(tmp_path)
    trail = AuditTrail("audit.db", extension="shop")
    trail.record("order.approved", object=ORDER)
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    trail.record("order.approved", object=ORDER)
    assert trail.outbox.last_seq() == 2
    assert not (tmp_path / "elsewhere" / "audit.db").exists()
    trail.close()


def test_what_waits_in_memory_at_the_end_is_said_to_be_lost(tmp_path: Path) -> None:
    """An outbox that cannot be used until the process ends: the count is the last word."""
    (tmp_path / "place").write_text("no directory")
    program = f"""
import logging, auditbox
trail = auditbox.AuditTrail({str(tmp_path / "place" / "audit.db")!r}, extension="shop")
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(auditbox.AuditHandler(trail))
for _ in range(3):
    log.info("x", extra={{"audit": {{"event": "order.approved", "object": {ORDER!r}}}}})
trail.close()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.count("waits in memory") == 3
    assert "3 audit records that waited in memory are lost" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("path", 5, "a file"),
        ("events", 5, "a mapping of events to titles"),
        ("share", 5, "several names"),
        ("redaction", ["iban"], r"a Redaction, such as Redaction\(\)"),
        ("policy", {"max_attempts": 3}, r"a Policy, such as Policy\(\)"),
        ("durability", ["crash"], "one of crash, power, none"),
        ("max_bytes", "1 GiB", "a whole number"),
        ("max_record_bytes", "1 MiB", "a whole number"),
        ("keep_delivered", "7d", "a number of seconds"),
        ("busy_timeout", "5", "a number of seconds"),
        ("busy_timeout", timedelta(seconds=5), "a number of seconds"),
        ("fail_closed", "no", "True or False"),
        ("concurrency", True, "a whole number"),
        ("on_dead_letter", "x", "a function"),
    ],
)
def test_an_argument_of_another_type_is_refused(tmp_path: Path, name: str, value: Any, expected: str) -> None:
    """At construction, with its name, what it was and what is expected; empty ones, too."""
    arguments: dict[str, Any] = {"path": tmp_path / "audit.db", "extension": "shop"}
    with pytest.raises(ConfigurationError, match=rf"^{name}={re.escape(repr(value))}: {expected}"):
        AuditTrail(**{**arguments, name: value})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("pause", 3, "a Backoff"),
        ("backoff", None, "a Backoff"),
        ("verify_after", "65", "a number of seconds"),
        ("give_up_after", "1h", "a number"),
        ("max_attempts", "3", "a number"),
        ("on_unverifiable", ["hold"], "'resend' or 'hold'"),
    ],
)
def test_an_argument_of_a_policy_is_refused_likewise(name: str, value: Any, expected: str) -> None:
    """In the same words."""
    with pytest.raises(ConfigurationError, match=rf"^{name}={re.escape(repr(value))}: {expected}"):
        Policy(**{name: value})


def test_an_argument_of_a_backoff_is_refused_likewise() -> None:
    """In the same words."""
    with pytest.raises(ConfigurationError, match=r"^longest='30': a number"):
        Backoff(longest="30")  # type: ignore[arg-type]
