"""``manage.py check`` finds what is wrong, touches no disk, and needs no token."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.test import override_settings

from auditbox.integrations.django import conf
from auditbox.trail import AuditTrail

from .conftest import Configure


def found(**options: Any) -> list[tuple[str, str]]:
    """What Django's checks say about us."""
    return [
        (message.id.removeprefix("auditbox."), message.msg)
        for message in checks.run_checks(tags=["auditbox"], **options)
    ]


def test_nothing_is_wrong(audit: Configure) -> None:
    """A complete setting, and none at all."""
    audit(
        ROUTES={"POST /orders/{order}/": "order.changed"},
        EVERY={"event": "http.changed"},
        MODELS={"auditbox_shop.Order": {"created": "order.created", "object": "{order.number}"}},
        ACTOR=lambda request: None,
        TRUSTED_PROXIES=["10.0.0.0/8"],
    )
    assert found() == []
    with override_settings(AUDITBOX={}):
        assert found() == []


@pytest.mark.parametrize(
    ("setting", "number", "says"),
    [
        ({"OUTBX": "x"}, "E001", "did you mean 'OUTBOX'?"),
        ({"colour": "x"}, "E001", "known are ACTOR"),
        ({"ACTOR": 3}, "E001", "a function of the request"),
        ({"ROUTES": "nowhere.rules"}, "E001", "cannot be imported"),
        ({"DURABILITY": "high"}, "E002", "durability"),
        ({"SINK": "ftp://x"}, "E002", "ftp"),
        ({"TOKEN": "x"}, "E002", "token"),
        ({"ROUTES": {"POST orders": "x"}}, "E003", "POST /orders"),
        ({"EVERY": {"evnt": "x"}}, "E003", "evnt"),
        ({"TRUSTED_PROXIES": ["proxy"]}, "E003", "trusted_proxies"),
        ({"EVENTS": ["order.created"], "ROUTES": {"POST /x/": "order.creatd"}}, "E003", "creatd"),
        ({"MODELS": {"shop.Nothing": {"created": "x"}}}, "E004", "no such model"),
    ],
)
def test_each_mistake_is_one_error(setting: dict[str, Any], number: str, says: str) -> None:
    """It names the setting and the way out."""
    with override_settings(AUDITBOX={"EXTENSION": "shop", **setting}):
        ((id, message),) = found()
    assert id == number
    assert message.startswith("AUDITBOX: ")
    assert says in message


@pytest.mark.parametrize("setting", ["audit.db", ["audit.db"], 3])
def test_a_setting_that_is_no_dictionary(setting: Any) -> None:
    """Said as what it is."""
    with override_settings(AUDITBOX=setting):
        assert found() == [("E001", f"AUDITBOX is a dictionary, not {type(setting).__name__}")]


def test_events_of_models_are_checked_against_the_declared_ones(tmp_path: Path) -> None:
    """Before a mistyped one becomes a type for ever."""
    models = {"auditbox_shop.Order": {"created": "order.creatd", "object": "{order.number}"}}
    setting = {
        "OUTBOX": tmp_path / "audit.db",
        "EXTENSION": "shop",
        "EVENTS": ["order.created"],
        "MODELS": models,
    }
    with override_settings(AUDITBOX=setting):
        ((id, message),) = found()
    assert (id, "creatd" in message) == ("E004", True)


def test_a_trail_of_the_projects_own(trail: AuditTrail) -> None:
    """``TRAIL`` names one; then the other keys have no effect, which is said."""
    with override_settings(AUDITBOX={"TRAIL": trail, "EXTENSION": "shop"}):
        assert found()[0][0] == "E001"
    with override_settings(AUDITBOX={"TRAIL": "nowhere.trail"}):
        assert found()[0][0] == "E002"


def test_rules_without_the_middleware(audit: Configure) -> None:
    """They would have no effect: a warning."""
    audit(EVERY={"event": "http.changed"})
    with override_settings(MIDDLEWARE=[]):
        ((id, message),) = found()
    assert (id, message.split()[0]) == ("W001", "EVERY")


def test_delivery_is_checked_for_a_deployment(tmp_path: Path) -> None:
    """``check --deploy`` says that there is no sink, or no token; a plain check does not."""
    setting = {"OUTBOX": tmp_path / "audit.db"}
    with override_settings(AUDITBOX=setting):
        assert found() == []
        assert [id for id, _ in found(include_deployment_checks=True)] == ["W002"]
    with override_settings(AUDITBOX={**setting, "SINK": "https://api.example.com"}):
        assert [id for id, _ in found(include_deployment_checks=True)] == ["W002"]
    with override_settings(AUDITBOX={**setting, "SINK": "https://api.example.com", "TOKEN": "idt:TKN-1-1:x"}):
        assert found(include_deployment_checks=True) == []
    assert not list(tmp_path.iterdir())


def test_every_argument_has_its_key() -> None:
    """Trail and middleware can be configured in full."""
    assert {"OUTBOX", "SINK", "TOKEN", "EXTENSION", "EVENTS", "POLICY", "SHARE"} <= conf.KEYS
    assert {"ROUTES", "EVERY", "STATUSES", "TRUSTED_PROXIES", "FORWARDED_HEADER"} <= conf.KEYS


SETTINGS = """
SECRET_KEY, USE_TZ = "x", True
INSTALLED_APPS = ["django.contrib.staticfiles", "auditbox.integrations.django"]
MIDDLEWARE = ["auditbox.integrations.django.AuditMiddleware"]
DATABASES = {}
ROOT_URLCONF = "project"
STATIC_URL, STATIC_ROOT, STATICFILES_DIRS = "static/", "static", ["assets"]
AUDITBOX = {
    "OUTBOX": "/nowhere/at/all/audit.db",
    "SINK": "https://api.platform.softwareone.com",
    "EXTENSION": "shop",
    "EVERY": {"event": "http.changed"},
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"audit": {"class": "auditbox.AuditHandler"}},
    "loggers": {"shop": {"handlers": ["audit"], "level": "INFO"}},
}
urlpatterns = []
"""


WATCHED = """
import os, sys
def watch(event, arguments):
    writes = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
    if writes or event in ("os.mkdir", "os.rename", "os.remove", "sqlite3.connect", "socket.connect"):
        print("touched", event, *arguments[:1])
sys.addaudithook(watch)
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    "command", [("check",), ("collectstatic", "--noinput"), ("check", "--fail-level", "WARNING")]
)
def test_in_a_container_build(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Without a token or the outbox's directory; nothing is written but static files, nobody connected to."""
    (tmp_path / "project.py").write_text(SETTINGS)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "shop.css").write_text("")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MPT", "AUDIT"))}
    ended = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", WATCHED, *command],
        cwd=tmp_path,
        env={**environment, "DJANGO_SETTINGS_MODULE": "project", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    copied = command[0] == "collectstatic"
    touched = [line.split(maxsplit=2)[2] for line in ended.stdout.splitlines() if line.startswith("touched")]
    static = tmp_path / "static"
    assert set(touched) == ({str(static), str(static / "shop.css")} if copied else set())
    assert {path.name for path in tmp_path.iterdir()} == {"project.py", "assets", *(["static"] * copied)}


def test_check_says_what_is_wrong_without_a_traceback(tmp_path: Path) -> None:
    """A typing error in the setting, as ``manage.py check`` shows it."""
    (tmp_path / "project.py").write_text(SETTINGS.replace('"EVERY"', '"EVRY"'))
    ended = subprocess.run(
        [sys.executable, "-B", "-m", "django", "check"],
        cwd=tmp_path,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "project", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "(auditbox.E001) AUDITBOX: there is no 'EVRY'; did you mean 'EVERY'?" in ended.stderr
    assert "Traceback" not in ended.stderr
