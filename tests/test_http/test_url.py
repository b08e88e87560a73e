"""URLs as they are typed -> what is asked for, byte for byte, and whom a secret may be told."""

from __future__ import annotations

import pytest

from fetchq._errors import UsageError
from fetchq._http.url import parse, remove_dot_segments, resolve


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
        ("http://user@h/", "http://h/", ("http", "h", 80), ("user", None)),
        ("http://user:@h/", "http://h/", ("http", "h", 80), ("user", "")),
        ("http://a@b:c@d@h/", "http://h/", ("http", "h", 80), ("a@b", "c@d")),
        ("http://h:/x", "http://h/x", ("http", "h", 80), None),
        ("http://h:0080/x", "http://h/x", ("http", "h", 80), None),
        # RFC 3986 section 5.2.4: what ends in a dot segment is a folder.
        ("http://h/a/b/..", "http://h/a/", ("http", "h", 80), None),
        ("http://h/a/b/.", "http://h/a/b/", ("http", "h", 80), None),
        ("http://h/a/../../b?c=/../d", "http://h/b?c=/../d", ("http", "h", 80), None),
        ("http://h/a//../b//./c", "http://h/a/b//c", ("http", "h", 80), None),
        ("http://h/web/2020/http://ex.org/x", "http://h/web/2020/http://ex.org/x", ("http", "h", 80), None),
        ("http://h/%2e%2E/%zz%", "http://h/%2e%2E/%zz%", ("http", "h", 80), None),
        ("http://h/\udce9?\udce9=\xfc", "http://h/%E9?%E9=%C3%BC", ("http", "h", 80), None),
        # Hosts that resolvers and curl take, though IDNA 2008 does not.
        ("http://i\u2764.x/", "http://xn--i-7iq.x/", ("http", "xn--i-7iq.x", 80), None),
        (
            "http://foo_bar.m\u00fcnchen.x/",
            "http://foo_bar.xn--mnchen-3ya.x/",
            ("http", "foo_bar.xn--mnchen-3ya.x", 80),
            None,
        ),
        (
            "http://\uff25\uff38\uff41\uff4d\uff0e\uff43\uff4f\uff4d/",
            "http://exam.com/",
            ("http", "exam.com", 80),
            None,
        ),
        ("http://stra\u00dfe.x/", "http://xn--strae-oqa.x/", ("http", "xn--strae-oqa.x", 80), None),
        ("http://ex%61mple.%C3%BC/", "http://example.xn--tda/", ("http", "example.xn--tda", 80), None),
        ("http://127.1:81/", "http://127.1:81/", ("http", "127.1", 81), None),
        ("http://h./x", "http://h./x", ("http", "h.", 80), None),
        ("http://[FE80::1%25Eth0]:81/", "http://[fe80::1%25Eth0]:81/", ("http", "fe80::1%25Eth0", 81), None),
        ("HTTP://127.0.0.1:8080/", "http://127.0.0.1:8080/", ("http", "127.0.0.1", 8080), None),
    ],
)
def test_a_url(
    text: str, asked: str, origin: tuple[str, str, int], login: tuple[str, str | None] | None
) -> None:
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
        ("http://h:8_0/", "not a number"),
        ("http://h:\u0663/", "not a number"),
        (f"http://h:{'9' * 5000}/", "between 1 and 65535"),
        ("http://::1/", "in brackets"),
        ("http://2001:db8::1/", "in brackets"),
        ("http://[h]/", "host name is not one"),
        ("http://[::1", "in brackets"),
        ("http://[::%31]/", "host name is not one"),
        ("http://[1::2::3]/", "not a valid IP address"),
        ("http://1.2.3.256/", "not a valid IP address"),
        # The host is good.example for a browser, and evil.example for who reads RFC 3986.
        ("http://good.example\\@evil.example/", "host name is not one"),
        ("http://a%2fb/", "host name is not one"),
        ("http://a%00b/", "host name is not one"),
        ("http://\udcfc.x/", "host name is not one"),
        ("http://\xad/", "host name is not one"),
        ("http://a..b/", "host name is not one"),
        (f"http://{chr(0xFC) * 5000}.x/", "host name is not one"),
        (f"http://h/{'a' * 66000}", "longer than 65536"),
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


# The base of the table, and what each reference leads to; http takes the place of its scheme g for the first
# row of section 5.4.2, whose strict reading is the only one that needs no guess.
RFC_3986_SECTION_5_4 = [
    ("g:h", "g:h"),
    ("g", "http://a/b/c/g"),
    ("./g", "http://a/b/c/g"),
    ("g/", "http://a/b/c/g/"),
    ("/g", "http://a/g"),
    ("//g", "http://g"),
    ("?y", "http://a/b/c/d;p?y"),
    ("g?y", "http://a/b/c/g?y"),
    ("#s", "http://a/b/c/d;p?q"),
    ("g#s", "http://a/b/c/g"),
    ("g?y#s", "http://a/b/c/g?y"),
    (";x", "http://a/b/c/;x"),
    ("g;x", "http://a/b/c/g;x"),
    ("g;x?y#s", "http://a/b/c/g;x?y"),
    ("", "http://a/b/c/d;p?q"),
    (".", "http://a/b/c/"),
    ("./", "http://a/b/c/"),
    ("..", "http://a/b/"),
    ("../", "http://a/b/"),
    ("../g", "http://a/b/g"),
    ("../..", "http://a/"),
    ("../../", "http://a/"),
    ("../../g", "http://a/g"),
    ("../../../g", "http://a/g"),
    ("../../../../g", "http://a/g"),
    ("/./g", "http://a/g"),
    ("/../g", "http://a/g"),
    ("g.", "http://a/b/c/g."),
    (".g", "http://a/b/c/.g"),
    ("g..", "http://a/b/c/g.."),
    ("..g", "http://a/b/c/..g"),
    ("./../g", "http://a/b/g"),
    ("./g/.", "http://a/b/c/g/"),
    ("g/./h", "http://a/b/c/g/h"),
    ("g/../h", "http://a/b/c/h"),
    ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
    ("g;x=1/../y", "http://a/b/c/y"),
    ("g?y/./x", "http://a/b/c/g?y/./x"),
    ("g?y/../x", "http://a/b/c/g?y/../x"),
    ("g#s/../x", "http://a/b/c/g"),
    ("http:g", "http:g"),
]


@pytest.mark.parametrize(("reference", "target"), RFC_3986_SECTION_5_4)
def test_rfc_3986_section_5_4(reference: str, target: str) -> None:
    assert resolve("http://a/b/c/d;p?q", reference) == target


@pytest.mark.parametrize(
    ("base", "reference", "target"),
    [
        # Empty segments are segments.
        ("http://h/a/c", "x//y", "http://h/a/x//y"),
        ("http://h/a//b/c", "../d", "http://h/a//d"),
        ("http://h/a//b/c", "../../d", "http://h/a/d"),
        ("http://h/a//b//", "./d", "http://h/a//b//d"),
        ("http://h/web/2020/x", "/web/2020/http://ex.org/dir/f", "http://h/web/2020/http://ex.org/dir/f"),
        ("http://h/web/2020/http://ex.org/dir/f", "g", "http://h/web/2020/http://ex.org/dir/g"),
        ("http://h/web/2020/http://ex.org/dir/f", "/web//x", "http://h/web//x"),
        ("http://h//a/b", "c", "http://h//a/c"),
        ("http://h/a", "/x//", "http://h/x//"),
        ("http://h/a", "/////bar", None),
        # Queries.
        ("http://h/a/b?old=1", "?", "http://h/a/b?"),
        ("http://h/a/b?old=1", "?x", "http://h/a/b?x"),
        ("http://h/a/b?old=1", "#top", "http://h/a/b?old=1"),
        ("http://h/a/b?old=1", "c?", "http://h/a/c?"),
        ("http://h/a/b?old=/x/y", "c", "http://h/a/c"),
        ("http://h/a", "?q=http://x/../y", "http://h/a?q=http://x/../y"),
        ("http://h/a", "b?c?d", "http://h/b?c?d"),
        # A base without a path.
        ("http://h", "x", "http://h/x"),
        ("http://h", "../x", "http://h/x"),
        ("http://h?old", "?x", "http://h?x"),
        ("http://h", "#x", "http://h"),
        # Colons that begin no scheme.
        ("http://h/foo/bar", ":foo.com/", "http://h/foo/:foo.com/"),
        ("http://h/foo/bar", ":", "http://h/foo/:"),
        ("http://h/foo/bar", "/:23", "http://h/:23"),
        ("http://h/foo/bar", "::23", "http://h/foo/::23"),
        ("http://h/foo/bar", "1a:b", "http://h/foo/1a:b"),
        ("http://h/foo/bar", "./a:b", "http://h/foo/a:b"),
        ("http://h/foo/bar", "/http://x/", "http://h/http://x/"),
        # Dots and what only looks like them.
        ("http://h/foo/bar", "/a/..", "http://h/"),
        ("http://h/foo/bar", "/a/../", "http://h/"),
        ("http://h/foo/bar", "/a/...", "http://h/a/..."),
        ("http://h/foo/bar", "/a/%2e%2e/b", "http://h/a/%2e%2e/b"),
        ("http://h/foo/bar", "/a/..b", "http://h/a/..b"),
        ("http://h/foo/bar", "..", "http://h/"),
        ("http://h/foo/bar", "//h2/a/./../b", "http://h2/b"),
        # Bytes stay as they are.
        ("http://h/a%2fb/c", "d%2Fe~'!$&()*+,;=:@", "http://h/a%2fb/d%2Fe~'!$&()*+,;=:@"),
        ("http://h/a/b", "%zz%", "http://h/a/%zz%"),
        ("http://h/a/b", "x y", "http://h/a/x%20y"),
        ("http://h/a/b", "\\x\\y", "http://h/a/\\x\\y"),
        ("http://h/a/b", "|^[]", "http://h/a/|^[]"),
        ("http://h/a/b", "?<>", "http://h/a/b?%3C%3E"),
        # Other hosts, ports and schemes.
        ("http://h/a/b", "//x:81/y", "http://x:81/y"),
        ("https://h/a/b", "//x/y", "https://x/y"),
        ("http://h:81/a", "b", "http://h:81/b"),
        ("http://h/a", "HTTPS://X:443/y", "https://x/y"),
        ("http://[::1]:81/a", "b", "http://[::1]:81/b"),
        # RFC 9110 section 4.2.1 forbids an empty host.
        ("http://h/a", "http:///x/y", None),
        ("http://h/a", "///x/y", None),
        ("http://h/a", "http:/x", None),
        ("http://h/a", "http:x", None),
        ("http://h/a", "http:", None),
        ("http://h/a", "//", None),
        ("http://h/a", "http://?x", None),
        ("http://h/a", "http://x y/", None),
        ("http://h/a", "mailto:x@y", None),
    ],
)
def test_where_a_reference_leads(base: str, reference: str, target: str | None) -> None:
    if target is None:
        with pytest.raises(UsageError):
            parse(resolve(base, reference))
    else:
        assert parse(resolve(base, reference)).text == target


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("/a/b/c/./../../g", "/a/g"),
        ("/", "/"),
        ("/.", "/"),
        ("/..", "/"),
        ("/../..", "/"),
        ("/a/.b/..c/d.", "/a/.b/..c/d."),
        ("//", "//"),
        ("//..", "/"),
        ("/a/b//..", "/a/b/"),
        ("", ""),
    ],
)
def test_dot_segments(path: str, left: str) -> None:
    assert remove_dot_segments(path) == left


def test_the_zone_of_an_address_is_not_shown_to_servers() -> None:
    assert parse("http://[fe80::1%25eth0]:81/").host == "[fe80::1]:81"
    assert parse("http://[fe80::1%25eth0]/").host == "[fe80::1]"
