"""The typed client of the Audit API. Importing this package alone imports no HTTP client."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditbox.api.address import api_root
    from auditbox.api.client import AsyncAuditApi, AuditApi
    from auditbox.api.pages import Page
    from auditbox.api.rql import Expression, F
    from auditbox.api.steps import Retries
    from auditbox.api.tokens import Token

__all__ = ["AsyncAuditApi", "AuditApi", "Expression", "F", "Page", "Retries", "Token", "api_root"]

_HOMES = {
    "AsyncAuditApi": "client",
    "AuditApi": "client",
    "Expression": "rql",
    "F": "rql",
    "Page": "pages",
    "Retries": "steps",
    "Token": "tokens",
    "api_root": "address",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
