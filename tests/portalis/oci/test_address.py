"""The registries that a user can name, and whether TLS is used."""

from __future__ import annotations

import pytest

from portalis.errors import UsageError
from portalis.oci.address import parse_address


@pytest.mark.parametrize(
    ("text", "base_url", "prefix"),
    [
        ("registry.example.com/team/a", "https://registry.example.com", "team/a"),
        ("https://Registry.example.com:5000/", "https://registry.example.com:5000", ""),
        ("oci://registry.example.com", "https://registry.example.com", ""),
        ("127.0.0.1:5000/team", "http://127.0.0.1:5000", "team"),
        ("localhost", "http://localhost", ""),
        ("http://localhost:5000", "http://localhost:5000", ""),
        ("[::1]:5000", "http://[::1]:5000", ""),
        ("https://127.0.0.1:5000", "https://127.0.0.1:5000", ""),
        # a host name that only starts like an address of this machine
        ("127.0.0.1.example.com", "https://127.0.0.1.example.com", ""),
    ],
)
def test_only_registries_on_this_machine_are_contacted_without_tls(text: str, base_url: str, prefix: str) -> None:
    address = parse_address(text)
    assert (address.base_url, address.prefix) == (base_url, prefix)


def test_plain_http_must_be_requested() -> None:
    with pytest.raises(UsageError, match="without TLS"):
        parse_address("http://registry.example.com")
    assert parse_address("registry.example.com", plain_http=True).base_url == "http://registry.example.com"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/team",
        "a b",
        "ftp://x",
        "x/Team",
        "x//y",
        "x/../y",
        "x:99999",
        "x?y",
        "x#y",
        "x\ny",
        "https://",
        "-x",
        "x/y:1",
    ],
)
def test_an_invalid_registry_is_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="invalid registry"):
        parse_address(text)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        parse_address("https://someone:pa55word@registry.example.com")
    assert "pa55word" not in str(caught.value)
