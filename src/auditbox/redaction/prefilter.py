"""A quick look: can there be anything to mask at all?

Nearly no record holds a secret. So before any value is visited one by one, the whole text is reduced to a
sketch (no case, no ``-`` and ``_``, every digit a ``0``) and searched twice by pydantic-core's regular
expressions (Rust: linear in time): for some thirty literals in one pass, and only where one is found, for the
patterns that they belong to. Both may see a secret where none is, never the other way round: whatever
:mod:`auditbox.redaction.names` or :mod:`auditbox.redaction.texts` masks must be likely here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from auditbox.encoding import importing, remembered
from auditbox.redaction.names import WORDS, endings, folded

REDUCED = bytes(ord("0") if chr(octet) in "0123456789" else octet for octet in range(128)).lower() + bytes(
    range(128, 256)
)
IGNORED = b"-_"

LITERALS = (
    "pass", "pwd", "secret", "token", "auth", "cookie", "credent", "key", "sess", "jwt", "connectionstr",
    "bearer", "basic", "idt:", "eyj", "://", '0":', 'none":', 'true":', 'false":',
)  # fmt: skip
"""One of these, or of the words, is in everything that :func:`_patterns` finds."""

_LOOK_TWICE = ("null", "0" * 19)
"""And these are in the JSON of what an encoder may write otherwise than :func:`auditbox.encoding.plain`."""

_PLATFORM_IDS = ("aut00000000", "tkn00000000")
"""Sketches of the ids of Authorization and ApiToken objects: AUT-1234-5678."""


def sketch(text: bytes) -> bytes:
    """The UTF-8 text without case, ``-`` and ``_``, every digit a ``0``."""
    return text.translate(REDUCED, IGNORED)


def is_platform_object(value: object) -> bool:
    """Whether this is the platform's Authorization or ApiToken, which are named like secrets."""
    if type(value) is not dict or type(id := value.get("id")) is not str or len(id) > 16:
        return False
    return sketch(id.encode("utf-8", "replace")).decode() in _PLATFORM_IDS


class Prefilter:
    """Tells whether there may be something to mask.

    The patterns are compiled when they are first needed: constructing must stay cheap.

    Args:
        named: the sensitive keys that the application added.
    """

    def __init__(self, named: Iterable[str] = ()) -> None:
        self._words = [*WORDS, *(_in_sketch(name) for name in named)]

    def suspects_text(self, text: str) -> bool:
        """Whether a text, or several on lines of their own, may hold secrets."""
        has_literal, is_likely = self.searches
        reduced = sketch(text.encode("utf-8", "replace"))
        return has_literal(reduced) and is_likely(reduced)

    @remembered
    def searches(self) -> tuple[Callable[[bytes], bool], Callable[[bytes], bool]]:
        """What is asked of a sketch: whether it holds a literal; and then, whether a secret is likely."""
        others = (word for word in self._words if not any(literal in word for literal in LITERALS))
        literals = [*LITERALS, *_LOOK_TWICE, *others]
        return _search("|".join(map(re.escape, literals))), _search("|".join(_patterns(self._words)))


def _in_sketch(name: str) -> str:
    """The name as a sketch of JSON shows it."""
    return sketch(json.dumps(folded(name), ensure_ascii=False)[1:-1].encode("utf-8", "replace")).decode()


def _patterns(words: Iterable[str]) -> list[str]:
    key = f'":(?:[^tfn]|{_other_than_literals()})'  # null, true and false are no secrets
    quoted = r"""\"?[\\' \tt][\\"' \tt]*:|[\\"' \tt]*="""  # in a text, where JSON escapes quotes and tabs
    return [
        f"{endings('')}(?:{key}|:|{quoted})",
        f'(?:{"|".join(map(re.escape, words))}|"tokens)(?:{key}|{quoted})',
        r"(?:bearer|basic)[ \\\t]",
        r"idt:",
        r"eyj[a-z0]*\.",
        r'://[^ /?#"<>]*@',
        r"private key",
        r'"(?:0[0.e+]*|none|true|false)":',  # keys that were no texts: they may collide with one that is
    ]


def _other_than_literals() -> str:
    """Matches what begins as ``true``, ``false`` or ``null`` and is something else."""
    differs = []
    for literal in ("true", "false", "null"):
        differs += [literal[:index] + f"(?:[^{literal[index]}]|$)" for index in range(1, len(literal))]
        differs.append(literal + r"[^,}\]\\\s]")
    return "|".join(differs)


def _search(pattern: str) -> Callable[[bytes], bool]:
    with importing:
        from pydantic_core import SchemaValidator, core_schema

    schema = core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")
    return SchemaValidator(schema).isinstance_python
