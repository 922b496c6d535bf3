"""The public face: what may be imported from auditbox, and nothing by accident."""

from __future__ import annotations

import subprocess
import sys

import auditbox

NAMES = {
    "AuditContextFilter", "AuditHandler", "AuditMiddleware", "AuditRecord", "AuditTrail", "AuditboxError",
    "Backoff", "Call", "Flushed", "Policy", "Redaction", "__version__", "audit_context", "audited", "bind",
    "carry", "changes", "configure", "get_trail", "record", "record_many",
}  # fmt: skip


def test_the_public_names_are_these() -> None:
    """Adding or removing one is a decision, not an accident."""
    assert set(auditbox.__all__) == NAMES
    for name in NAMES:
        assert getattr(auditbox, name) is not None


def test_submodules_do_not_shadow_functions() -> None:
    """auditbox.record stays a function, whatever is imported."""
    code = """
import pkgutil, importlib, auditbox
for module in pkgutil.walk_packages(auditbox.__path__, "auditbox."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in auditbox.__all__:
    assert type(getattr(auditbox, name)).__name__ != "module", name
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_version_is_the_distributions() -> None:
    """One number, wherever it is asked for."""
    from importlib.metadata import version

    assert version("auditbox") == auditbox.__version__
