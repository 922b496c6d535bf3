"""Models on record: created, updated with what changed, deleted; after the commit, or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from auditbox_shop.models import Customer, Order, UrgentOrder
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.signals import post_save
from django.test import Client

from auditbox.context import audit_context
from auditbox.errors import ConfigurationError, OutboxFull
from auditbox.integrations.django.models_watched import Watched
from auditbox.testing import CapturedRecords
from auditbox.trail import AuditTrail

from .conftest import Configure

pytestmark = pytest.mark.usefixtures("database")
NUMBER = "ORD-1208-2301-8479"
SPEC = {
    "created": "order.created",
    "updated": "order.updated",
    "deleted": "order.deleted",
    "object": "{order.number}",
    "exclude": ["note", "changed"],
}


@pytest.fixture(autouse=True)
def _watched(audit: Configure) -> Iterator[None]:
    audit(MODELS={"auditbox_shop.Order": SPEC})
    yield
    audit()


@contextmanager
def undone() -> Iterator[None]:
    """A transaction that is rolled back."""
    with suppress(_Undo), transaction.atomic():
        yield
        raise _Undo


class _Undo(Exception):
    pass


def events(records: CapturedRecords) -> list[str]:
    """The last words of the events."""
    return [record.event.rpartition(".")[2] for record in records]


def test_the_life_of_an_order(records: CapturedRecords) -> None:
    """Created with its fields, updated with those that changed, deleted with the last ones."""
    with audit_context(actor="USR-0001"):
        order = Order.objects.create(number=NUMBER, total="12.50")
        order.status, order.note = "Placed", "not watched"
        order.save()
        order.delete()
    assert events(records) == ["created", "updated", "deleted"]
    created, updated, deleted = (record.documents or {} for record in records)
    row = {"number": NUMBER, "status": "Draft", "total": "12.50", "customer_id": None}
    assert {**created["order"], "password": None} == {**created["order"], **row, "password": None}
    assert "note" not in created["order"]
    assert updated["change"] == {"status": {"before": "Draft", "after": "Placed"}}
    assert (updated["originalOrder"]["status"], updated["order"]["status"]) == ("Draft", "Placed")
    assert deleted["order"]["status"] == "Placed"
    for record in records:
        assert record.object is not None
        assert record.object.id == NUMBER
        assert record.auditbox["actor"] == {"id": "USR-0001"}
        assert record.auditbox["outcome"] == {"status": "success"}


def test_a_save_without_a_change_is_no_update(records: CapturedRecords) -> None:
    """Nor is one of fields that are not watched."""
    order = Order.objects.create(number=NUMBER)
    order.save()
    order.note = "new"
    order.save(update_fields=["note"])
    assert events(records) == ["created"]


def test_what_is_recorded_is_what_the_database_has(records: CapturedRecords) -> None:
    """Expressions, texts for numbers, stale and deferred instances, update_fields that leave some out."""
    Order.objects.create(number=NUMBER, total=1)
    stale = Order.objects.get()
    deferred = Order.objects.only("number").get()
    deferred.total = F("total") + 2
    deferred.save()
    stale.status, stale.total = "Placed", "99"
    stale.save(update_fields=["status"])
    _, first, second = (record.documents or {} for record in records)
    assert first["change"] == {"total": {"before": "1.00", "after": "3.00"}}
    assert second["change"] == {"status": {"before": "Draft", "after": "Placed"}}


def test_a_rolled_back_change_leaves_no_record(records: CapturedRecords) -> None:
    """Nor does a save that fails; the next one of the same instance is told from the right state."""
    order = Order.objects.create(number=NUMBER)
    with undone():
        order.status = "Placed"
        order.save()
    Order.objects.create(number="ORD-0002")
    order.number = "ORD-0002"
    with pytest.raises(IntegrityError):
        order.save()
    order.number, order.status = NUMBER, "Cancelled"
    order.save()
    assert events(records) == ["created", "created", "updated"]
    assert (records[-1].documents or {})["change"] == {"status": {"before": "Draft", "after": "Cancelled"}}


def test_cascades_querysets_and_proxies(records: CapturedRecords) -> None:
    """What a cascade or ``QuerySet.delete`` removes, and a proxy's saves; ``update`` sends no signals."""
    customer = Customer.objects.create(name="Acme")
    for number in range(3):
        Order.objects.create(number=f"ORD-000{number}", customer=customer)
    urgent = UrgentOrder.objects.get(number="ORD-0001")
    urgent.status = "Placed"
    urgent.save()
    Order.objects.filter(number="ORD-0002").delete()
    Order.objects.update(status="Lost")
    customer.delete()
    assert events(records) == ["created"] * 3 + ["updated"] + ["deleted"] * 3


def test_secrets_are_masked(records: CapturedRecords) -> None:
    """Also in what changed."""
    order = Order.objects.create(number=NUMBER, password="s3cret-one")
    order.password = "s3cret-two"
    order.save()
    assert events(records) == ["created", "updated"]
    assert not any("s3cret" in record.model_dump_json() for record in records)


def test_async_saves_and_bulk_creation(records: CapturedRecords) -> None:
    """``asave`` is a save; ``bulk_create`` sends no signals."""

    async def work() -> None:
        with audit_context(actor="USR-0001"):
            await Order.objects.acreate(number=NUMBER)

    asyncio.run(work())
    Order.objects.bulk_create([Order(number="ORD-0002")])
    assert records.one().auditbox["actor"] == {"id": "USR-0001"}


def test_fixtures_are_nobodys_action(records: CapturedRecords, tmp_path: Any) -> None:
    """``loaddata`` leaves no records."""
    fields = {"number": NUMBER, "changed": "2026-01-01T00:00:00Z"}
    fixture = tmp_path / "orders.json"
    fixture.write_text(json.dumps([{"model": "auditbox_shop.order", "pk": 1, "fields": fields}]))
    call_command("loaddata", str(fixture), verbosity=0)
    assert Order.objects.count() == 1
    assert not records


def test_a_receiver_that_saves_again(records: CapturedRecords) -> None:
    """A save inside a ``post_save`` is a change of its own; neither disturbs the other."""

    def again(instance: Order, created: bool, **_: Any) -> None:
        if created:
            instance.status = "Placed"
            instance.save()

    post_save.connect(again, sender=Order)
    try:
        order = Order.objects.create(number=NUMBER)
    finally:
        post_save.disconnect(again, sender=Order)
    assert sorted(events(records)) == ["created", "updated"]
    assert not [name for name in vars(order) if "audit" in name]


def test_inside_a_request_the_actor_is_its_user(audit: Configure, records: CapturedRecords) -> None:
    """As everything that is captured there: here the user's own login time."""
    audit(MODELS={"auth.User": {"updated": "user.updated", "object": "USR-0001"}})
    user = User.objects.create_user("ann", password="pw")
    assert Client().post("/login/", {"name": "ann"}).status_code == 200
    record = records.one("user.updated")
    assert record.auditbox["request"]["route"] == "/login/"
    assert set((record.documents or {})["change"]) == {"last_login"}
    assert record.auditbox["actor"] == {"id": str(user.pk), "name": "ann"}


def test_what_can_be_no_record_does_not_stop_the_save(
    audit: Configure, records: CapturedRecords, caplog: pytest.LogCaptureFixture
) -> None:
    """An object that is none, a function that fails: the change is made, and a line says what is lost."""

    def broken(order: Order) -> str:
        raise ValueError("broken")

    audit(MODELS={"auditbox_shop.Order": {**SPEC, "summary": broken}})
    Order.objects.create(number=NUMBER)
    assert "summary" in records.one().auditbox["outcome"]["unresolved"]
    Order.objects.create(number="not an id")
    assert Order.objects.count() == 2
    assert len(records) == 1
    assert "is lost" in caplog.text


def test_fail_closed(trail: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    """No change without the ability to record it."""
    order = Order.objects.create(number=NUMBER)

    def full() -> None:
        raise OutboxFull

    with monkeypatch.context() as broken:
        broken.setattr(trail, "fail_closed", True)
        broken.setattr(trail, "ready", full)
        with pytest.raises(OutboxFull):
            Order.objects.create(number="ORD-0002")
        with pytest.raises(OutboxFull):
            order.delete()
    assert [order.number for order in Order.objects.all()] == [NUMBER]
    trail.close()


def test_only_what_was_chosen(audit: Configure, records: CapturedRecords) -> None:
    """Events that are not named are not recorded; models that are left out are not watched any more."""
    audit(MODELS={"auditbox_shop.Order": {"deleted": "order.deleted", "object": "{order.number}"}})
    Order.objects.create(number=NUMBER).delete()
    assert events(records) == ["deleted"]
    audit()
    Order.objects.create(number=NUMBER)
    assert len(records) == 1


@pytest.mark.parametrize(
    ("label", "spec", "says"),
    [
        ("shop.Order", SPEC, "there is no such model"),
        ("auditbox_shop.Order", {"object": "x"}, "name the event"),
        ("auditbox_shop.Order", {**SPEC, "create": "x"}, "no 'create'"),
        ("auditbox_shop.Order", {**SPEC, "exclude": ["colour"]}, "no field 'colour'"),
        ("auditbox_shop.Order", {**SPEC, "object": "{oder.number}"}, "no 'oder'"),
        ("auditbox_shop.Order", "order", "a dictionary"),
    ],
)
def test_mistakes(label: str, spec: Any, says: str) -> None:
    """Each says what it is about."""
    with pytest.raises(ConfigurationError, match=says):
        Watched(label, spec)
