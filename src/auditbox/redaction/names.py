"""Which keys stand for secrets.

One rule: **a key is sensitive if, without case,** ``-``, ``_``, **closing digits and qualifiers such as**
``hash``, **it ends in one of** :data:`NAMES`, **or if its last word is one of** :data:`WORDS` **or a key that
the application named.** So ``db_password``, ``githubToken``, ``X-Api-Key`` and ``passwordHash`` are;
``tokenCount``, ``passwordChangedAt``, ``secretary`` and ``author`` are not.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

NAMES = (
    "pass word", "pass words", "pass wd", "pass phrase", "pass code", "pwd", "secret", "secrets", "token",
    "access tokens", "refresh tokens", "api tokens", "auth tokens", "authorization", "cookie", "cookies",
    "credential", "credentials", "api key", "api keys", "access key", "access keys", "private key",
    "private keys", "secret key", "secret keys", "signing key", "encryption key", "account key", "master key",
    "shared key", "session key", "session id", "sess id", "jwt", "connection string",
)  # fmt: skip
"""Ends of keys; a space stands where ``-``, ``_`` or nothing may be."""

WORDS = ("auth", "bearer", "csrf", "cvc", "cvv", "otp", "pass", "passkey", "pin", "totp", "xsrf")
"""Last words of keys, too short to be looked for inside other words."""

QUALIFIERS = (
    "hash", "digest", "value", "text", "plain", "raw", "old", "new", "current", "confirm", "confirmation",
    "confirmed", "again", "repeat", "repeated", "encrypted", "header", "string",
)  # fmt: skip
"""What may follow a sensitive name without making it harmless."""

_MEMO, _LONGEST_MEMO = 1024, 64

_FOLD = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)} | {ord("-"): None, ord("_"): None}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^A-Za-z0-9]+")


def endings(joint: str) -> str:
    """A pattern for every sensitive ending and its qualifiers; ``joint`` stands where words meet."""
    names = "|".join(name.replace(" ", joint) for name in sorted(NAMES, key=len, reverse=True))
    return f"(?:{names})(?:{joint}(?:{'|'.join(QUALIFIERS)}))*{joint}[0-9]*"


_SENSITIVE = re.compile(endings("") + r"\Z")


def folded(name: str) -> str:
    """The name without ASCII case, ``-`` and ``_``."""
    return name.translate(_FOLD)


def spelled(name: str) -> str:
    """A pattern for the name in any spelling but for case: ``national[_-]?Id``."""
    words = (word for part in re.split("[-_]", name) for word in _WORD.findall(part))
    return "[_-]?".join(map(re.escape, words))


class SensitiveKeys:
    """Tells sensitive keys from others.

    Args:
        named: further last words (``ssn``, ``nationalId``), in any spelling.
        safe: keys that are never sensitive, in any spelling.
    """

    def __init__(self, named: Iterable[str], safe: Iterable[str]) -> None:
        self.named = frozenset(map(folded, named))
        self._words = self.named | frozenset(WORDS)
        self._safe = frozenset(map(folded, safe))
        self._remembered = functools.lru_cache(maxsize=_MEMO)(self._judge)

    def __contains__(self, key: str) -> bool:
        return self._remembered(key) if len(key) <= _LONGEST_MEMO else self._judge(key)

    def _judge(self, key: str) -> bool:
        whole = folded(key)
        if whole in self._safe:
            return False
        if _SENSITIVE.search(whole) or whole == "tokens":
            return True
        return any(folded(key[word.start() :]) in self._words for word in _WORD.finditer(key))
