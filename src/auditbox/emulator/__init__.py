"""The Audit API on your own machine, for development and tests.

::

    from auditbox.emulator import running

    with running() as emulator:
        AuditApi(emulator.url, token="idt:TKN-1234-5678:secret").records.list()
"""

from __future__ import annotations

from auditbox.errors import MissingDependency

try:
    import fastapi as _fastapi
    import fastapi_offline as _fastapi_offline
    import uvicorn as _uvicorn
    import yaml as _yaml
except ImportError as exc:
    raise MissingDependency("the emulator needs an extra: pip install 'auditbox[emulator]'") from exc

from auditbox.emulator.app import create_app
from auditbox.emulator.seed import Seed, load_seed, shipped_seed
from auditbox.emulator.server import (
    Emulator,
    EmulatorProcess,
    running,
    serve,
    start_process,
    start_thread,
)

__all__ = [
    "Emulator",
    "EmulatorProcess",
    "Seed",
    "create_app",
    "load_seed",
    "running",
    "serve",
    "shipped_seed",
    "start_process",
    "start_thread",
]

del _fastapi, _fastapi_offline, _uvicorn, _yaml
