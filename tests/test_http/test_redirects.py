"""Redirects are followed as RFC 9110 says, and secrets stay with the origin that they were given for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetchq._errors import FetchError, NetworkError, ProtocolError
from fetchq._http import HttpClient
from fetchq._models import Job
from fetchq._settings import Network

from ..raw_server import Seen, Server, answer, redirect, serving
from .edge import body_of, mocked, opened, runs


@asynccontextmanager
async def two(first: Callable[[Seen, str], bytes]) -> AsyncIterator[tuple[Server, Server]]:
    """Two origins: the first is told the second's URL, the second sends ``/back...`` to the first."""

    def respond_second(seen: Seen) -> bytes:
        if seen.target.startswith("/back"):
            return redirect(f"{home.url}/returned", 302, "Set-Cookie: foreign=1")
        return answer(200, b"there")

    async with serving(respond_second) as away, serving(lambda seen: first(seen, away.url)) as home:
        yield home, away


@pytest.mark.parametrize(
    ("method", "status", "following"),
    [
        ("GET", 301, "GET"),
        ("POST", 301, "GET"),
        ("PUT", 301, "PUT"),
        ("POST", 302, "GET"),
        ("PUT", 302, "PUT"),
        ("HEAD", 302, "HEAD"),
        ("POST", 303, "GET"),
        ("PUT", 303, "GET"),
        ("HEAD", 303, "HEAD"),
        ("POST", 307, "POST"),
        ("POST", 308, "POST"),
        ("GET", 308, "GET"),
    ],
)
@runs
async def test_the_method_and_body_that_follow(method: str, status: int, following: str) -> None:
    async with (
        serving(lambda seen: redirect("/to", status) if seen.target == "/" else answer()) as server,
        opened() as client,
    ):
        job = Job(server.url, method=method, json=[1], headers=(("Range", "bytes=0-"),))
        reply = await client.open(job)
        await reply.aclose()
    second = server.seen[1]
    assert (second.method, second.target, reply.hops) == (following, "/to", 1)
    kept = following == method and status != 303
    assert second.body == (b"[1]" if kept else b"")
    assert second.get("content-type") == ("application/json" if kept else None)
    assert second.get("range") == "bytes=0-"


@pytest.mark.parametrize("settings", [{}, {"user": ("me", "pw")}])
@runs
async def test_names_that_resolvers_take_are_asked(settings: dict[str, Any]) -> None:
    async with (
        serving(lambda _: answer(200, b"there")) as proxy,
        opened(Network(proxy=proxy.url, **settings)) as client,
        serving(lambda _: redirect("http://i\u2764_.test/".encode().decode("latin-1"))) as home,
        opened(Network(env=False, **settings)) as direct,
    ):
        assert await body_of(await client.open(Job("http://i\u2764_.test/a"))) == b"there"
        with pytest.raises(NetworkError, match="Cannot find xn--i_-"):
            await direct.open(Job(home.url))
    assert proxy.seen[0].target == "http://xn--i_-ony.test/a"


@runs
async def test_the_zone_of_an_address_is_for_the_resolver_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    names: list[Any] = []
    resolve = socket.getaddrinfo

    def resolving(name: Any, *rest: Any, **options: Any) -> Any:
        names.append(name)
        return resolve(name, *rest, **options)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer(200, b"there"))
        writer.close()

    async with await asyncio.start_server(serve, "::1") as server, opened() as client:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(socket, "getaddrinfo", resolving)
        assert await body_of(await client.open(Job(f"http://[::1%251]:{port}/x"))) == b"there"
    assert f"\r\nHost: [::1]:{port}\r\n".encode() in seen[0]
    assert names == [b"::1%1"]


@runs
async def test_what_described_the_body_goes_with_it() -> None:
    async with two(lambda seen, away: redirect("/b" if seen.target == "/a" else f"{away}/x", 303)) as (
        home,
        away,
    ):
        headers = (("Content-Type", "text/x"), ("Content-Length", "4"), ("Accept", "*/*"))
        async with opened() as client:
            job = Job(f"{home.url}/a", method="POST", content=b"body", headers=headers)
            await (await client.open(job)).aclose()
    assert home.seen[0].body == b"body"
    for seen in (home.seen[1], away.seen[0]):
        assert (seen.method, seen.get("content-type"), seen.get("content-length")) == ("GET", None, None)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/a%2fb//c?sig=%7E+%2F", "/a%2fb//c?sig=%7E+%2F"),
        ("/empty?", "/empty?"),
        ("sub", "/dir/sub"),
        ("../up", "/up"),
        ("?q=1", "/dir/file?q=1"),
        ("//{host}/net?x", "/net?x"),
        ("http://{host}/abs#part", "/abs"),
        ("  /spaces  ", "/spaces"),
        ("/sp ace", "/sp%20ace"),
        ("/\xc3\xbc", "/%C3%BC"),
        # A raw byte that is no UTF-8 is asked for as that byte.
        ("/caf\xe9?\xe9=\xfc", "/caf%E9?%E9=%FC"),
        ("x//y", "/dir/x//y"),
        ("..", "/"),
        ("/web/2020/http://ex.org/f", "/web/2020/http://ex.org/f"),
        ("?", "/dir/file?"),
        ("#part", "/dir/file?old=1"),
    ],
)
@runs
async def test_where_a_redirect_leads(location: str, target: str) -> None:
    def respond(seen: Seen) -> bytes:
        return redirect(location.replace("{host}", server.host)) if len(server.seen) == 1 else answer()

    async with serving(respond) as server, opened() as client:
        reply = await client.open(Job(server.url + "/dir/file?old=1#old"))
        await reply.aclose()
        assert server.seen[1].target == target
        assert reply.url == server.url + target


@pytest.mark.parametrize(
    "location",
    [
        "",
        "ftp://h/x",
        "javascript:alert(1)",
        "http://",
        "http:/x",
        "http:///127.0.0.1/x",
        "http://h:99999/",
        "file:///etc",
        "http://\xfc/",
    ],
)
@runs
async def test_a_redirect_to_nowhere_is_a_protocol_error(location: str) -> None:
    async with serving(lambda _: redirect(location)) as server, opened() as client:
        with pytest.raises(ProtocolError, match="redirects") as caught:
            await client.open(Job(server.url))
        assert not caught.value.transient
        assert server.host in str(caught.value)


@runs
async def test_the_server_that_answered_is_named_with_the_hop_that_led_there() -> None:
    def first(seen: Seen, away: str) -> bytes:
        return redirect(away.replace("127.0.0.1", "localhost") + seen.target)

    async with two(first) as (home, away), opened() as client:
        reply = await client.open(Job(home.url + "/x"))
        await reply.aclose()
        assert reply.host == f"localhost:{away.port} (to which {home.host} redirects)"
        reply = await client.open(Job(away.url))
        await reply.aclose()
        assert reply.host == away.host
    async with opened() as client, serving(lambda _: redirect("http://localhost:1/")) as home:
        with pytest.raises(NetworkError) as caught:
            await client.open(Job(home.url))
    assert f"Cannot connect to localhost:1 (to which {home.host} redirects): it refuses" in str(caught.value)


@runs
async def test_a_redirect_without_location_is_a_protocol_error() -> None:
    async with serving(lambda _: answer(302)) as server, opened() as client:
        with pytest.raises(ProtocolError, match="without saying where"):
            await client.open(Job(server.url))


@pytest.mark.parametrize("settings", [{}, {"user": ("me", "pw")}])
@runs
async def test_two_places_at_once_are_refused_and_one_said_twice_is_one(settings: dict[str, Any]) -> None:
    def respond(seen: Seen) -> bytes:
        if seen.target == "/twice":
            return answer(302, headers=("Location: /a,b", "location: /a,b"))
        return answer(302, headers=("Location: /a", "Location: /b")) if seen.target == "/" else answer()

    async with serving(respond) as server, opened(Network(env=False, **settings)) as client:
        await (await client.open(Job(server.url + "/twice"))).aclose()
        with pytest.raises(ProtocolError, match="2 different places"):
            await client.open(Job(server.url))
    assert [seen.target for seen in server.seen] == ["/twice", "/a,b", "/"]


@pytest.mark.parametrize("status", [300, 304, 305])
@runs
async def test_other_statuses_of_the_300s_are_replies(status: int) -> None:
    async with serving(lambda _: answer(status, headers=("Location: /x",))) as server, opened() as client:
        reply = await client.open(Job(server.url))
        await reply.aclose()
        assert (reply.status, len(server.seen)) == (status, 1)


@runs
async def test_a_loop_ends_at_the_bound() -> None:
    async with (
        serving(lambda _: redirect("/again")) as server,
        opened(Network(env=False, max_redirects=3)) as client,
    ):
        with pytest.raises(ProtocolError, match="more than 3 times") as caught:
            await client.open(Job(server.url))
        assert not caught.value.transient
        assert (len(server.seen), server.connections) == (4, 1)


@runs
async def test_a_long_body_of_a_redirect_is_not_read() -> None:
    def respond(seen: Seen) -> bytes:
        if seen.target == "/":
            return answer(302, b"x" * 4_000_000, headers=("Location: /to",))
        return answer(200, b"there")

    async with serving(respond) as server, opened() as client:
        assert await body_of(await client.open(Job(server.url))) == b"there"
        assert [seen.connection for seen in server.seen] == [1, 2]


# --- secrets

SECRETS = ("authorization", "cookie", "referer", "x-api-key", "x-job", "private-token")
NETWORK: dict[str, Any] = {
    "env": False,
    "user": ("me", "pw"),
    "headers": (("X-Api-Key", "s3cret"), ("Accept", "text/x")),
    "referer": "http://s3cret/",
    "cookies": (("session", "s3cret"),),
    "user_agent": "mine/1",
}


def told(seen: Seen) -> set[str]:
    return {name for name in SECRETS if seen.get(name) is not None}


@runs
async def test_secrets_stay_at_home_and_are_told_again_on_return() -> None:
    def first(seen: Seen, away: str) -> bytes:
        return {"/": redirect("/local"), "/local": redirect(f"{away}/back")}.get(
            seen.target, answer(200, b"home")
        )

    job_headers = (
        ("X-Job", "s3cret"),
        ("Private-Token", "s3cret"),
        ("Cookie", "mine=s3cret"),
        ("Accept-Language", "de"),
    )
    async with two(first) as (home, away), opened(Network(**NETWORK)) as client:
        job = Job(home.url, headers=job_headers)
        reply = await client.open(job, headers=[("Range", "bytes=1-"), ("If-Range", '"e"')])
        assert (await body_of(reply), reply.hops) == (b"home", 3)
    assert [told(seen) for seen in home.seen] == [set(SECRETS)] * 3
    assert told(away.seen[0]) == set()
    assert b"s3cret" not in away.seen[0].head
    for name, value in {
        "range": "bytes=1-",
        "if-range": '"e"',
        "user-agent": "mine/1",
        "accept-encoding": "identity",
        "accept": "text/x",
        "accept-language": "de",
    }.items():
        assert away.seen[0].get(name) == value
    assert "session=s3cret" in str(home.seen[2].get("cookie"))


@pytest.mark.parametrize(
    "settings",
    [{"user": None, "bearer": "s3cret"}, {"user": None}, {}],
)
@runs
async def test_no_kind_of_credentials_follows_a_redirect(settings: dict[str, Any]) -> None:
    async with two(lambda _, away: redirect(f"{away}/x")) as (home, away):
        auth = httpx.BasicAuth("caller", "s3cret")
        async with opened(Network(**{**NETWORK, **settings}), auth=auth) as client:
            for url in (home.url, f"http://url:s3cret@{home.host}/"):
                await (await client.open(Job(url))).aclose()
    assert all(seen.get("authorization") for seen in home.seen)
    assert [told(seen) for seen in away.seen] == [set(), set()]


@runs
async def test_a_user_in_the_location_is_used_by_the_origin_that_wrote_it() -> None:
    steps = {"/": "http://me:pw@{host}/in", "/in": "on", "/on": "http://{host}/out"}

    def respond(seen: Seen) -> bytes:
        to = steps.get(seen.target)
        return answer() if to is None else redirect(to.format(host=seen.get("host")))

    async with serving(respond) as server, opened() as client:
        await (await client.open(Job(server.url))).aclose()
    basic = "Basic bWU6cHc="
    assert [seen.get("authorization") for seen in server.seen] == [None, basic, basic, basic]


@runs
async def test_a_user_in_the_location_is_not_adopted() -> None:
    async with (
        two(lambda _, away: redirect(away.replace("//", "//evil:pw@") + "/x")) as (home, away),
        opened() as client,
    ):
        await (await client.open(Job(home.url))).aclose()
    assert told(away.seen[0]) == set()


@runs
async def test_a_mirror_elsewhere_is_told_no_secret_even_when_it_redirects_home() -> None:
    async with two(lambda _, __: answer(200, b"home")) as (home, away), opened(Network(**NETWORK)) as client:
        job = Job(
            f"{home.url}/x", mirrors=(f"{away.url}/x", f"{away.url}/back"), headers=(("X-Job", "s3cret"),)
        )
        assert await body_of(await client.open(job, url=job.mirrors[0])) == b"there"
        assert await body_of(await client.open(job, url=job.mirrors[1])) == b"home"
    assert [told(seen) for seen in away.seen] == [set(), set()]
    assert "x-job" in told(home.seen[0])


@runs
async def test_a_mirrors_own_user_is_told_to_the_mirror_only() -> None:
    async with two(lambda _, __: answer(200, b"home")) as (home, away), opened() as client:
        mirror = away.url.replace("//", "//me:s3cret@") + "/back"
        await (await client.open(Job(f"{home.url}/x", mirrors=(mirror,)), url=mirror)).aclose()
    assert told(away.seen[0]) == {"authorization"}
    assert home.seen[0].get("authorization") is None


@runs
async def test_a_foreign_origin_that_sets_a_cookie_is_told_that_one_alone() -> None:
    def away(seen: Seen) -> bytes:
        return redirect("/b", 302, "Set-Cookie: theirs=1") if seen.target == "/a" else answer()

    network = Network(env=False, cookies=(("session", "hunter2"),))
    async with serving(away) as there, serving(lambda seen: redirect(f"{there.url}/a", 302)) as home:
        job = Job(home.url, cookies=(("own", "hunter3"),))
        async with opened(network) as client:
            await (await client.open(job)).aclose()
    assert [seen.get("cookie") for seen in home.seen] == ["session=hunter2; own=hunter3"]
    assert [seen.get("cookie") for seen in there.seen] == [None, "theirs=1"]


@runs
async def test_what_was_given_for_a_new_link_stays_with_it_and_does_not_leave_tls() -> None:
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        to = {"/a": "http://plain.example/b", "/c": "https://other.example/d"}.get(request.url.path)
        return httpx.Response(302, headers={"Location": to}) if to else httpx.Response(200)

    job, given = Job("https://home.example/"), [("X-Key", "hunter2")]
    async with mocked(handle) as theirs, opened(client=theirs) as client:
        with pytest.raises(ProtocolError, match="over http"):
            await client.open(job, url="https://link.example/a", given=given)
        await (await client.open(job, url="https://link.example/c", given=given)).aclose()
    assert [(request.url.host, request.headers.get("x-key")) for request in requests] == [
        ("link.example", "hunter2"),
        ("link.example", "hunter2"),
        ("other.example", None),
    ]


@runs
async def test_a_redirect_to_another_scheme_or_name_of_one_machine_is_another_origin() -> None:
    requests: list[httpx.Request] = []
    steps = iter(
        ["https://h.example/1", "http://h.example:8080/2", "http://H.EXAMPLE:80/3", "http://www.h.example/4"]
    )

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        step = next(steps, None)
        return httpx.Response(302, headers={"Location": step}) if step else httpx.Response(200)

    async with mocked(handle) as theirs, opened(Network(**NETWORK), client=theirs) as client:
        await (await client.open(Job("http://h.example/0"))).aclose()
    assert ["x-api-key" in request.headers for request in requests] == [True, False, False, True, False]


@runs
async def test_a_callers_clients_own_secrets_stay_at_home_too() -> None:
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if request.url.host == "h.example":
            return httpx.Response(302, headers={"Location": "http://cdn.example/", "Set-Cookie": "mine=1"})
        return httpx.Response(200)

    options: dict[str, Any] = {"headers": {"X-Api-Key": "k"}, "auth": ("me", "pw"), "cookies": {"session": "s"}}
    async with mocked(handle, **options) as theirs, opened(client=theirs) as client:
        await (await client.open(Job("http://h.example/"))).aclose()
    assert [{"x-api-key", "authorization", "cookie"} & set(request.headers) for request in requests] == [
        {"x-api-key", "authorization", "cookie"},
        set(),
    ]


# --- whatever a server writes


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=60))
@example("http://[::1")
@example("//[x]/")
@example("http://xn--a/")
@example("http://\xad/")
@example("//")
@example("http:///x")
@example("http://h:٣/")
def test_no_location_is_more_than_a_fetch_error(location: str) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/start":
            return httpx.Response(302, headers=[(b"Location", location.encode())])
        return httpx.Response(200)

    async def follow() -> None:
        async with mocked(handle) as theirs:
            client = HttpClient(Network(env=False), connections=1, client=theirs)
            try:
                reply = await client.open(Job("http://h.example/start"))
            except FetchError:
                return
            assert reply.url.startswith(("http://", "https://"))
            await reply.aclose()

    asyncio.run(follow())


@runs
async def test_a_head_remembered_for_a_host_is_not_sent_to_it_as_a_stranger() -> None:
    network = Network(env=False, headers=(("X-Key", "s3cret"),))
    async with (
        serving(lambda _: answer()) as other,
        serving(lambda _: redirect(f"{other.url}/there")) as server,
        opened(network) as client,
    ):
        for url in (other.url, server.url, other.url):
            await (await client.open(Job(f"{url}/x"))).aclose()
    assert [seen.get("x-key") for seen in other.seen] == ["s3cret", None, "s3cret"]
