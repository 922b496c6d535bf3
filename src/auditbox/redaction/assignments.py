"""Secrets that a text names: ``password=…``, ``"apiKey": "…"``, ``token: SecretStr('…')``.

The name is found by a pattern; where its value ends is found by reading on, each character once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from auditbox.redaction.names import endings, spelled

# What follows a sensitive name and is no secret: nothing at all, or an id of the platform's own
# Authorization and ApiToken objects.
HARMLESS = (
    r"(?!(?:true|false|null|none)(?![^\s,;&)\]}])|(?:AUT|TKN)-[0-9]{4}-[0-9]{4}(?![\w-])|"
    r"""\{\s*["']id["']\s*:\s*["'](?:AUT|TKN)-[0-9]{4}-[0-9]{4}["'])"""
)

# A quote may be escaped, several times where JSON is inside JSON.
_QUOTE = r"""\\{0,8}["']"""
_TO_QUOTE = r"(?:(?!\1)(?:\\.|[^\\]))*+"
_OPENED = re.compile(rf"[bruf]{{0,2}}({_QUOTE})", re.IGNORECASE)
_QUOTED = re.compile(rf"[bruf]{{0,2}}({_QUOTE}){_TO_QUOTE}", re.IGNORECASE | re.DOTALL)
_BRACKET = re.compile(r"(?:[A-Za-z_][\w.]{0,60})?[(\[{]")
_STEP = re.compile(rf"({_QUOTE}){_TO_QUOTE}(?:\1)?|[(\[{{]|[)\]}}]", re.DOTALL)
# Up to a space or `&`; or to a quote or a tag's bracket, unless the word goes on behind it.
_WORD = re.compile(r"""(?:[^\s"'<>&]|["'<>](?=\w))*""")


def assignments(mask: str, words: Iterable[str]) -> list[Callable[[str], str]]:
    """Rules that mask the values of sensitive names in texts.

    Args:
        mask: what stands for the value.
        words: names that must be whole words, and quoted or followed by ``=``; in prose they mean nothing.
    """
    others = "|".join(map(spelled, words))
    start = r"(?:(?<![A-Za-z0-9])|(?-i:(?<=[a-z0-9])(?=[A-Z])))"
    patterns = (
        rf"(?i){endings('[_-]?')}(?:{_QUOTE})?[ \t]*+[:=]>?[ \t]*+{HARMLESS}",
        rf"(?i){start}(?:{others})(?:{_QUOTE}[ \t]*+[:=]|[ \t]*+=)>?[ \t]*+{HARMLESS}",
    )
    return [_masking(re.compile(pattern), mask) for pattern in patterns]


def _masking(name: re.Pattern[str], mask: str) -> Callable[[str], str]:
    def masked(text: str) -> str:
        pieces: list[str] = []
        done = 0
        while found := name.search(text, done):
            start, end = _value(text, found.end())
            pieces += (text[done:start], mask) if start >= 0 else (text[done:end],)
            done = end
        return "".join((*pieces, text[done:]))

    return masked


def _value(text: str, at: int) -> tuple[int, int]:
    """Where the value that begins here begins, without a quote, and ends; begins at -1 if there is none."""
    if opened := _OPENED.match(text, at):
        quoted = _QUOTED.match(text, at)
        return opened.end(), quoted.end() if quoted else len(text)
    if bracket := _BRACKET.match(text, at):
        end = _closed(text, bracket.end())
        # A password may hold brackets: a{b}c.
        return at, _end_of_word(text, end) if text[end : end + 1].isalnum() else end
    end = _end_of_word(text, at)
    return at if end > at else -1, end


def _end_of_word(text: str, at: int) -> int:
    word = _WORD.match(text, at)
    return word.end() if word else at


def _closed(text: str, at: int) -> int:
    """Behind the bracket that closes the one before ``at``; the end of the text if none does."""
    depth = 1
    for step in _STEP.finditer(text, at):
        if step[0] in "([{":
            depth += 1
        elif step[0] in ")]}":
            depth -= 1
            if not depth:
                return step.end()
    return len(text)
