"""A WSGI application with one trail, made before gunicorn forks its workers (``--preload``)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from tests.reliability.programs.common import Writer, make_trail

given: dict[str, Any] = json.loads(os.environ["PROOF"])
trail = make_trail(given)
Writer(given, trail, "master").capture()  # the worst case: the relay runs in the master already
writers: dict[int, Writer] = {}


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Each request captures one record, and names it once it is safe."""
    pid = os.getpid()
    writer = writers.setdefault(pid, Writer(given, trail, f"worker{pid}"))
    body = f"{pid} {writer.capture()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
