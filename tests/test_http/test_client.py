"""Requests go out as they were meant, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fetchq._errors import UsageError
from fetchq._http import HttpClient
from fetchq._models import Job
from fetchq._settings import Network
from fetchq._version import VERSION

from ..raw_server import answer, serving
from .edge import asked, opened, runs

# --- the URL


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("/a%2fb//c/%7Euser/~/+x", "/a%2fb//c/%7Euser/~/+x"),
        ("/o?X-Sig=a%2Fb+c%3D%3d&empty=&k&&z=a/b?c", "/o?X-Sig=a%2Fb+c%3D%3d&empty=&k&&z=a/b?c"),
        ("/o?", "/o?"),
        ("?x=1", "/?x=1"),
        ("", "/"),
        ("/o?q='(*)!$,;:@[]|^", "/o?q='(*)!$,;:@[]|^"),
        ("/100%/%zz", "/100%/%zz"),
        ("/o#part", "/o"),
        ("/o?q=1#part?x", "/o?q=1"),
        ("/a b/ü?q=ü x", "/a%20b/%C3%BC?q=%C3%BC%20x"),
        ("/a/./b/../c", "/a/c"),
    ],
)
@runs
async def test_the_url_goes_out_as_it_was_given(given: str, target: str) -> None:
    assert (await asked(Job("http://{host}" + given))).target == target


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("/o", "/o?k=a%20b&k=%26"),
        ("/o?", "/o?k=a%20b&k=%26"),
        ("/o?sig=%2f+", "/o?sig=%2f+&k=a%20b&k=%26"),
        ("/o?sig=%2f#part", "/o?sig=%2f&k=a%20b&k=%26"),
    ],
)
@runs
async def test_params_are_added_to_the_query(given: str, target: str) -> None:
    params = (("k", "a b"), ("k", "&"))
    assert (await asked(Job("http://{host}" + given, params=params))).target == target


@runs
async def test_params_are_for_the_jobs_own_url_only() -> None:
    async with serving(lambda _: answer()) as server, opened() as client:
        job = Job(f"{server.url}/own", mirrors=(f"{server.url}/mirror",), params=(("k", "v"),))
        for url in (None, job.url, job.mirrors[0]):
            await (await client.open(job, url=url)).aclose()
        assert [seen.target for seen in server.seen] == ["/own?k=v", "/own?k=v", "/mirror"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/a", "ftp:// is not supported, only http and https are"),
        ("file:///etc/passwd", "only http and https"),
        ("host/a", "must begin with http:// or https://"),
        ("host:8080/a", "must begin with http:// or https://"),
        ("", "must begin with http:// or https://"),
        ("http://", "names no host"),
        ("http:///a", "names no host"),
        ("http://host:99999/", "port"),
        ("http://host:0/", "port"),
        ("http://host:x/", "its port is not a number"),
        ("http://host:-1/", "port"),
        ("http://ho st/", "host name"),
        ("http://a..b/", "host name"),
        ("http://" + "a" * 64 + ".example/", "host name"),
        ("http://[::1/", "an IPv6 address must stand whole in brackets"),
        ("http://[2001:db8::1/", "an IPv6 address must stand whole in brackets"),
        ("http://::1/", "an IPv6 address must stand whole in brackets"),
        ("http://[::1]:x/", "its port is not a number"),
        ("http://[:::1]/", "IP address"),
        ("http://256.1.1.1/", "IP address"),
        ("http://host/a\nb", "control character"),
        ("http://host/a\x00", "control character"),
        ("http://host/" + "a" * 70000, "longer than 65536"),
    ],
)
def test_a_url_that_cannot_be_asked_for_is_refused(url: str, words: str) -> None:
    client = HttpClient(Network(env=False), connections=1)
    for job in (Job(url), Job("http://good/", mirrors=(url,))):
        with pytest.raises(UsageError, match="(?s)" + words) as caught:
            client.check(job)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://me:s3cret@host:x/?k=s3cret", "me:s3cret@host/a", "http://me:s3cret@ho st"]
)
def test_a_refusal_tells_no_secret(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        HttpClient(Network(env=False), connections=1).check(Job(url))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://HOST/a", "host:80"),
        ("https://host", "host:443"),
        ("https://me@host:8443/", "host:8443"),
        ("http://müller.example/", "xn--mller-kva.example:80"),
        ("http://[::1]:81/", "::1:81"),
    ],
)
def test_one_host_has_one_key(url: str, key: str) -> None:
    assert HttpClient(Network(env=False), connections=1).host_of(Job(url)) == key


@pytest.mark.parametrize(
    ("base", "url", "target"),
    [
        ("/api", "a/b", "/api/a/b"),
        ("/api/", "/a", "/api/a"),
        ("/", "a?k=%2f", "/a?k=%2f"),
        ("", "http://{host}/x", "/x"),
    ],
)
@runs
async def test_relative_urls_are_appended_to_the_base(base: str, url: str, target: str) -> None:
    async with serving(lambda _: answer()) as server:
        async with opened(base_url=server.url + base) as client:
            await (await client.open(Job(url.replace("{host}", server.host)))).aclose()
        assert server.seen[0].target == target


# --- what a request carries


@runs
async def test_identity_and_our_name_are_sent_by_default() -> None:
    seen = await asked(Job("http://{host}/"))
    assert seen.get("accept-encoding") == "identity"
    assert seen.get("user-agent") == f"fetchq/{VERSION}"
    assert seen.get("authorization") is None
    assert seen.get("cookie") is None


@runs
async def test_the_settings_and_the_jobs_headers_are_sent_and_the_last_word_wins() -> None:
    network = Network(
        env=False,
        user_agent="mine/1",
        referer="http://from/",
        headers=(("X-Key", "settings"), ("X-Other", "é")),
        cookies=(("a", "1"), ("b", "2")),
    )
    job = Job(
        "http://{host}/",
        headers=(("x-key", "job"), ("Accept-Encoding", "gzip"), ("X-Two", "1"), ("X-Two", "2")),
    )
    seen = await asked(job, network)
    told = {name: seen.get(name) for name in ("user-agent", "referer", "x-key", "x-other", "cookie", "x-two")}
    assert told == {
        "user-agent": "mine/1",
        "referer": "http://from/",
        "x-key": "job",
        "x-other": "é",
        "cookie": "a=1; b=2",
        "x-two": "1, 2",
    }
    assert seen.get("accept-encoding") == "gzip"


@runs
async def test_either_way_to_the_server_sends_the_same() -> None:
    async def hook(_: object) -> None:
        """Be there, so that httpx's client is taken."""

    network = Network(env=False, headers=(("X-Key", "k"),), cookies=(("a", "1"),), referer="http://from/")
    async with (
        serving(lambda _: answer()) as server,
        opened(network) as straight,
        opened(network, event_hooks={"request": [hook]}) as hooked,
    ):
        jobs = [
            Job(f"{server.url}/one?x=1"),
            Job(f"{server.url}/two"),
            Job(f"{server.url}/3", headers=(("B", "2"),)),
        ]
        for job in jobs:
            for client in (straight, hooked):
                await (await client.open(job)).aclose()
                await (await client.open(job, headers=[("Range", "bytes=5-")])).aclose()
    sent = [sorted(seen.head.lower().split(b"\r\n")) for seen in server.seen]
    assert sent[0::4] == sent[2::4]
    assert sent[1::4] == sent[3::4]
    assert [seen.target for seen in server.seen[0::4]] == ["/one?x=1", "/two", "/3"]


@runs
async def test_a_cookie_that_a_server_sets_comes_back_to_it_alone(tmp_path: Path) -> None:
    setting = answer(200, b"body", headers=("Set-Cookie: session=7",))
    shared = Network(env=False, save_cookies=tmp_path / "jar")
    async with (
        serving(lambda _: setting) as server,
        serving(lambda _: answer()) as other,
        opened(shared) as client,
    ):
        for url in (server.url, other.url.replace("127.0.0.1", "localhost"), server.url):
            await (await client.open(Job(url))).aclose()
    assert [seen.get("cookie") for seen in server.seen] == [None, "session=7"]
    assert [seen.get("cookie") for seen in other.seen] == [None]


@runs
async def test_the_headers_of_one_attempt_replace_the_jobs() -> None:
    async with serving(lambda _: answer()) as server, opened() as client:
        job = Job(server.url, headers=(("Range", "bytes=0-"),))
        await (await client.open(job, headers=[("Range", "bytes=5-"), ("If-Range", '"tag"')])).aclose()
        assert (server.seen[0].get("range"), server.seen[0].get("if-range")) == ("bytes=5-", '"tag"')


@pytest.mark.parametrize(
    ("job", "body", "kind"),
    [
        (Job("http://{host}/", method="POST", content=b"\0raw"), b"\0raw", None),
        (
            Job("http://{host}/", method="PUT", json={"k": ["ü", 1]}),
            '{"k":["ü",1]}'.encode(),
            "application/json",
        ),
        (
            Job("http://{host}/", method="POST", form=(("a", "1 2"), ("b", "&"), ("a", "3"))),
            b"a=1+2&b=%26&a=3",
            "application/x-www-form-urlencoded",
        ),
        (
            Job("http://{host}/", method="POST", json=[], headers=(("content-type", "application/x+json"),)),
            b"[]",
            "application/x+json",
        ),
        (Job("http://{host}/", method="POST"), b"", None),
    ],
)
@runs
async def test_bodies(job: Job, body: bytes, kind: str | None) -> None:
    seen = await asked(job)
    assert (seen.method, seen.body, seen.get("content-type")) == (job.method, body, kind)
    assert seen.get("content-length") == str(len(body))


@pytest.mark.parametrize(
    "job",
    [
        Job("http://h/", headers=(("X", "a\r\nY: b"),)),
        Job("http://h/", headers=(("X", "a\nb"),)),
        Job("http://h/", headers=(("X", "a\0"),)),
        Job("http://h/", headers=(("X", "\N{SNOWMAN}"),)),
        Job("http://h/", headers=(("X Y", "a"),)),
        Job("http://h/", headers=(("", "a"),)),
        Job("http://h/", method="GET / HTTP/1.1\r\nX: y"),
        Job("http://h/", method=""),
        Job("http://h/", content=b"", json={}),
        Job("http://h/", json={}, form=(("a", "b"),)),
        Job("http://h/", json={1, 2}),
        Job("http://h/", json=float("nan")),
    ],
    ids=repr,
)
def test_what_cannot_be_sent_is_refused_before_the_network_is_asked(job: Job) -> None:
    with pytest.raises(UsageError) as caught:
        HttpClient(Network(env=False), connections=1).check(job)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"headers": (("X", "s3cret\n"),)},
        {"cookies": (("a", "s3cret\n"),)},
        {"referer": "s3cret\r"},
        {"user_agent": "s3cret\0"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_sent_are_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        HttpClient(Network(env=False, **settings), connections=1)
    assert "s3cret" not in str(caught.value)
