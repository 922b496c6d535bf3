"""How ``like`` and ``ilike`` compare: stars at the ends only (contract, 6.2)."""

from __future__ import annotations

from functools import lru_cache


def like(text: str | None, pattern: str, fold: int) -> int:
    """Whether a text matches a pattern.

    A leading ``*`` means "ends with", a trailing one "starts with", both "contains", none "equals"; a star
    elsewhere is a star, and ``\\*`` at an end is one too.
    """
    if text is None:
        return 0
    starts, needle, ends = _parse(pattern)
    if fold:
        text, needle = text.casefold(), needle.casefold()
    if starts and ends:
        return needle in text
    if starts:
        return text.endswith(needle)
    return text.startswith(needle) if ends else text == needle


@lru_cache(256)
def _parse(pattern: str) -> tuple[bool, str, bool]:
    leading = pattern.startswith("*")
    pattern = pattern[1:] if leading else pattern
    trailing = pattern.endswith("*") and not pattern.endswith("\\*")
    pattern = pattern[:-1] if trailing else pattern
    return leading, _unescape(pattern), trailing


def _unescape(pattern: str) -> str:
    if pattern.startswith("\\*"):
        pattern = pattern[1:]
    return pattern[:-2] + "*" if pattern.endswith("\\*") else pattern
