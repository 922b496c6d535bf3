"""Where requests come from: the caller's address, and its place as far as the seed tells."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(slots=True)
class Locations:
    """Places by network; what is in none of them has no place, as on the platform."""

    places: dict[Network, dict[str, str]] = field(default_factory=dict)

    def find(self, ip: str) -> dict[str, str] | None:
        """The place of an address, by the narrowest network that holds it."""
        address = _address(ip)
        holding = [network for network in self.places if address is not None and address in network]
        if not holding:
            return None
        return self.places[max(holding, key=lambda network: network.prefixlen)]


def address_of(peer: str | None, headers: Mapping[str, str]) -> str | None:
    """The address that a request came from: what the first gateway saw, else the connection's other end."""
    first = headers.get("x-forwarded-for", "").partition(",")[0].strip()
    address = _address(first)
    return str(address) if address is not None else peer


@functools.lru_cache(maxsize=1024)  # the same few callers, again and again
def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
