"""Proxies: which URLs take one, and that real ones are spoken to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pproxy  # type: ignore[import-untyped]  # it has no types
import pytest
import trustme

from fetchq._errors import AuthenticationError, FetchError, NetworkError, UsageError
from fetchq._http import HttpClient
from fetchq._http import proxies as _proxies
from fetchq._http.transport import RoutingTransport
from fetchq._models import Job
from fetchq._settings import Network

from ..raw_server import answer, serving
from .edge import body_of, opened, runs

ENV = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENV:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("no_proxy", "bypassed", "proxied"),
    [
        ("", [], ["h:80"]),
        ("*", ["h:80", "::1:443"], []),
        (
            "example.com",
            ["example.com:80", "a.b.example.com:443"],
            ["notexample.com:80", "example.com.evil:80"],
        ),
        (".example.com", ["example.com:80", "a.example.com:80"], ["xexample.com:80"]),
        ("*.example.com", ["a.example.com:80"], ["example.org:80"]),
        ("Example.COM:8080", ["example.com:8080"], ["example.com:80"]),
        ("a, b\tc", ["a:80", "b:80", "c:80"], ["d:80"]),
        ("10.0.0.0/8", ["10.1.2.3:80"], ["11.0.0.1:80", "ten.example:80"]),
        ("10.1.2.3/8", ["10.9.9.9:80"], []),
        ("127.0.0.1", ["127.0.0.1:5000"], ["127.0.0.2:80"]),
        ("127.0.0.1:81", ["127.0.0.1:81"], ["127.0.0.1:82"]),
        ("[::1]", ["::1:80"], ["::2:80"]),
        ("::1", ["::1:80"], ["::2:80"]),
        ("[::1]:81", ["::1:81"], ["::1:82"]),
        ("fd00::/8", ["fd12::1:80"], ["fe80::1:80"]),
        ("[fd00::]/8", ["fd12::1:80"], ["fe80::1:80"]),
        ("http://a", ["a:80"], ["b:80"]),
        (
            "a.example , b.example.",
            ["a.example:80", "a.example.:80", "b.example:80", "x.b.example.:80"],
            ["c:80"],
        ),
        ('"a, b"', ["a:80", "b:80"], ["c:80"]),
        (" 127.0.0.1 ", ["127.0.0.1:80"], ["127.0.0.2:80"]),
        ("[, ], :, :80, ., ..., [x, a:b:c, 1.2.3.4/99, ://, ,,", [], ["a:80", "1.2.3.4:80", "::1:80"]),
    ],
)
def test_no_proxy(no_proxy: str, bypassed: list[str], proxied: list[str]) -> None:
    proxies = _proxies.of({"all": "http://p:1", "no": no_proxy})

    def goes_straight(where: str) -> bool:
        host, _, port = where.rpartition(":")
        return proxies.choose(("http", host, int(port))) is None

    assert [where for where in bypassed if not goes_straight(where)] == []
    assert [where for where in proxied if goes_straight(where)] == []


def test_the_scheme_chooses_and_all_stands_in() -> None:
    proxies = _proxies.of({"http": "p:1", "all": "socks5://q:2", "ftp": "http://r:3"})
    assert proxies.choose(("http", "h", 80)) == "http://p:1"
    assert proxies.choose(("https", "h", 443)) == "socks5://q:2"
    assert not _proxies.of({"no": "h"})


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("p:1", "http://p:1"),
        (" http://p:1 ", "http://p:1"),
        ('"http://p:1"', "http://p:1"),
        ("'p:1' ", "http://p:1"),
        ("socks://p:1", "socks5://p:1"),
        ("SOCKS://p:1/", "socks5://p:1/"),
        ("socks5h://p:1", "socks5h://p:1"),
    ],
)
def test_how_proxies_are_written(value: str, url: str) -> None:
    assert _proxies.of({"all": value}).choose(("http", "h", 80)) == url
    assert _proxies.explicit(value).choose(("http", "h", 80)) == url
    assert not _proxies.of({"all": " '' "})


@pytest.mark.parametrize(
    ("variables", "source"),
    [
        ({"all_proxy": "ftp://me:s3cret@p"}, "all_proxy"),
        ({"HTTP_PROXY": "http://p:x"}, "http_proxy"),
        ({"http_proxy": "http://", "https_proxy": "http://"}, "http_proxy and https_proxy"),
    ],
)
@runs
async def test_a_value_that_is_no_proxy_is_named_by_its_variable(
    variables: dict[str, str], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with opened(Network()) as client:
        with pytest.raises(UsageError, match=f"in {source} ") as caught:
            await client.open(Job("http://h.example/"))
    assert "s3cret" not in str(caught.value)


@asynccontextmanager
async def proxy(spec: str) -> AsyncIterator[tuple[int, list[str]]]:
    """Run a real proxy; its log says what went through it."""
    log: list[str] = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    handler = await pproxy.Server(spec.format(port=port)).start_server(
        {"rserver": [pproxy.Connection("direct://")], "verbose": log.append}
    )
    try:
        yield port, log
    finally:
        handler.close()
        await handler.wait_closed()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@runs
async def test_everything_goes_through_the_proxy_that_was_given(scheme: str) -> None:
    async with (
        serving(lambda _: answer(200, b"through")) as server,
        proxy("http+socks5://127.0.0.1:{port}") as (port, log),
    ):
        network = Network(proxy=f"{scheme}://127.0.0.1:{port}", env=False)
        async with opened(network) as client:
            for _ in range(2):
                assert await body_of(await client.open(Job(server.url + "/a%2fb?x=%7E"))) == b"through"
    assert server.seen[0].target == "/a%2fb?x=%7E"
    assert log


@runs
async def test_the_environments_proxy_is_used_unless_the_host_is_exempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(lambda _: answer(200, b"ok")) as server, proxy("http://127.0.0.1:{port}") as (port, log):
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{port}")
        for network, no_proxy, used in (
            (Network(), "", True),
            (Network(), "[::1],127.0.0.0/8,fd00::/8", False),
            (Network(env=False), "", False),
        ):
            monkeypatch.setenv("NO_PROXY", no_proxy)
            log.clear()
            async with opened(network) as client:
                assert await body_of(await client.open(Job(server.url))) == b"ok"
            assert bool(log) is used


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@runs
async def test_a_proxys_password(scheme: str) -> None:
    async with (
        serving(lambda _: answer(200, b"ok")) as server,
        proxy("http+socks5://127.0.0.1:{port}#me:s3cret") as (port, _),
    ):
        async with opened(Network(proxy=f"{scheme}://me:s3cret@127.0.0.1:{port}", env=False)) as client:
            assert await body_of(await client.open(Job(server.url))) == b"ok"
        assert b"s3cret" not in server.seen[0].head
        assert server.seen[0].get("proxy-authorization") is None


@pytest.mark.parametrize("url", ["http://h.example/", "https://h.example/"])
@pytest.mark.parametrize(
    ("login", "fields", "words"),
    [
        ("", ('Proxy-Authenticate: Basic realm="p"',), "wants a user and password: give them as --proxy"),
        ("", (), "wants a user and password: give them as --proxy"),
        ("", ("Proxy-Authenticate: Negotiate", "Proxy-Authenticate: NTLM"), "wants Negotiate, which"),
        ("me:s3cret@", ('Proxy-Authenticate: Basic realm="p"',), "refused these credentials"),
    ],
)
@runs
async def test_a_proxy_that_wants_other_credentials(
    url: str, login: str, fields: tuple[str, ...], words: str
) -> None:
    async with serving(lambda _: answer(407, headers=fields)) as refusing:
        network = Network(proxy=refusing.url.replace("//", f"//{login}"), env=False)
        async with opened(network) as client:
            with pytest.raises(AuthenticationError) as caught:
                await client.open(Job(url))
    assert (caught.value.status, caught.value.exit_code) == (407, 6)
    assert str(caught.value).startswith(f"The proxy {refusing.host} {words}")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("login", "words"), [("me:s3cret@", "refused these credentials"), ("", "wants a user")]
)
@runs
async def test_a_tunnel_refused_with_401_is_a_matter_of_the_proxys_password(login: str, words: str) -> None:
    fields = ('WWW-Authenticate: Basic realm="Tinyproxy"',)
    async with serving(lambda _: answer(401, headers=fields)) as refusing:
        network = Network(proxy=refusing.url.replace("//", f"//{login}"), env=False)
        async with opened(network) as client:
            with pytest.raises(AuthenticationError, match=f"The proxy {refusing.host} {words}") as caught:
                await client.open(Job("https://h.example/"))
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("status", "transient", "words"),
    [
        (403, False, "refuses h.example (403)."),
        (404, False, "refuses h.example (404)."),
        (429, True, "could not reach h.example: 429 x."),
        (503, True, "could not reach h.example: 503 x."),
    ],
)
@runs
async def test_a_proxy_that_opens_no_tunnel(status: int, transient: bool, words: str) -> None:
    async with (
        serving(lambda _: answer(status)) as refusing,
        opened(Network(proxy=refusing.url, env=False)) as client,
    ):
        with pytest.raises(NetworkError) as caught:
            await client.open(Job("https://h.example/"))
    assert (caught.value.transient, caught.value.exit_code) == (transient, 4)
    assert str(caught.value) == f"The proxy {refusing.host} {words}"


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("http://[2001:db8::1]/x?q", "http://[2001:db8::1]/x?q", "[2001:db8::1]"),
        ("http://[2001:db8::1]:81/", "http://[2001:db8::1]:81/", "[2001:db8::1]:81"),
        ("https://[2001:db8::1]/x", "[2001:db8::1]:443", "[2001:db8::1]:443"),
        ("https://[2001:db8::1]:444/", "[2001:db8::1]:444", "[2001:db8::1]:444"),
    ],
)
@runs
async def test_an_ipv6_address_keeps_its_brackets(url: str, target: str, host: str) -> None:
    async with (
        serving(lambda _: answer(403)) as proxying,
        opened(Network(proxy=proxying.url, env=False)) as client,
    ):
        with contextlib.suppress(NetworkError):
            await (await client.open(Job(url))).aclose()
    assert (proxying.seen[0].target, proxying.seen[0].get("host")) == (target, host)


@runs
async def test_tls_through_a_tunnel_to_an_ipv6_address(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("::1").configure_cert(made)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(200, b"through"))
        await reader.read()
        await ended(writer)

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"CONNECT [::1]:%d " % port)
        far_reader, far_writer = await asyncio.open_connection("::1", port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(relay(reader, far_writer), relay(far_reader, writer))
        finished.set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        await ended(writer)

    async def ended(writer: asyncio.StreamWriter) -> None:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    finished = asyncio.Event()

    async with await asyncio.start_server(serve, "::1", ssl=made) as server:
        port = server.sockets[0].getsockname()[1]
        async with await asyncio.start_server(tunnel, "127.0.0.1") as proxying:
            where = proxying.sockets[0].getsockname()[1]
            network = Network(proxy=f"http://127.0.0.1:{where}", env=False, cacert=tmp_path / "ca.pem")
            async with opened(network) as client:
                assert await body_of(await client.open(Job(f"https://[::1]:{port}/"))) == b"through"
            await finished.wait()


@runs
async def test_a_proxy_that_may_have_answered_itself_is_named() -> None:
    async with serving(lambda _: answer(403)) as proxying:
        network = Network(proxy=proxying.url.replace("//", "//me:s3cret@"), env=False)
        async with opened(network) as client:
            reply = await client.open(Job("http://h.example:81/"))
            await reply.aclose()
    assert reply.host == f"h.example:81 through the proxy {proxying.host}"


@pytest.mark.parametrize(
    ("proxy", "url", "named"),
    [
        ("p", "http://h/", "p:80"),
        ("https://p", "http://h/", "p:443"),
        # Through a tunnel the server itself answers.
        ("http://p", "https://h/", None),
        ("socks5://p", "http://h/", None),
    ],
)
def test_which_proxies_may_answer_themselves(proxy: str, url: str, named: str | None) -> None:
    transport = RoutingTransport(Network(proxy=proxy, env=False), connections=1)
    assert transport.forwarding_proxy(httpx.URL(url)) == named


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
@pytest.mark.parametrize("url", ["http://h.example/", "https://h.example/"])
@runs
async def test_a_proxy_that_is_away_is_named(scheme: str, url: str) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{bound.getsockname()[1]}"
        async with opened(Network(proxy=f"{scheme}://me:s3cret@{where}", env=False)) as client:
            with pytest.raises(NetworkError) as caught:
                await client.open(Job(url))
    assert f"Cannot connect to the proxy {where}: it refuses connections" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443), ("socks5", 1080)])
@runs
async def test_a_proxy_that_cannot_be_found_is_named(scheme: str, port: int) -> None:
    for given in ("", ":3128"):
        network = Network(proxy=f"{scheme}://me:s3cret@no-such.invalid{given}", env=False)
        async with opened(network) as client:
            with pytest.raises(NetworkError) as caught:
                await client.open(Job("http://h.example/"))
        assert f"Cannot find the proxy no-such.invalid{given or f':{port}'}:" in str(caught.value)
        assert "s3cret" not in str(caught.value)


@runs
async def test_a_server_that_speaks_no_tls_behind_a_proxy_is_not_taken_for_the_proxy() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer(400))
        writer.close()

    listener = await asyncio.start_server(plain, "127.0.0.1", 0)
    host = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener, proxy("http+socks5://127.0.0.1:{port}") as (port, _):
        for scheme in ("http", "socks5"):
            async with opened(Network(proxy=f"{scheme}://127.0.0.1:{port}", env=False)) as client:
                with pytest.raises(FetchError) as caught:
                    await client.open(Job(f"https://{host}/"))
            assert host in str(caught.value)
            assert "proxy" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["socks4://h:1", "ftp://me:s3cret@h", "http://", "http://me:s3cret@h:x", "http://[::1"]
)
def test_a_proxy_that_cannot_be_used_is_refused_at_once(url: str) -> None:
    with pytest.raises(UsageError, match="proxy") as caught:
        HttpClient(Network(proxy=url), connections=1)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "settings", "extra"),
    [
        ("socksio", {"proxy": "socks5://h:1"}, "fetchq[socks]"),
        ("h2", {"http2": True}, "fetchq[http2]"),
        ("truststore", {"ca_native": True}, "fetchq[native]"),
    ],
)
def test_a_missing_package_is_named(
    missing: str, settings: dict[str, Any], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(UsageError) as caught:
        HttpClient(Network(**settings), connections=1)
    assert extra in str(caught.value)


@runs
async def test_a_kept_connection_that_the_proxy_has_closed_is_replaced_once() -> None:
    def respond(seen: Any) -> bytes | None:
        return answer(200, b"ok") if len(server.seen) != 2 else None

    async with serving(respond) as server, opened(Network(proxy=server.url, env=False)) as client:
        for _ in range(2):
            assert await body_of(await client.open(Job("http://h.example/x"))) == b"ok"
        assert [seen.connection for seen in server.seen] == [1, 1, 2]


@runs
async def test_over_a_kept_connection_that_the_proxy_has_closed_nothing_is_posted_twice() -> None:
    def respond(seen: Any) -> bytes | None:
        return answer(200, b"ok") if len(server.seen) != 2 else None

    async with serving(respond) as server, opened(Network(proxy=server.url, env=False)) as client:
        await body_of(await client.open(Job("http://h.example/x")))
        with pytest.raises(NetworkError):
            await client.open(Job("http://h.example/x", method="POST", content=b"pay"))
        assert [seen.method for seen in server.seen] == ["GET", "POST"]


@runs
async def test_a_fresh_connection_that_closes_is_not_asked_twice() -> None:
    async with serving(lambda _: None) as server, opened(Network(proxy=server.url, env=False)) as client:
        with pytest.raises(NetworkError):
            await client.open(Job("http://h.example/x"))
        assert len(server.seen) == 1


def test_nothing_is_made_before_it_is_needed() -> None:
    transport = RoutingTransport(Network(env=False), connections=1)
    assert (transport._made, transport._contexts) == ({}, {})
    asyncio.run(transport.aclose())
