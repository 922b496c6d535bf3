"""A corrected copy of a dead letter."""

from __future__ import annotations

import json

from auditbox.compose import Composer
from auditbox.names import NO_OBJECT, Events
from auditbox.outbox.base import Entry
from auditbox.outbox.correction import corrected
from auditbox.redaction import Redaction


def test_an_empty_outcome_leaves_valid_json() -> None:
    """What is joined to the encoded record fits whatever its documents end in."""
    draft = Composer(Events("shop"), Redaction()).draft("order.approved", "ORD-1208-2301-8479", outcome={})
    fixed = corrected(Entry(1, *draft), {"object.id": "ORD-1208-2301-8480"})
    own = json.loads(fixed.body)["documents"]["auditbox"]
    assert (own["outcome"], own["replaces"]) == ({}, draft.id)


def test_a_correction_of_what_was_about_nothing_waits_behind_what_is_about_its_object() -> None:
    """In the lane of its new object; a lane that somebody chose stays."""
    composer = Composer(Events("shop"), Redaction())
    fix = {"object.id": "ORD-1208-2301-8479"}
    nothing = composer.draft("order.approved", NO_OBJECT)
    assert corrected(Entry(1, *nothing), fix).lane == "ORD-1208-2301-8479"
    chosen = composer.draft("order.approved", NO_OBJECT, lane="import")
    assert corrected(Entry(1, *chosen), fix).lane == "import"
