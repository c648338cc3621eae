from __future__ import annotations

import pytest

from comfywatchman.base.address import Address, has_password, mask_password, parse_address, printable_url
from comfywatchman.base.errors import Failure


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://A.example/b?c=d#e", Address("https", "a.example", 443, "/b?c=d")),
        ("http://a.example:8080", Address("http", "a.example", 8080, "/")),
        ("https://[2001:db8::1]:8443/x y".replace(" ", "%20"), Address("https", "2001:db8::1", 8443, "/x%20y")),
        ("https://a.internet./ä", Address("https", "a.internet", 443, "/%C3%A4")),
    ],
)
def test_address_is_parsed(url: str, address: Address) -> None:
    assert parse_address(url) == address
    assert parse_address(address.url) == address


def test_relative_redirect_starts_at_its_base() -> None:
    base = parse_address("https://a.example:444/b/c?d=e")
    assert parse_address("../x", base=base).url == "https://a.example:444/x"
    assert parse_address("//b.example/y", base=base).url == "https://b.example/y"
    assert parse_address("https://[2001:db8::1]:8443/").origin == "https://[2001:db8::1]:8443"


BAD = (
    " // a //a/b gopher://a/ https:// https://a\\b/ https://a@b/ https://a:x/ https://a:0/ https://a:65536/ "
    "https://-a/ https://[::1/ javascript:x"
)


@pytest.mark.parametrize("url", ["", "https://a b/", "https://a\n/", "https://a/\t", *BAD.split()])
def test_unusual_address_is_refused(url: str) -> None:
    with pytest.raises(Failure) as raised:
        parse_address(url)
    assert raised.value.code == "download-host-refused"


def test_refusal_shows_no_secrets() -> None:
    with pytest.raises(Failure, match=r"^https://evil\.example/x is not a plain http or https address\."):
        parse_address("https://user:password@evil.example/x?token=1")
    with pytest.raises(Failure, match=r"^The address is not a plain"):
        parse_address("javascript:alert(1)")


def test_printable_url_has_no_secrets() -> None:
    assert printable_url("https://u:p@h:1/a/b?q=1#f") == "https://h:1/a/b"
    assert printable_url("http://[broken") == "an invalid address"
    assert printable_url("http://h/\x1b") == r"'http://h/\x1b'"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:secret@host/path", "https://***@host/path"),
        ("https://user:p@ss@host", "https://***@host"),
        ("https://host/a@b", "https://host/a@b"),
        ("somebody@host", "somebody@host"),
        ("", ""),
    ],
)
def test_password_of_a_url_is_masked(text: str, shown: str) -> None:
    assert mask_password(text) == shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://ann:secret@db/jobs", True),
        ("https://ann:p@ss@host", True),
        ("postgresql://ann@db/jobs", False),
        ("https://host:80/a:b@c", False),
        ("ann:secret@db", False),
        ("", False),
    ],
)
def test_url_with_a_password_is_recognised(text: str, expected: bool) -> None:  # noqa: FBT001 - the expectation
    assert has_password(text) is expected
