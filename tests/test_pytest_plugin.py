"""The pytest plugin, in pytest runs of its own; and every example of docs/testing.md as what it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"
EXAMPLES = dict(re.findall(r"^```py(?:thon)?\n# (\w+\.py)\n(.*?)^```$", PAGE.read_text(), re.M | re.S))


@pytest.fixture(autouse=True)
def inner(pytester: pytest.Pytester) -> None:
    """Inner runs take warnings for errors, and know nothing of this one."""
    pytester.makeini("[pytest]\naddopts = -W error -p no:cacheprovider\n")


def test_an_installed_auditbox_brings_its_plugin() -> None:
    """By its entry point, under its own name."""
    points = [point for point in distribution("auditbox").entry_points if point.group == "pytest11"]
    assert [(point.name, point.value) for point in points] == [("auditbox", "auditbox.pytest_plugin")]


def test_each_test_sees_its_own_records_of_every_trail(pytester: pytest.Pytester) -> None:
    """The default one and those that are held; none makes a file, and after the test all is as before."""
    pytester.makepyfile(
        """
        import auditbox
        import pytest
        from auditbox.errors import NoTrail

        ORDER = "ORD-1208-2301-8479"
        held = auditbox.AuditTrail("held.db", sink="https://example.com", token="t", extension="shop")

        def test_every_trail(audited_records, request):
            held.record("order.approved", object=ORDER)
            auditbox.record("order.created", object=ORDER)
            made = auditbox.AuditTrail("made.db", extension="made")
            made.record_many([{"event": "order.split", "object": ORDER}])
            assert [record.event for record in audited_records] == [
                "extensions.shop.order.approved",
                "extensions.test.order.created",
                "extensions.made.order.split",
            ]
            assert not list(request.config.rootpath.glob("*.db"))

        def test_the_next_one_begins_empty(audited_records):
            assert len(audited_records) == 0

        def test_without_it_nothing_is_intercepted(tmp_path):
            with pytest.raises(NoTrail):
                auditbox.record("order.created", object=ORDER)
            trail = auditbox.AuditTrail(tmp_path / "audit.db", extension="shop")
            trail.record("order.approved", object=ORDER)
            assert (tmp_path / "audit.db").exists()
            trail.close()
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=3)


def test_a_failing_assertion_names_what_there_is(pytester: pytest.Pytester) -> None:
    """The report shows the events."""
    pytester.makepyfile(
        """
        import auditbox

        def test_it(audited_records):
            auditbox.record("order.created", object="ORD-1208-2301-8479")
            audited_records.one("order.approved")
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*0 records of 'order.approved', not one*extensions.test.order.created*"])


def test_the_api_of_a_test_is_its_own(pytester: pytest.Pytester) -> None:
    """Empty, without the faults of the one before, and gone afterwards."""
    pytester.makepyfile(
        """
        import httpx
        import pytest
        from auditbox.api import AuditApi
        from auditbox.emulator import Emulator
        from auditbox.errors import ServerError

        urls = []

        @pytest.mark.parametrize("again", [False, True])
        def test_it(audit_api, again):
            assert isinstance(audit_api, Emulator)
            assert audit_api.requests() == []
            urls.append(audit_api.url)
            with AuditApi(audit_api.url, token="idt:TKN-1234-5678:x") as api:
                fields = dict(event="extensions.a.b", summary="s", details="d", object="ORD-1208-2301-8479")
                api.records.create(**fields)
                assert api.records.list().total == 1
                audit_api.script({"action": "status", "status": 500})
                with pytest.raises(ServerError):
                    api.records.create(**fields)

        def test_they_are_gone():
            for url in urls:
                with pytest.raises(httpx.ConnectError):
                    httpx.get(url)
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=3)


def test_without_the_extra_the_test_says_what_to_install(pytester: pytest.Pytester) -> None:
    """One line instead of a traceback; other tests are not concerned."""
    pytester.makeconftest("import sys; sys.modules['fastapi'] = None")
    pytester.makepyfile(
        """
        def test_api(audit_api): pass
        def test_records(audited_records): pass
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["audit_api: *pip install 'auditbox?emulator?'"])
    result.stdout.no_fnmatch_line("*During handling*")
    result.stdout.no_fnmatch_line("*import*")


def test_an_unused_plugin_imports_nothing_of_its_own(pytester: pytest.Pytester) -> None:
    """Neither the web framework nor the capturing, whoever else is installed."""
    pytester.makepyfile(
        """
        import json, sys

        def test_it():
            print("MODULES", json.dumps(sorted(sys.modules)))
        """
    )
    options = ("-p", "auditbox", "-s")  # no other plugin: what they import is their affair
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(passed=1)
    modules = set(json.loads(result.stdout.str().partition("MODULES ")[2].splitlines()[0]))
    assert "auditbox.pytest_plugin" in modules
    heavy = (
        "fastapi",
        "starlette",
        "uvicorn",
        "sqlite_utils",
        "rich",
        "auditbox.testing",
        "auditbox.emulator",
        "auditbox.api",
    )
    assert not modules & set(heavy)


def test_pytest_is_not_needed_to_use_auditbox() -> None:
    """The plugin is the only module that imports it."""
    code = (
        "import sys; sys.modules['pytest'] = None; import auditbox.testing, auditbox.emulator, auditbox.cli"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "passed"), [("test_orders.py", 2), ("test_app.py", 1), ("test_delivery.py", 1)]
)
def test_the_examples_of_the_docs_pass(pytester: pytest.Pytester, name: str, passed: int) -> None:
    """As a reader would paste them."""
    pytester.makepyfile(**{name.removesuffix(".py"): EXAMPLES[name]})
    # The test client of newer Starlettes has something to say about httpx.
    pytester.runpytest_subprocess("-W", "default").assert_outcomes(passed=passed, warnings=None)


def test_the_django_example_passes(pytester: pytest.Pytester) -> None:
    """With Django's own runner and a database."""
    pytest.importorskip("django")
    pytester.makepyfile(
        test_views=EXAMPLES["test_views.py"],
        settings="""
        SECRET_KEY = "x"
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
        """,
    )
    command = [sys.executable, "-m", "django", "test", "--settings", "settings", "--pythonpath", "."]
    result = pytester.run(*command)
    assert result.ret == 0, result.stderr.str()
    result.stderr.fnmatch_lines(["Ran 2 tests in *", "OK"])
