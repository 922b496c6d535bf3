"""JSON Web Tokens such as the platform gives its extensions (contract, section 9; RFC 7519, HS256)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

CLAIM = "https://claims.softwareone.com/"
"""What the names of the platform's own claims begin with."""

_HEADER = {"alg": "HS256", "typ": "JWT"}


class Issuer:
    """Issues tokens and reads them again; its key lives as long as it does.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._key = clock, secrets.token_bytes(32)

    def issue(self, claims: Mapping[str, Any], lifetime: float) -> tuple[str, int]:
        """A signed token with the platform's claims, and when it expires (seconds since the epoch)."""
        expires = int(self._clock() + lifetime)
        payload = {**{CLAIM + name: value for name, value in claims.items()}, "exp": expires}
        signed = f"{_encode(_HEADER)}.{_encode(payload)}"
        return f"{signed}.{_base64(self._signature(signed))}", expires

    def read(self, token: str, *, verify: bool) -> dict[str, Any] | None:
        """The platform's claims; None where it is no token, has expired, or (``verify``) is not ours."""
        signed, _, signature = token.rpartition(".")
        payload = _decode(signed.partition(".")[2])
        if payload is None or not self._lives(payload.get("exp")):
            return None
        if verify and not hmac.compare_digest(_base64(self._signature(signed)), signature):
            return None
        return {name.removeprefix(CLAIM): value for name, value in payload.items()}

    def _lives(self, expires: Any) -> bool:
        return expires is None or (isinstance(expires, int | float) and expires > self._clock())

    def _signature(self, signed: str) -> bytes:
        return hmac.new(self._key, signed.encode(), hashlib.sha256).digest()


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _encode(value: Mapping[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _decode(part: str) -> dict[str, Any] | None:
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
