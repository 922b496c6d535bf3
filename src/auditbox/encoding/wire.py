"""Plain JSON to bytes."""

from __future__ import annotations

import functools
import json
import operator
import re
import threading
from collections.abc import Callable

from auditbox.encoding.convert import plain
from auditbox.encoding.interruptions import is_interruption
from auditbox.encoding.types import Json

LONE_SURROGATE = re.compile("[\ud800-\udfff]")


importing = threading.RLock()
"""Held while a first capture imports. A fork waits for it: a lock that a child inherits is never freed."""


@functools.cache
def raw_encoder() -> Callable[[object], bytes]:
    """As :func:`to_json`, at full speed for what is JSON already; raises for what is not."""
    # Importing auditbox does not wait for pydantic-core: the first record does, once.
    with importing:
        from pydantic_core import to_json as encode

    return functools.partial(encode, inf_nan_mode="strings")


@functools.cache
def fast_encoder() -> tuple[Callable[[object, None, int], bytes], int]:
    """orjson's encoder, and the options with which it raises for what :func:`plain` must convert.

    It writes NaN and the infinities as null, unlike all else here: who finds a null must look again.
    """
    with importing:
        import orjson

    passed = (
        orjson.OPT_PASSTHROUGH_SUBCLASS,
        orjson.OPT_PASSTHROUGH_DATETIME,
        orjson.OPT_PASSTHROUGH_DATACLASS,
    )
    return orjson.dumps, functools.reduce(operator.or_, passed)


def to_json(value: Json) -> bytes:
    """Compact UTF-8 JSON; never raises.

    A lone surrogate, which UTF-8 cannot hold, becomes its escape as text (``\\udcff`` in six characters).
    What turns out to be no plain JSON is converted first, as by :func:`auditbox.encoding.plain`.
    """
    try:
        return raw_encoder()(value)
    except Exception as error:  # whatever pydantic-core says, the record must be encoded
        if is_interruption(error):
            raise
        return _patient_json(plain(value))


def _patient_json(value: Json) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return LONE_SURROGATE.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text).encode()
