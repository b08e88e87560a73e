"""URLs as they are typed -> what is asked for, byte for byte, and whom a secret may be told."""

from __future__ import annotations

import pytest

from fetchq._errors import UsageError
from fetchq._http.url import parse


@pytest.mark.parametrize(
    ("text", "asked", "origin", "login"),
    [
        ("http://h/a", "http://h/a", ("http", "h", 80), None),
        ("https://H:443/a%2fb?sig=%7E+", "https://h/a%2fb?sig=%7E+", ("https", "h", 443), None),
        ("http://h:80", "http://h", ("http", "h", 80), None),
        ("http://h/?q='quoted'#part", "http://h/?q='quoted'", ("http", "h", 80), None),
        ("http://h/.hidden/..file/...", "http://h/.hidden/..file/...", ("http", "h", 80), None),
        ("http://me:p%40w@h:81/x", "http://h:81/x", ("http", "h", 81), ("me", "p@w")),
        ("http://[::1]:81/x", "http://[::1]:81/x", ("http", "::1", 81), None),
        (
            "http://b\u00fccher.example/\u00fc",
            "http://xn--bcher-kva.example/%C3%BC",
            ("http", "xn--bcher-kva.example", 80),
            None,
        ),
        ("HTTP://127.0.0.1:8080/", "http://127.0.0.1:8080/", ("http", "127.0.0.1", 8080), None),
    ],
)
def test_a_url(text: str, asked: str, origin: tuple[str, str, int], login: tuple[str, str] | None) -> None:
    parsed = parse(text)
    assert (parsed.text, parsed.origin, parsed.login) == (asked, origin, login)
    assert parsed.key == f"{origin[1]}:{origin[2]}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("h/a", "must begin with http"),
        ("ftp://h/a", "only http and https"),
        ("http:///a", "names no host"),
        ("http://h:0/", "between 1 and 65535"),
        ("http://h:65536/", "port"),
        ("http://h:x/", "not a number"),
        ("http://1.2.3.4.5x y/", "host name is not one"),
        (f"http://{'a' * 64}/", "host name is not one"),
        (f"http://{'a.' * 127}aa/", "host name is not one"),
        ("http://h\n/", "control character"),
        ("http://me:s3cret@h:x/", "not a number"),
    ],
)
def test_what_is_no_url(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse(text)
    assert "s3cret" not in str(caught.value)


def test_params_leave_the_signed_query_as_it_is() -> None:
    assert parse("http://h/a?sig=%2f~", (("b", "c d"),)).text == "http://h/a?sig=%2f~&b=c%20d"


def test_a_relative_url_needs_a_base() -> None:
    assert parse("a/b", base="http://h/root/").text == "http://h/root/a/b"
