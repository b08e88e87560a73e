"""Cookies: which are stored, where they go and in which order, case by case as RFC 6265 has them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchq._http import cookies
from fetchq._http.cookies import CookieJar
from fetchq._models import Job
from fetchq._settings import Network

from ..raw_server import Seen, answer, serving
from .edge import opened, runs

NOW = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
HOME = "http://home.example.org:8888/dir/page"


def sent(fields: list[str | bytes], url: str = HOME, by: str = HOME) -> bytes:
    """The Cookie field for *url* after *by* has answered with the Set-Cookie *fields*."""
    jar = CookieJar(lambda: NOW)
    jar.extract(httpx.URL(by), [field.encode() if isinstance(field, str) else field for field in fields])
    return jar.header(httpx.URL(url))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # A name and a value, as they are.
        (["a=b"], "a=b"),
        (["a"], ""),
        (["=b"], ""),
        (["="], ""),
        ([""], ""),
        ([";"], ""),
        (["; a=b"], ""),
        (["a="], "a="),
        (["a==b="], "a==b="),
        (["a=b=c"], "a=b=c"),
        (["  a  =  b c  "], "a=b c"),
        (["\ta\t=\tb\t"], "a=b"),
        (['a="b"'], 'a="b"'),
        (['a=" b; c"'], 'a=" b'),
        (["a=b, c=d"], "a=b, c=d"),
        (["a b=c"], "a b=c"),
        (["A=1", "a=2"], "A=1; a=2"),
        (["a=1", "a=2"], "a=2"),
        (["a=1", "b=2", "a=3"], "a=3; b=2"),
        (["z=1", "a=2", "m=3"], "z=1; a=2; m=3"),
        (["a=b;"], "a=b"),
        (["a=b;;;"], "a=b"),
        (["a=\u00e4\u20ac"], "a=\u00e4\u20ac"),
        (["a=b\x01"], ""),
        (["a=b\x7f"], ""),
        (["a=b; Path=/dir\x01"], ""),
        (["a=b\tc"], "a=b\tc"),
        ([f"a={'x' * 4095}"], f"a={'x' * 4095}"),
        ([f"a={'x' * 4096}"], ""),
        # Attributes that mean nothing here, and odd spellings.
        (["a=b; Version=1"], "a=b"),
        (['a=b; Version="1"'], "a=b"),
        (["a=b; HttpOnly; SameSite=Strict; Priority=High"], "a=b"),
        (['a=b; Comment="x; y"'], "a=b"),
        (["a=b; unknown"], "a=b"),
        (["a=b; =x"], "a=b"),
        (["a=b; Max-Age"], "a=b"),
        (["a=b; Expires"], "a=b"),
        (["a=b; Domain"], "a=b"),
        (["a=b; Path"], "a=b"),
        # Max-Age.
        (["a=b; Max-Age=10"], "a=b"),
        (["a=b; Max-Age=0"], ""),
        (["a=b; Max-Age=-1"], ""),
        (["a=b; Max-Age=-"], "a=b"),
        (["a=b; Max-Age=+1"], "a=b"),
        (['a=b; Max-Age="100"'], "a=b"),
        (['a=b; Max-Age="0"'], "a=b"),
        (["a=b; Max-Age=1.5"], "a=b"),
        (["a=b; max-age =  0"], ""),
        (["a=b; Max-Age=" + "9" * 400], "a=b"),
        (["a=b; Max-Age=0; Max-Age=10"], "a=b"),
        (["a=b; Max-Age=10; Max-Age=0"], ""),
        (["a=b; Max-Age=10; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "a=b"),
        (["a=b; Expires=Fri, 01 Jan 2038 00:00:00 GMT; Max-Age=0"], ""),
        (["a=b", "a=c; Max-Age=0"], ""),
        (["a=b", "a=c; Max-Age=0", "a=d"], "a=d"),
        (["a=b", "c=d", "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "c=d"),
        # Expires.
        (["a=b; Expires=Fri, 01 Jan 2038 00:00:00 GMT"], "a=b"),
        (["a=b; Expires=Tue, 31 Dec 2019 23:59:59 GMT"], ""),
        (["a=b; Expires=Wed, 01 Jan 2020 00:00:01 GMT"], "a=b"),
        (["a=b; Expires=soon"], "a=b"),
        (["a=b; Expires="], "a=b"),
        (["a=b; Expires=Tue, 31 Dec 2019 23:59:59 GMT; Expires=soon"], ""),
        (["a=b; Expires=Tue, 31 Dec 2019 23:59:59 GMT; Expires=Fri, 01 Jan 2038 00:00:00 GMT"], "a=b"),
        (["a=b; EXPIRES = Tuesday 31-Dec-19 23:59:59"], ""),
        # Secure.
        (["a=b; Secure"], ""),
        (["a=b; secure="], ""),
        (["a=b; SECURE=false"], ""),
        (["a=b; Secured"], "a=b"),
        # Path: /dir is the default.
        (["a=b; Path=/"], "a=b"),
        (["a=b; Path=/dir"], "a=b"),
        (["a=b; Path=/dir/"], "a=b"),
        (["a=b; Path=/dir/page"], "a=b"),
        (["a=b; Path=/dir/page/"], ""),
        (["a=b; Path=/di"], ""),
        (["a=b; Path=/DIR"], ""),
        (["a=b; Path=dir"], "a=b"),
        (["a=b; Path="], "a=b"),
        (['a=b; Path="/other"'], "a=b"),
        (["a=b; Path=/other; Path=/dir"], "a=b"),
        (["a=b; Path=/dir; Path=/other"], ""),
        (["a=b; Path=/other; Path=x"], "a=b"),
        (["a=b; Path=/d%69r"], ""),
        (["a=b; Path=/dir; b=c"], "a=b"),
        (["a=" + "b; Path=/" + "x" * 1024], "a=b"),
        # Longer paths first, then those that were stored first.
        (["a=1; Path=/", "b=2; Path=/dir", "c=3; Path=/"], "b=2; a=1; c=3"),
        (["a=1; Path=/", "a=2; Path=/dir"], "a=2; a=1"),
        (["a=1; Path=/", "c=3; Path=/", "a=4; Path=/"], "a=4; c=3"),
        # Domain: home.example.org.
        (["a=b; Domain=home.example.org"], "a=b"),
        (["a=b; Domain=.home.example.org"], "a=b"),
        (["a=b; Domain=HOME.Example.ORG"], "a=b"),
        (["a=b; Domain=example.org"], "a=b"),
        (["a=b; Domain=.example.org"], "a=b"),
        (["a=b; Domain=..example.org"], ""),
        (["a=b; Domain=org"], ""),
        (["a=b; Domain=.org"], ""),
        (["a=b; Domain=."], "a=b"),
        (["a=b; Domain="], "a=b"),
        (["a=b; Domain=   "], "a=b"),
        (["a=b; Domain=ample.org"], ""),
        (["a=b; Domain=www.example.org"], ""),
        (["a=b; Domain=sub.home.example.org"], ""),
        (["a=b; Domain=example.org."], ""),
        (["a=b; Domain=http://example.org"], ""),
        (["a=b; Domain=example.org:8888"], ""),
        (['a=b; Domain="example.org"'], ""),
        (["a=b; Domain=www.example.org; Domain=example.org"], "a=b"),
        (["a=b; Domain=example.org; Domain=www.example.org"], ""),
        (["a=b; Domain=example.org; Domain="], "a=b"),
        (["a=b; Domain=\u00fc\u00fc"], ""),
        ([b"a=b; Domain=\xff"], ""),
    ],
)
def test_a_cookie_comes_back(fields: list[str | bytes], expected: str) -> None:
    assert sent(fields) == expected.encode()


@pytest.mark.parametrize(
    ("by", "field", "to", "comes"),
    [
        # Host-only, unless a Domain says otherwise (RFC 6265 section 5.1.3).
        ("http://example.com/", "a=b", "http://example.com/", True),
        ("http://example.com/", "a=b", "https://example.com:8443/x", True),
        ("http://example.com/", "a=b", "http://evil.example.com/", False),
        ("http://www.example.com/", "a=b", "http://example.com/", False),
        ("http://example.com/", "a=b", "http://evilexample.com/", False),
        ("http://example.com/", "a=b; Domain=example.com", "http://www.example.com/", True),
        ("http://www.example.com/", "a=b; Domain=example.com", "http://example.com/", True),
        ("http://www.example.com/", "a=b; Domain=example.com", "http://a.b.example.com/", True),
        ("http://www.example.com/", "a=b; Domain=example.com", "http://evilexample.com/", False),
        (
            "http://b\u00fccher.example/",
            "a=b; Domain=B\u00dcCHER.example",
            "http://x.b\u00fccher.example/",
            True,
        ),
        # An address is itself only, however it is written.
        ("http://127.0.0.1/", "a=b; Domain=0.0.1", "http://127.0.0.1/", False),
        ("http://127.0.0.1/", "a=b; Domain=0.0.1", "http://10.0.0.1/", False),
        ("http://127.0.0.1/", "a=b; Domain=127.0.0.1", "http://127.0.0.1/", True),
        ("http://127.0.0.1/", "a=b", "http://x.127.0.0.1/", False),
        ("http://127.1/", "a=b; Domain=1", "http://10.1/", False),
        ("http://127.0.0x1/", "a=b; Domain=0.0x1", "http://10.0.0x1/", False),
        ("http://[::1]/", "a=b", "http://[::1]/", True),
        ("http://[::1]/", "a=b", "http://[::2]/", False),
        # Names below which anyone may register.
        ("http://a.co.uk/", "a=b; Domain=co.uk", "http://a.co.uk/", False),
        ("http://a.co.uk/", "a=b; Domain=a.co.uk", "http://b.a.co.uk/", True),
        ("http://a.github.io/", "a=b; Domain=github.io", "http://b.github.io/", False),
        ("http://github.io/", "a=b; Domain=github.io", "http://github.io/", True),
        ("http://github.io/", "a=b; Domain=github.io", "http://b.github.io/", False),
        ("http://localhost/", "a=b; Domain=localhost", "http://localhost/", True),
        ("http://localhost/", "a=b; Domain=.localhost", "http://localhost/", True),
        ("http://localhost/", "a=b; Domain=localhost", "http://a.localhost/", False),
        ("http://a.intranet/", "a=b; Domain=intranet", "http://b.intranet/", False),
        # Secure cookies go over TLS only.
        ("https://h.example/", "a=b; Secure", "https://h.example/", True),
        ("https://h.example/", "a=b; Secure", "http://h.example/", False),
        ("https://h.example/", "a=b", "http://h.example/", True),
        # The prefixes of RFC 6265bis section 4.1.3.
        ("https://h.example/", "__Secure-a=b; Secure", "https://h.example/", True),
        ("https://h.example/", "__Secure-a=b", "https://h.example/", False),
        ("http://h.example/", "__Secure-a=b; Secure", "https://h.example/", False),
        ("https://h.example/", "__secure-a=b", "https://h.example/", False),
        ("https://h.example/", "__Host-a=b; Secure; Path=/", "https://h.example/", True),
        ("https://h.example/", "__Host-a=b; Path=/", "https://h.example/", False),
        ("https://h.example/", "__Host-a=b; Secure", "https://h.example/", False),
        ("https://h.example/", "__Host-a=b; Secure; Path=/x", "https://h.example/x", False),
        ("https://h.example/", "__Host-a=b; Secure; Path=/; Domain=h.example", "https://h.example/", False),
        ("https://h.example/", "__HOST-a=b; Path=/", "https://h.example/", False),
        ("http://h.example/", "__Host-a=b; Secure; Path=/", "https://h.example/", False),
        ("http://h.example/", "__Hosta=b", "http://h.example/", True),
        # The default path ends before the last slash (section 5.1.4).
        ("http://h.example/a/b/c", "a=b", "http://h.example/a/b", True),
        ("http://h.example/a/b/c", "a=b", "http://h.example/a/b/x/y?q", True),
        ("http://h.example/a/b/c", "a=b", "http://h.example/a/bc", False),
        ("http://h.example/a/b/c", "a=b", "http://h.example/a", False),
        ("http://h.example/a/b/", "a=b", "http://h.example/a/b/x", True),
        ("http://h.example/a", "a=b", "http://h.example/x", True),
        ("http://h.example/a?x=/y/z", "a=b", "http://h.example/x", True),
        ("http://h.example", "a=b", "http://h.example/x", True),
    ],
)
def test_where_a_cookie_goes(by: str, field: str, to: str, comes: bool) -> None:
    name = field.partition("=")[0]
    assert sent([field], to, by) == (f"{name}=b".encode() if comes else b"")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", (1994, 11, 6, 8, 49, 37)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", (1994, 11, 6, 8, 49, 37)),
        ("Sun Nov  6 08:49:37 1994", (1994, 11, 6, 8, 49, 37)),
        ("Mon, 10-Dec-2007 17:02:24 GMT", (2007, 12, 10, 17, 2, 24)),
        ("Wed, 09 Dec 2009 16:27:23 GMT", (2009, 12, 9, 16, 27, 23)),
        ("Thursday, 01-Jan-1970 00:00:00 GMT", (1970, 1, 1, 0, 0, 0)),
        ("Mon Dec 24 16:32:39 1977 GMT", (1977, 12, 24, 16, 32, 39)),
        ("Wed, 09 Dec 1 2009 16:27:23 GMT", (2009, 12, 9, 16, 27, 23)),
        ("Dec 9 2009 6:7:8", (2009, 12, 9, 6, 7, 8)),
        ("16:27:23 9 december 09", (2009, 12, 9, 16, 27, 23)),
        ("9;dec;2009;16:27:23pm", (2009, 12, 9, 16, 27, 23)),
        ("9th dec 2009y 16:27:23", (2009, 12, 9, 16, 27, 23)),
        ("1 jan 70 0:0:0", (1970, 1, 1, 0, 0, 0)),
        ("1 jan 69 0:0:0", (2069, 1, 1, 0, 0, 0)),
        ("1 jan 1601 0:0:0", (1601, 1, 1, 0, 0, 0)),
        ("1 jan 1600 0:0:0", None),
        ("31 feb 2009 0:0:0", None),
        ("32 jan 2009 0:0:0", None),
        ("1 jan 2009 24:0:0", None),
        ("1 jan 2009 0:60:0", None),
        ("1 jan 2009 0:0:60", None),
        ("1 jan 2009 0:0", None),
        ("1 jan 0:0:0", None),
        ("jan 2009 0:0:0", None),
        ("1 2009 0:0:0", None),
        ("1 foo 2009 0:0:0", None),
        ("1 jan 20090 0:0:0", None),
        ("", None),
    ],
)
def test_dates(text: str, moment: tuple[int, ...] | None) -> None:
    expected = None if moment is None else datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[misc, arg-type] # six numbers
    assert cookies._date(text) == expected


def test_a_cookie_ends_at_its_time() -> None:
    now = NOW
    jar = CookieJar(lambda: now)
    url = httpx.URL(HOME)
    jar.extract(url, [b"a=b; Max-Age=10"])
    assert jar.header(url) == b"a=b"
    now += 10
    assert jar.header(url) == b""


def test_without_the_list_of_public_suffixes_a_cookie_stays_with_its_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "publicsuffixlist", None)
    cookies._public_suffixes.cache_clear()
    try:
        for domain in ("co.uk", "a.co.uk"):
            assert sent([f"a=b; Domain={domain}"], "http://a.co.uk/", "http://a.co.uk/") == b"a=b"
            assert sent([f"a=b; Domain={domain}"], "http://b.a.co.uk/", "http://a.co.uk/") == b""
            assert sent([f"a=b; Domain={domain}"], "http://b.co.uk/", "http://a.co.uk/") == b""
    finally:
        cookies._public_suffixes.cache_clear()


def test_the_jar_is_bounded() -> None:
    jar = CookieJar(lambda: NOW)
    url = httpx.URL(HOME)
    jar.extract(url, [b"c%d=" % number for number in range(60)])
    assert jar.header(url).split(b"; ") == [b"c%d=" % number for number in range(10, 60)]
    for number in range(5000):
        jar.extract(httpx.URL(f"http://h{number}.example/"), [b"a=b", b"c=d"])
    assert (jar._count, len(jar._domains)) == (3000, 1500)
    assert jar.header(httpx.URL("http://h4999.example/")) == b"a=b; c=d"
    assert jar.header(httpx.URL("http://h1.example/")) == b""
    for number in range(3500, 5000):
        jar.extract(httpx.URL(f"http://h{number}.example/"), [b"a=; Max-Age=0", b"c=; Max-Age=0"])
    assert (jar._count, bool(jar)) == (0, False)


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_no_field_is_more_than_ignored(fields: list[bytes]) -> None:
    jar = CookieJar(lambda: NOW)
    jar.extract(httpx.URL(HOME), fields)
    assert b"\n" not in jar.header(httpx.URL(HOME))


@pytest.mark.parametrize("settings", [{}, {"user": ("me", "pw")}])
@runs
async def test_a_byte_that_is_no_ascii_is_sent_back(settings: dict[str, Any]) -> None:
    def respond(_: Seen) -> bytes:
        return answer(headers=("Set-Cookie: name=Andr\xe9", "Set-Cookie: euro=\xe2\x82\xac"))

    network = Network(env=False, cookies=(("mine", "\xfc"),), **settings)
    async with serving(respond) as server, opened(network) as client:
        job = Job(server.url)
        for _ in range(3):
            await (await client.open(job)).aclose()
    assert [seen.get("cookie") for seen in server.seen] == [
        "mine=\xfc",
        *["mine=\xfc; name=Andr\xe9; euro=\xe2\x82\xac"] * 2,
    ]


@runs
async def test_the_jar_of_a_callers_client_does_not_end_the_run_at_such_a_byte() -> None:
    respond = answer(headers=("Set-Cookie: name=Andr\xe9",))
    async with (
        serving(lambda _: respond) as server,
        httpx.AsyncClient(trust_env=False) as theirs,
        opened(client=theirs) as client,
    ):
        for _ in range(3):
            await (await client.open(Job(server.url))).aclose()
    assert "name=" in str(server.seen[2].get("cookie"))


@runs
async def test_a_cookie_that_a_challenge_sets_goes_with_the_answer_to_it() -> None:
    def respond(seen: Seen) -> bytes:
        if (seen.get("authorization") or "").startswith("Digest"):
            return answer()
        challenge = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'
        return answer(401, headers=(challenge, "Set-Cookie: challenge=1"))

    async with serving(respond) as server, opened(Network(env=False, user=("me", "pw"))) as client:
        reply = await client.open(Job(server.url))
        await reply.aclose()
    assert (reply.status, server.seen[1].get("cookie")) == (200, "challenge=1")
