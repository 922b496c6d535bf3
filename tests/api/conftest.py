"""An emulator and the typed client for it."""

from collections.abc import Iterator

import pytest

from auditbox.api import AuditApi, Retries
from auditbox.backoff import Backoff
from auditbox.emulator import Emulator, running

TOKEN = "idt:TKN-1234-5678:secret"
QUICK = Retries(attempts=3, backoff=Backoff(first=0.001, longest=0.002))


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A lax emulator in memory."""
    with running() as started:
        yield started


@pytest.fixture
def api(emulator: Emulator) -> Iterator[AuditApi]:
    """The typed client, with quick retries."""
    with AuditApi(emulator.url, token=TOKEN, retries=QUICK) as client:
        yield client
