"""The usual record holds nothing to convert and nothing to mask: a few calls of C encode and search it."""

from __future__ import annotations

import marshal
import re
from collections.abc import Callable

from auditbox.encoding import fast_encoder, is_interruption, raw_encoder
from auditbox.redaction.prefilter import IGNORED, REDUCED, Prefilter

_HUGE_INTEGER = re.compile(rb"[0-9]{19}")


def quick_encoder(prefilter: Prefilter) -> Callable[[object], bytes | None]:
    """A function that gives the JSON of a value in which there is nothing to mask or to convert.

    It gives None where there may be: secrets, keys that collide, integers beyond 64 bits, types that are not
    JSON's own. What was written is what is searched and stored, whatever another thread does to the value
    meanwhile.
    """
    (encode, options), encode_exactly = fast_encoder(), raw_encoder()
    has_literal, is_likely = prefilter.searches

    def quick_json(value: object) -> bytes | None:  # one frame: each further one costs every capture
        try:
            body = encode(value, None, options)
            reduced = body.translate(REDUCED, IGNORED)
            if not has_literal(reduced):
                return body
            if b"null" in body:  # None, or a NaN
                # marshal takes built-in types only, no subclass and no iterator, checked in C. So
                # pydantic-core meets nothing that it would consume or convert in its own way.
                marshal.dumps(value)  # type: ignore[arg-type]
                body = encode_exactly(value)
                reduced = body.translate(REDUCED, IGNORED)
            return None if is_likely(reduced) or _HUGE_INTEGER.search(body) else body
        except (TypeError, ValueError):  # as encoders say that they do not know a value
            return None
        except Exception as error:  # whatever else it is, it takes the long way
            if is_interruption(error):
                raise
            return None

    return quick_json
