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


FACE = {
    "collections", "contextlib", "copyreg", "enum", "functools", "importlib", "itertools", "keyword",
    "operator", "re", "reprlib", "types", "typing", "warnings",
}  # fmt: skip
"""What ``import auditbox`` itself may load."""

HEAVY = {
    "asyncio", "concurrent", "ctypes", "email", "html", "http", "multiprocessing", "socket", "socketserver",
    "ssl", "subprocess", "unittest", "xml", "xmlrpc",
}  # fmt: skip
"""What of the standard library costs too much before it is needed."""


def loaded_by(statement: str) -> set[str]:
    """The outermost packages that a fresh interpreter loads for this."""
    code = f"import sys\nbefore = set(sys.modules)\n{statement}\nprint(*set(sys.modules) - before)"
    found = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    return {name.split(".")[0].lstrip("_") for name in found}


def test_the_import_loads_next_to_nothing() -> None:
    """A public name is imported when it is first asked for."""
    assert loaded_by("import auditbox") - {"sre", "auditbox"} <= FACE


def test_what_a_program_uses_loads_the_standard_library_only() -> None:
    """No third party, and nothing heavy: that comes with the first capture, or the first delivery."""
    loaded = loaded_by("from auditbox import AuditHandler, AuditTrail, audited, audit_context, bind")
    standard = {name.lstrip("_") for name in sys.stdlib_module_names}
    assert loaded - standard == {"auditbox"}
    assert not loaded & HEAVY


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
