"""Whose address it is: the peer's, or what trusted proxies say of the client before them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from auditbox.errors import ConfigurationError

Address = IPv4Address | IPv6Address

HEADERS = ("x-forwarded-for", "forwarded")
_LONGEST = 8192
_ELEMENT = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*")+')
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("(?:\\.|[^"\\])*"|[^;]*)', re.IGNORECASE)
_PORT = re.compile(r":\d+$")


class Proxies:
    """The proxies whose word about the client's address is taken.

    The header is read from the right, where the nearest proxy wrote, and ends at the first address that is
    no trusted proxy: what a client forges stands to the left of that.

    Args:
        trusted: addresses and networks (``"10.0.0.0/8"``), ``"unix"`` for a peer on a Unix socket, ``"*"``
            for any peer.
        header: the header that the proxies write, ``"x-forwarded-for"`` or ``"forwarded"`` (RFC 7239);
            None takes the first, and the second where the first is absent. Name it where a proxy passes
            the other one on as the client sent it.

    Raises:
        ConfigurationError: something that is no address, or another header.
    """

    def __init__(self, trusted: Iterable[str] | str = (), header: str | None = None) -> None:
        if header is not None and header not in HEADERS:
            raise ConfigurationError(f"forwarded_header={header!r}: one of {', '.join(HEADERS)}")
        names = {trusted} if isinstance(trusted, str) else set(trusted)
        self.trusting = bool(names)
        """Whether there is any; else the peer's address is the client's."""
        self._every = "*" in names
        self._unix = self._every or "unix" in names
        self._networks = [_network(name) for name in names - {"*", "unix"}]
        self._headers = HEADERS if header is None else (header,)

    def client(self, peer: str | None, headers: Mapping[str, str]) -> str | None:
        """The client's address as far as it can be believed; the peer's own where no proxy is trusted."""
        if not self.trusting:
            return peer
        known = _parsed(peer or "")
        if not (self._trusts(known) if known else self._unix):
            return peer
        address = str(known) if known else None
        for hop in reversed(self._hops(headers)):
            parsed = _parsed(hop)
            if parsed is None:
                break
            address = str(parsed)
            if not self._trusts(parsed):
                break
        return address

    def _trusts(self, address: Address) -> bool:
        return self._every or any(address in network for network in self._networks)

    def _hops(self, headers: Mapping[str, str]) -> list[str]:
        for name in self._headers:
            value = headers.get(name)
            if value:
                # A cut makes an element on the left unreadable, and nothing is read beyond it.
                value = value[-_LONGEST:]
                return value.split(",") if name == HEADERS[0] else _forwarded(value)
        return []


def _forwarded(value: str) -> list[str]:
    """The ``for`` of each element of a Forwarded header (RFC 7239, section 4)."""
    hops = []
    for element in _ELEMENT.findall(value):
        match = _FOR.search(element)
        hops.append(match[1].strip().strip('"') if match else "")
    return hops


def _network(name: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(name, strict=False)
    except ValueError as error:
        raise ConfigurationError(
            f"trusted_proxies: {name!r} is no address or network ('10.0.0.0/8', 'unix', '*')"
        ) from error


def _parsed(text: str) -> Address | None:
    """An address without its port and brackets; an IPv4 address in IPv6 clothes as what it is."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = _PORT.sub("", text)
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
