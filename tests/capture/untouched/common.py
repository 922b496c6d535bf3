"""What the applications share: what they have seen, and the rules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from auditbox import AuditTrail, bind, configure
from auditbox.compose import SHARES

AUDIT = os.environ["AUDIT"] == "1"
TRAIL = configure(
    AuditTrail(
        os.environ["AUDITBOX_OUTBOX"], extension="shop", share=SHARES, default_object="ORD-0000-0000-0000"
    )
)


def saw(what: str) -> None:
    """Leaves a line for the test."""
    with Path(os.environ["SEEN"]).open("a") as file:
        file.write(f"{what}\n")


def is_user(token: str) -> None:
    """Authenticates: the token is the user's id."""
    if AUDIT:
        bind(actor={"id": token.removeprefix("Bearer ")})


def _summary(request: Any) -> str:
    if "x-resolver" in request.headers:
        raise LookupError("no tenant")
    return "Changed"


RULE: dict[str, Any] = {
    "event": "http.changed",
    "failed": "http.failed",
    "object": lambda request: request.path_params["order"],
    "summary": _summary,
}
RULES: dict[str, Any] = {
    "routes": {
        "HEAD /orders/{order}": RULE,
        "GET /orders/{order}": RULE,
        "POST /endless/{order}": {**RULE, "at": "end"},
        "POST /torn/{order}": {**RULE, "at": "end"},
        "WEBSOCKET /chat/{order}": RULE,
    },
    "every": RULE,
    "trusted_proxies": ["10.0.0.0/8"],
}
