"""The API token: from a string, a file or a callable, checked before it goes into a header."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from auditbox.errors import ConfigurationError

TokenSource = str | Path | Callable[[], str] | None
"""What may be given as ``token=``. None means that there is none yet: asking for it is the error."""


class Token:
    """A token that can be asked for anew. Safe to share between threads; its repr shows no secret.

    Args:
        source: the token itself, a file that holds it, or a callable that gives it. Files and callables are
            asked at the first use, and again by :meth:`renew`.

    Raises:
        ConfigurationError: a string that cannot be a token, or something else that gives none.
    """

    def __init__(self, source: TokenSource) -> None:
        if not (source is None or isinstance(source, str | Path) or callable(source)):
            raise ConfigurationError(f"token=: a string, a Path or a callable, not {type(source).__name__}")
        self._source = checked(source) if isinstance(source, str) else source
        self._value: str | None = None
        self._refused = False
        self._lock = threading.Lock()

    def get(self) -> str:
        """The token, the same one until it is renewed; asked for anew where it is :meth:`refuse`d.

        Raises:
            ConfigurationError: there is none, the file cannot be read, the callable failed, or what came
                cannot be a token.
        """
        value = self._value
        return self.renew(value) if value is None or self._refused else value

    def renew(self, refused: str | None = None) -> str:
        """The token, asked for anew; called after a 401.

        Args:
            refused: the token that was not accepted. Where another thread has renewed it meanwhile, the
                source is not asked a second time.

        Raises:
            ConfigurationError: as :meth:`get`.
        """
        with self._lock:
            if self._value is None or self._value == refused or refused is None:
                self._value, self._refused = self._ask(), False
            return self._value

    def refuse(self, token: str) -> None:
        """Says that a token was not accepted: the next one who needs it asks anew. Does not block."""
        if self._value == token:
            self._refused = True

    @property
    def known(self) -> str | None:
        """The token, if it was asked for already and is not refused."""
        return None if self._refused else self._value

    @property
    def renewable(self) -> bool:
        """Whether asking anew can give another token."""
        return not isinstance(self._source, str)

    def _ask(self) -> str:
        source = self._source
        if source is None:
            raise ConfigurationError(
                "there is no API token: pass token=…, or set MPT_API_TOKEN and use AuditTrail.from_env()"
            )
        if isinstance(source, str):
            return source
        if isinstance(source, Path):
            return checked(_read(source), f" in {source}")
        return checked(_call(source), " that the callable gave")

    def __repr__(self) -> str:
        kind = "***" if isinstance(self._source, str) else repr(str(self._source))
        if callable(self._source):
            kind = "<callable>"
        return f"Token({kind})"


def checked(token: object, where: str = "") -> str:
    """The token without the white space around it.

    Args:
        token: what was given.
        where: where it comes from, for the message: `` in a.token``.

    Raises:
        ConfigurationError: it is empty or holds what a header may not; the message never shows it.
    """
    if not isinstance(token, str):
        raise ConfigurationError(f"a token is a string, not {type(token).__name__}")
    token = token.strip()
    if not token:
        raise ConfigurationError(f"the API token{where} is empty")
    if not token.isascii() or not all("!" <= sign <= "~" for sign in token):
        raise ConfigurationError(
            f"the API token{where} holds a space, a line break or another character that no header may hold: "
            'give it alone, without "Bearer"'
        )
    return token


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "not a text file"
        raise ConfigurationError(f"the API token cannot be read from {path}: {reason}") from exc


def _call(source: Callable[[], str]) -> str:
    try:
        return source()
    except Exception as exc:
        raise ConfigurationError(f"the token callable raised {type(exc).__name__}") from exc
