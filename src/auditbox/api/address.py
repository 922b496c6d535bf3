"""Where the Audit API is: one canonical root out of what people write down."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from auditbox.errors import ConfigurationError

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""The only hosts that may be reached without TLS."""

_NAME = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?"
)
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_DEFAULT_PORTS = {"https": 443, "http": 80}


def api_root(url: str) -> str:
    """The root of the API's version 1, such as ``https://api.platform.softwareone.com/public/v1``.

    Host and scheme are lower case, a default port is left out, there is no slash at the end: equal
    addresses give equal roots.

    Args:
        url: the host, ``…/public`` or ``…/public/v1``; a path in front of ``/public`` is kept (a gateway).

    Raises:
        ConfigurationError: it is no such address, holds a user name, a query or a fragment, or would send
            the token without TLS to another machine.
    """
    if not isinstance(url, str) or not url.strip():
        raise ConfigurationError("the API's address is empty: write https://host")
    parts = _split(url.strip())
    host = _host(parts)
    _check_scheme(parts.scheme, host)
    return f"{parts.scheme}://{_netloc(parts, host)}{_prefix(parts.path)}/public/v1"


def _split(url: str) -> SplitResult:
    if _FORBIDDEN.search(url):
        raise ConfigurationError("the API's address holds a space, a backslash or a control character")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigurationError("the API's address cannot be read: write https://host[:port]") from None
    if "@" in parts.netloc:
        raise ConfigurationError("the API's address holds a user name or password: pass the token as token=")
    if "?" in url or "#" in url:
        raise ConfigurationError(f"the API's address has a query or a fragment: write {_without_tail(url)}")
    return parts


def _without_tail(url: str) -> str:
    return re.split(r"[?#]", url, maxsplit=1)[0]


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").lower()
    if "[" in parts.netloc:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            host = ""
    if not _NAME.fullmatch(host):
        raise ConfigurationError(f"no host name in {_shown(parts)!r}: write https://host (in ASCII letters)")
    return host


def _shown(parts: SplitResult) -> str:
    text = f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.scheme else parts.path or parts.netloc
    return text[:80]


def _check_scheme(scheme: str, host: str) -> None:
    if scheme == "http" and host not in LOOPBACK:
        raise ConfigurationError(
            f"http:// would send the token to {host} in the clear: write https:// "
            f"(http:// is for {', '.join(sorted(LOOPBACK))} only)"
        )
    if scheme not in _DEFAULT_PORTS:
        raise ConfigurationError(f"{scheme}://{host}: the API's address starts with https://")


def _netloc(parts: SplitResult, host: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    if parts.port is None or parts.port == _DEFAULT_PORTS[parts.scheme]:
        return shown
    return f"{shown}:{parts.port}"


def _prefix(path: str) -> str:
    prefix = (
        path.rstrip("/").removesuffix("/v1") if path.rstrip("/").endswith("/public/v1") else path.rstrip("/")
    )
    prefix = prefix.removesuffix("/public")
    segments = prefix.split("/")
    if not _PATH.fullmatch(prefix) or ".." in segments or {"public", "audit"} & set(segments):
        raise ConfigurationError(f"{path}: the API's address ends with the host, /public or /public/v1")
    return prefix
