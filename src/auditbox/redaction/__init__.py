"""Secrets leave before the disk: what sensitive keys hold, and tokens, headers and passwords inside texts."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from itertools import islice
from math import isfinite
from typing import Any

from auditbox.encoding import LEAST, MOST, Json, is_interruption, key_text, plain, remembered, to_json, unused
from auditbox.errors import ConfigurationError
from auditbox.redaction.names import WORDS, SensitiveKeys
from auditbox.redaction.prefilter import Prefilter, is_platform_object
from auditbox.redaction.quick import quick_encoder
from auditbox.redaction.texts import mask_cards, rules

__all__ = ["Redaction"]

_MANY = 20_000
"""Containers that are visited as they are; a structure of more (or one that holds itself) is copied first."""
_MEMO = 4096
_LONGEST_MEMO = 64
"""Keys of ordinary length are remembered, so many; a dictionary of ids must not fill the memory."""


@dataclass(frozen=True, kw_only=True)
class Redaction:
    """What is masked before a record reaches the disk.

    A key is sensitive if, without case, ``-``, ``_``, closing digits and qualifiers such as ``hash``, it ends
    in a sensitive name (``password``, ``secret``, ``token``, ``apiKey``, ``cookie``, …), or if its last word
    is ``auth``, ``otp``, ``pin`` or the like or one of ``keys``. All that it holds is masked; but null, true
    and false stay, and the platform's own Authorization and ApiToken objects (``{"id": "AUT-1234-5678", …}``)
    are masked key by key.

    In every text (values, keys, summary, details, messages of exceptions) are masked: bearer tokens, logins
    in Basic headers, Authorization and Cookie headers, ``idt:`` tokens (their id stays), JSON Web Tokens,
    passwords in URLs, PEM private keys, and what follows a sensitive name and ``=`` or ``:``, so JSON inside
    a text too. What is not text (Base64, compressed bytes) is not looked into.

    Args:
        keys: further sensitive keys, in any spelling (``nationalId`` also means ``buyer_national_id``).
        patterns: regular expressions of further secrets in texts; a group named ``secret`` masks only what
            it holds. They cost time on every text of every record.
        cards: also mask card numbers (13 to 19 digits that pass Luhn's check), in numbers too.
        mask: what stands in the place of a secret.
        safe_keys: keys that are not sensitive in spite of their name, in any spelling.

    Raises:
        ConfigurationError: a pattern that is none, or that matches the empty text; a text where several are
            expected; an empty mask.
    """

    keys: Iterable[str] = ()
    patterns: Iterable[str | re.Pattern[str]] = ()
    cards: bool = False
    mask: str = "[redacted]"
    safe_keys: Iterable[str] = ()
    _own_patterns: tuple[re.Pattern[str], ...] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.mask, str) or not self.mask:
            raise ConfigurationError(f"mask={self.mask!r}: a text that stands in the place of secrets")
        for name in ("keys", "safe_keys"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        object.__setattr__(self, "patterns", _several("patterns", self.patterns))
        object.__setattr__(self, "_own_patterns", tuple(map(_compiled, self.patterns)))

    def __reduce__(self) -> tuple[Any, ...]:
        # What was compiled meanwhile cannot be pickled.
        settings = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        return functools.partial(type(self), **settings), ()

    def encode(self, value: object) -> bytes:
        """The JSON of ``clean(value)``, in a fraction of the time where that changes nothing.

        Never raises. Like any encoder it writes out a container each time that it is met, so what refers to
        the same lists many times on many levels (an expanded YAML bomb) takes as long as its JSON is.
        """
        return self.quick_json(value) or to_json(self.clean(value))

    @remembered
    def quick_json(self) -> Callable[[object], bytes | None]:
        """The JSON of a value in which there is nothing to mask or to convert; None where there may be."""
        if self._has_own_rules:
            return lambda value: None
        return quick_encoder(self._prefilter)

    def clean(self, value: object) -> Json:
        """The value in plain JSON types (:func:`auditbox.encoding.plain`) without secrets, all of it new.

        Never raises. What the caller changes later does not change the result.
        """
        root: list[Any] = [value]
        try:
            nodes, texts = self._copied(root, _MANY)
        except Exception as error:  # a key's own __hash__ or __eq__ may do this
            if is_interruption(error):
                raise
            nodes = []
        if not 0 < len(nodes) <= _MANY:
            root = [plain(value)]
            nodes, texts = self._copied(root, None)
        if self._has_own_rules or self._prefilter.suspects_text("\n".join(texts)):
            self._mask_texts(nodes)
        return root[0]  # type: ignore[no-any-return]

    def text(self, text: str) -> str:
        """The text without secrets; never raises."""
        if type(text) is not str:
            text = key_text(text)
        if self._prefilter.suspects_text(text):
            for rule in self._rules:
                text = rule(text)
        for pattern in self._own_patterns:
            text = pattern.sub(self._own_match, text)
        return mask_cards(text, self.mask) if self.cards else text

    @remembered
    def _has_own_rules(self) -> bool:
        return bool(self.patterns) or self.cards

    @remembered
    def _sensitive(self) -> SensitiveKeys:
        return SensitiveKeys(self.keys, self.safe_keys)

    @remembered
    def _prefilter(self) -> Prefilter:
        return Prefilter(self._sensitive.named)

    @remembered
    def _rules(self) -> list[Callable[[str], str]]:
        return rules(self.mask, [*WORDS, *self.keys])

    @remembered
    def _ordinary(self) -> set[str]:
        """Keys known to be neither sensitive nor secrets themselves."""
        return set()

    def _copied(self, root: list[Any], limit: int | None) -> tuple[list[Any], list[str]]:
        """Copies, converts and masks by key, in place, all that the root holds: its containers and texts."""
        nodes: list[Any] = [root]
        texts: list[str] = []
        push, add, ordinary = nodes.append, texts.append, self._ordinary.issuperset
        for node in islice(nodes, limit):  # which grows meanwhile
            if type(node) is dict:
                if not ordinary(node):
                    self._mask_keys(node)
                members: Iterable[tuple[Any, Any]] = node.items()
            else:
                members = enumerate(node)
            for key, value in members:
                kind = type(value)
                if kind is str:
                    add(value)
                elif kind is dict or kind is list:
                    value = node[key] = value.copy()  # noqa: PLW2901
                    push(value)
                elif kind is int:
                    if not LEAST <= value <= MOST:
                        node[key] = plain(value)
                elif value is not None and kind is not bool and not (kind is float and isfinite(value)):
                    value = node[key] = plain(value)  # noqa: PLW2901
                    if type(value) is str:
                        add(value)
                    elif type(value) is dict or type(value) is list:
                        push(value)
        return nodes, texts

    def _mask_keys(self, node: dict[Any, Any]) -> None:
        members = list(node.items())
        node.clear()
        for key, value in members:
            name = key_text(key)
            if name not in self._ordinary:
                masked = self.text(name)
                if name in self._sensitive:
                    value = self._masked(value)  # noqa: PLW2901
                elif masked == name and type(key) is str and len(name) <= _LONGEST_MEMO:
                    self._remember(name)
                name = masked
            node[unused(name, node)] = value

    def _remember(self, name: str) -> None:
        if len(self._ordinary) >= _MEMO:
            self._ordinary.clear()
        self._ordinary.add(name)

    def _masked(self, value: Any) -> Any:
        """What stays of the value of a sensitive key."""
        if type(value) not in (str, list, dict):
            value = plain(value)
        return value if value is None or type(value) is bool or is_platform_object(value) else self.mask

    def _mask_texts(self, nodes: list[Any]) -> None:
        for node in nodes:
            for key, value in node.items() if type(node) is dict else enumerate(node):
                if type(value) is str:
                    node[key] = self.text(value)
                elif self.cards and type(value) is int and self.text(str(value)) != str(value):
                    node[key] = self.mask

    def _own_match(self, found: re.Match[str]) -> str:
        if "secret" not in found.re.groupindex or found["secret"] is None:
            return self.mask
        start, end = found.span("secret")
        whole, offset = found[0], found.start()
        return whole[: start - offset] + self.mask + whole[end - offset :]


def _several(field: str, given: Any) -> tuple[Any, ...]:
    if isinstance(given, (str, bytes, re.Pattern)) or not isinstance(given, Iterable):
        raise ConfigurationError(f"{field}={given!r}: several are expected, such as ({given!r},)")
    return tuple(given)


def _names(field: str, given: Any) -> tuple[str, ...]:
    several = _several(field, given)
    for one in several:
        if not isinstance(one, str) or not one:
            raise ConfigurationError(f"{field} holds {one!r}: a name of a key is a text")
    return several


def _compiled(pattern: Any) -> re.Pattern[str]:
    try:
        compiled: re.Pattern[str] = re.compile(pattern)
        matches_nothing = compiled.search("")
    except (re.error, TypeError, RecursionError) as error:
        raise ConfigurationError(f"patterns holds {pattern!r}: {error}") from error
    if matches_nothing:
        raise ConfigurationError(f"patterns holds {pattern!r}, which matches the empty text")
    return compiled
