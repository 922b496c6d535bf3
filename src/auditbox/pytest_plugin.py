"""Fixtures for the tests of an application that audits; pytest finds them by itself.

::

    def test_an_approval_is_on_record(audited_records):
        approve(order)
        assert audited_records.one("order.approved").object.id == order.id

Nothing is imported here but pytest: what a fixture needs comes with the first test that asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from auditbox.emulator import Emulator
    from auditbox.testing import CapturedRecords


@pytest.fixture
def audited_records() -> Iterator[CapturedRecords]:
    """What this test captured, oldest first; nothing of it is opened, stored or sent.

    Every trail of this process is intercepted, the default one and those that the application holds.
    """
    from auditbox.testing import capture

    with capture() as records:
        yield records


@pytest.fixture
def audit_api() -> Iterator[Emulator]:
    """A running Audit API for this test: an emulator in memory, on a free loopback port (``.url``).

    ``.script(…)`` lets requests go wrong, ``.requests()`` shows what arrived.
    """
    missing = None
    try:
        from auditbox.emulator import running
    except ImportError as error:
        missing = str(error)
    if missing is not None:  # outside the handler: the report then shows this line alone
        pytest.fail(f"audit_api: {missing}", pytrace=False)
    with running() as emulator:
        yield emulator
