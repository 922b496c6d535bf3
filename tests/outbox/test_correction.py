"""A corrected copy of a dead letter."""

from __future__ import annotations

import json

from auditbox.compose import Composer
from auditbox.names import Events
from auditbox.outbox.base import Entry
from auditbox.outbox.correction import corrected
from auditbox.redaction import Redaction


def test_an_empty_outcome_leaves_valid_json() -> None:
    """What is joined to the encoded record fits whatever its documents end in."""
    draft = Composer(Events("shop"), Redaction()).draft("order.approved", "ORD-1208-2301-8479", outcome={})
    fixed = corrected(Entry(1, *draft), {"object.id": "ORD-1208-2301-8480"})
    own = json.loads(fixed.body)["documents"]["auditbox"]
    assert (own["outcome"], own["replaces"]) == ({}, draft.id)
