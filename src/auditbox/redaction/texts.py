"""Secrets that a text shows by their form: tokens, headers, private keys, logins in URLs, card numbers.

Every pattern is linear: no character is read more than a bounded number of times, whatever the text.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable, Iterable

from auditbox.redaction.assignments import HARMLESS, assignments

PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----.*?"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----|\Z)",
    re.DOTALL,
)
URL_LOGIN = re.compile(r"""://([^\s/?#@:"'<>\\]*+)(:[^\s/?#"<>]+)?@""")
PLATFORM_TOKEN = re.compile(r"""(?i)(idt:[^\s:"'<>]{1,64}:)[^\s"'<>\\]+""")
WEB_TOKEN = re.compile(
    r"(?<![A-Za-z0-9_-])((?>[A-Za-z0-9_-]*?(?=eyJ)))"
    r"[A-Za-z0-9_-]{6,}+(?:(?:\.[A-Za-z0-9_-]*+){2,4}|\.[A-Za-z0-9_-]{8,}+)"
)
BEARER = re.compile(
    r"(?i)\b(bearer[ \t]++)"
    # Prose: "Bearer token expired", "the bearer shares".
    r"(?!(?:tokens?|auth[a-z]*+|schemes?|shares?|bonds?|instruments?|certificates?)[.,;:]?(?:\s|\Z))"
    r"[A-Za-z0-9._~+/=:-]{6,}"
)
BASIC = re.compile(r"(?i)\b(basic[ \t]++)([A-Za-z0-9+/]{8,}+={0,2})")
HEADER = re.compile(
    rf"""(?i)\b((?:(?:proxy-)?authorization|(?:set-)?cookie):[ \t]*+{HARMLESS}(?![\\"'\[{{]))[^\r\n]+"""
)
CARD = re.compile(
    r"(?<!\d)(?<![A-Za-z]-)"
    r"(?:[2-6]\d{3}([ -]?)\d{4}\1\d{4}\1\d{4}|3[47]\d{2}([ -]?)\d{6}\2\d{5}|[3-6]\d{12,18})(?!\d)"
)

_LONGEST_NAME = 16
"""A login name of a URL that is longer may be a token."""


def rules(mask: str, words: Iterable[str]) -> list[Callable[[str], str]]:
    """Functions that take the secrets out of a text, in the order in which they apply.

    Args:
        mask: what stands in the place of a secret.
        words: names of secrets that must be whole words.
    """
    return [*forms(mask), *assignments(mask, words)]


def forms(mask: str) -> list[Callable[[str], str]]:
    """Those of the rules that go by the form of a secret alone, not by a name before it."""

    def keep_first(found: re.Match[str]) -> str:
        return found[1] + mask

    def login(found: re.Match[str]) -> str:
        name = found[1] if len(found[1]) <= _LONGEST_NAME else mask
        return f"://{name}:{mask}@" if found[2] else f"://{name}@"

    def basic(found: re.Match[str]) -> str:
        return found[1] + mask if _is_login(found[2]) else found[0]

    replacements: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = [
        (PRIVATE_KEY, lambda _: mask),
        (URL_LOGIN, login),
        (PLATFORM_TOKEN, keep_first),
        (WEB_TOKEN, keep_first),
        (HEADER, keep_first),
        (BEARER, keep_first),
        (BASIC, basic),
    ]
    return [functools.partial(pattern.sub, replaced) for pattern, replaced in replacements]


def _is_login(encoded: str) -> bool:
    """Whether this is ``name:password`` in Base64 (RFC 7617), and not the next word of a sentence."""
    padded = encoded.rstrip("=")
    padded += "=" * (-len(padded) % 4)
    try:
        decoded = base64.b64decode(padded, validate=True).decode()
    except ValueError:
        return False
    return ":" in decoded and decoded.isprintable()


def mask_cards(text: str, mask: str) -> str:
    """The text without the card numbers in it: 13 to 19 digits, grouped or not, that pass Luhn's check."""
    return CARD.sub(lambda found: mask if passes_luhn(found[0]) else found[0], text)


def passes_luhn(number: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1, annex B) over the digits of the text."""
    digits = [int(digit) for digit in reversed(number) if digit.isdecimal()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
