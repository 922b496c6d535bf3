"""A Django project in this process: sessions, users, REST framework, ninja, and a database."""

from __future__ import annotations

import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings

from auditbox import default as defaults
from auditbox.testing import CapturedRecords, capture
from auditbox.trail import AuditTrail

sys.path.append(str(Path(__file__).parent / "project"))
APPLICATION = "auditbox.integrations.django"
MIDDLEWARE = [
    f"{APPLICATION}.AuditMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]

if not settings.configured:
    settings.configure(
        SECRET_KEY="not a secret",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="auditbox_shop.urls",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "rest_framework",
            "auditbox_shop",
            APPLICATION,
        ],
        MIDDLEWARE=MIDDLEWARE,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": f"{tempfile.mkdtemp()}/db.sqlite3",
                "OPTIONS": {"timeout": 60},
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        USE_TZ=True,
        LOGGING_CONFIG=None,
    )
    django.setup()
    defaults._default = None  # other tests of this process have trails of their own
    with warnings.catch_warnings():
        # Its own: before 1.4 it configures classes in the way of pydantic 1.
        warnings.simplefilter("ignore", DeprecationWarning)
        import ninja  # noqa: F401


@pytest.fixture(scope="session")
def tables() -> None:
    """The database's tables."""
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)


@pytest.fixture
def database(tables: None) -> Iterator[None]:
    """An empty database, whose transactions really commit."""
    from django.apps import apps
    from django.db import connection

    yield
    assert not connection.in_atomic_block
    for model in reversed(list(apps.get_models())):
        if not model._meta.proxy and model._meta.app_label != "contenttypes":
            model._base_manager.all().delete()


@pytest.fixture
def trail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AuditTrail:
    """The process's default trail for one test."""
    made = AuditTrail(tmp_path / "audit.db", extension="shop", share=["name", "address"])
    monkeypatch.setattr(defaults, "_default", made)
    return made


@pytest.fixture
def records() -> Iterator[CapturedRecords]:
    """What is captured, by whatever thread."""
    with capture() as captured:
        yield captured


Configure = Callable[..., None]


@pytest.fixture
def audit(trail: AuditTrail) -> Iterator[Configure]:
    """``audit(ROUTES=…)``: the setting for the rest of the test; its trail is the default one."""
    from django.test import override_settings

    with ExitStack() as stack:

        def configure(**setting: Any) -> None:
            changed: AbstractContextManager[Any] = override_settings(AUDITBOX={"TRAIL": trail, **setting})
            stack.enter_context(changed)

        configure()
        yield configure
    defaults._default = None


@pytest.fixture
def log_handler(trail: AuditTrail) -> Iterator[None]:
    """The application's log lines go to the trail."""
    import logging

    from auditbox.capture.handler import AuditHandler

    handler = AuditHandler()
    logger = logging.getLogger("auditbox_shop")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield
    logger.removeHandler(handler)


@pytest.fixture
def in_thread() -> Callable[[Callable[[], Any]], Any]:
    """Runs something in a thread of its own, whose context is empty."""

    def run(work: Callable[[], Any]) -> Any:
        result: list[Any] = []
        thread = threading.Thread(target=lambda: result.append(work()))
        thread.start()
        thread.join(60)
        return result[0]

    return run


@pytest.fixture
def django_assert_no_queries() -> Callable[[], AbstractContextManager[Any]]:
    """``with django_assert_no_queries():`` the database is not asked."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    class NoQueries(CaptureQueriesContext):  # type: ignore[misc]
        def __exit__(self, *error: Any) -> None:
            super().__exit__(*error)
            assert not self.captured_queries

    return lambda: NoQueries(connection)
