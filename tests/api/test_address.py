"""The API's address."""

import pytest

from auditbox.api.address import api_root
from auditbox.errors import ConfigurationError


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ("https://api.platform.softwareone.com", "https://api.platform.softwareone.com/public/v1"),
        ("https://api.s1.show/public", "https://api.s1.show/public/v1"),
        ("https://api.s1.show/public/v1/", "https://api.s1.show/public/v1"),
        ("  HTTPS://API.S1.show:443/  ", "https://api.s1.show/public/v1"),
        ("https://gateway.example.com:8443/mpt/public/v1", "https://gateway.example.com:8443/mpt/public/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/public/v1"),
        ("http://localhost:80", "http://localhost/public/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/public/v1"),
    ],
)
def test_one_root(given: str, root: str) -> None:
    """Host, …/public and …/public/v1 name the same root, in one spelling."""
    assert api_root(given) == root
    assert api_root(root) == root


@pytest.mark.parametrize(
    "given",
    [
        "",
        "   ",
        "api.s1.show",
        "ftp://api.s1.show",
        "https://",
        "https://user@api.s1.show",
        "https://user:secret@api.s1.show",
        "https://api.s1.show/?x=1",
        "https://api.s1.show/#x",
        "https://api.s1.show:99999",
        "https://api.s1.show:port",
        "https://api.s1.show/public/v1/audit/records",
        "https://api.s1.show/public/v2",
        "https://api.s1.show/../x",
        "https://api.s1.show/a b",
        "https://api.s1.show\r\nX: y",
        "https://api.s1.show\\@evil.example",
        "https://exämple.com",
        "https://-bad-.example",
        "http://[::1",
        "https://[::zz]",
        None,
        42,
    ],
)
def test_what_is_no_address(given: str) -> None:
    """An address that cannot be used is a ConfigurationError, and never shows a password."""
    with pytest.raises(ConfigurationError) as caught:
        api_root(given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "api.s1.show",
        "127.0.0.2",
        "127.1",
        "0.0.0.0",
        "localhost.example.com",
        "localhost.",
        "127.0.0.1.nip.io",
        "[::ffff:127.0.0.1]",
        "2130706433",
    ],
)
def test_no_token_in_the_clear(host: str) -> None:
    """Without TLS only 127.0.0.1, ::1 and localhost are reached, by exactly these names."""
    with pytest.raises(ConfigurationError, match="https://"):
        api_root(f"http://{host}:8000")
