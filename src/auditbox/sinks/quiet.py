"""Delivery does not trace itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SUPPRESS = "suppress_instrumentation"
"""The context key that every OpenTelemetry instrumentation honours; it is this string by definition."""


@contextmanager
def quiet() -> Iterator[None]:
    """Suppresses OpenTelemetry instrumentation inside the block.

    An instrumented HTTP client would make a span of each delivery, and an application that audits its
    spans or client logs would then audit its audit. Where nobody has imported OpenTelemetry there is
    nothing to suppress.
    """
    context = sys.modules.get("opentelemetry.context")
    if context is None:
        yield
        return
    token = context.attach(context.set_value(_SUPPRESS, True))
    try:
        yield
    finally:
        context.detach(token)
