"""Whose address a request came from, with honest and with forged headers."""

import pytest

from auditbox.capture.address import Proxies
from auditbox.errors import ConfigurationError

PROXIES = ["10.0.0.0/8", "2001:db8:f::/48"]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("10.1.1.1", "203.0.113.7", "203.0.113.7"),
        ("10.1.1.1", "6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("10.1.1.1", "6.6.6.6, 203.0.113.7, 10.2.2.2", "203.0.113.7"),
        ("10.1.1.1", "10.3.3.3,10.2.2.2", "10.3.3.3"),
        ("10.1.1.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.1.1.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("10.1.1.1", "2001:db8::7", "2001:db8::7"),
        ("10.1.1.1", "6.6.6.6, unknown, 10.2.2.2", "10.2.2.2"),
        ("10.1.1.1", "<script>", "10.1.1.1"),
        ("10.1.1.1", "", "10.1.1.1"),
        ("::ffff:10.1.1.1", "203.0.113.7", "203.0.113.7"),
        ("2001:db8:f::1", "203.0.113.7", "203.0.113.7"),
        ("203.0.113.9", "6.6.6.6", "203.0.113.9"),
        ("testclient", "6.6.6.6", "testclient"),
        (None, "6.6.6.6", None),
    ],
)
def test_x_forwarded_for(peer: str | None, forwarded_for: str, client: str | None) -> None:
    """Read from the right, past trusted proxies only; nobody else's word counts."""
    assert Proxies(PROXIES).client(peer, {"x-forwarded-for": forwarded_for}) == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("for=203.0.113.7", "203.0.113.7"),
        ("for=6.6.6.6, for=203.0.113.7;proto=https;by=10.1.1.1", "203.0.113.7"),
        ('proto=https;For="[2001:db8::7]:4711"', "2001:db8::7"),
        ('for="203.0.113.7:80", for=10.2.2.2', "203.0.113.7"),
        ('for=6.6.6.6;x="a, for=7.7.7.7", for=203.0.113.7', "203.0.113.7"),
        ("for=_hidden", "10.1.1.1"),
        ("for=6.6.6.6, proto=https", "10.1.1.1"),
        ('for="6.6.6.6', "10.1.1.1"),
    ],
)
def test_forwarded(forwarded: str, client: str) -> None:
    """RFC 7239: quoted values, IPv6 in brackets, ports; what is hidden or broken ends the search."""
    assert Proxies(PROXIES).client("10.1.1.1", {"forwarded": forwarded}) == client


def test_which_of_both_headers() -> None:
    """X-Forwarded-For where it is there; the other one where the application says so."""
    headers = {"x-forwarded-for": "203.0.113.7", "forwarded": "for=203.0.113.8"}
    assert Proxies(PROXIES).client("10.1.1.1", headers) == "203.0.113.7"
    assert Proxies(PROXIES, "forwarded").client("10.1.1.1", headers) == "203.0.113.8"


def test_unix_sockets_and_anybody() -> None:
    """A peer on a Unix socket has no address; ``*`` trusts every hop."""
    headers = {"x-forwarded-for": "203.0.113.7, 203.0.113.8"}
    assert Proxies("unix").client(None, headers) == "203.0.113.8"
    assert Proxies("*").client("198.51.100.1", headers) == "203.0.113.7"


@pytest.mark.parametrize("filler", ["1.2.3.4, ", '"', 'for="\\', "for=;", ",", "[:"])
def test_huge_headers(filler: str) -> None:
    """Two megabytes of anything before the proxy's own word change nothing."""
    proxies = Proxies(PROXIES)
    assert (
        proxies.client("10.1.1.1", {"x-forwarded-for": filler * 400_000 + ", 203.0.113.7"}) == "203.0.113.7"
    )
    proxies.client("10.1.1.1", {"forwarded": filler * 400_000})


@pytest.mark.parametrize("trusted", [["nonsense"], ["10.0.0.0/99"], "10.0.0"])
def test_wrong_addresses(trusted: list[str]) -> None:
    """What is no address is refused when the middleware is made."""
    with pytest.raises(ConfigurationError, match="trusted_proxies"):
        Proxies(trusted)
    with pytest.raises(ConfigurationError, match="forwarded_header"):
        Proxies((), "x-real-ip")
