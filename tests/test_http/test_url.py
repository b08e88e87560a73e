"""URLs of the usual kind are read without httpx, exactly as httpx reads them."""

from __future__ import annotations

from unittest.mock import patch

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetchq._http import url as _url
from fetchq._http.url import ParsedURL, parse

# What stands in URLs, and what makes one unusual, each often enough to meet all the others.
PIECES = st.sampled_from(
    [*"/.?&=%:@-_~!$'()*+,;#[]\\ \"<>`{}|^", "..", "//", "%2F", "%zz", "a", "Z", "9", "ü", "xn--", "\t", "0"]
)
HOSTS = st.one_of(
    st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True),
    st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,4}){1,4}", fullmatch=True),
    st.sampled_from(
        ["localhost", "EXAMPLE.org", "127.0.0.1", "[::1]", "user:pw@h", "bücher.example", "a_b.c", ""]
    ),
)
PORTS = st.sampled_from(["", ":", ":80", ":443", ":8080", ":080", ":65535", ":65536", ":0"])
URLS = st.builds(
    lambda scheme, host, port, rest: f"{scheme}://{host}{port}{rest}",
    st.sampled_from(["http", "https", "HTTP"]),
    HOSTS,
    PORTS,
    st.lists(PIECES, max_size=8).map("".join).map(lambda text: f"/{text}"),
)


@given(URLS)
@example("http://h/a/../b")
@example("http://h/.hidden/..file/...")
@example("http://h/?q='quoted'")
@example("http://1.2.3.4.5/")
@example("http://1.2.3.04/")
@example("https://h:443/a%2fb?sig=%7E+")
def test_the_usual_is_read_as_httpx_reads_it(url: str) -> None:
    plain = _url._plain(url)
    if plain is not None:
        assert plain == _url._parsed(url, ())


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.iso",
        "https://cdn.example.co.uk:8443/dir/a%20b.tar.gz?X-Sig=ab%2Fc&t=1",
        "http://127.0.0.1:60217/small-00001.bin",
        "http://localhost/",
    ],
)
def test_the_usual_needs_no_httpx(url: str) -> None:
    with patch.object(httpx, "URL", side_effect=AssertionError):
        assert isinstance(parse(url), ParsedURL)
