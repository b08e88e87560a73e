"""Replies come back as they were sent, through our own client or the caller's."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from typing import Any

import httpx
import pytest

from fetchq._errors import NetworkError, StatusError, TimedOutError, UsageError
from fetchq._http import HttpClient
from fetchq._http.http11.transport import Transport
from fetchq._models import Job
from fetchq._settings import Network

from ..raw_server import Seen, Server, answer, serving
from .edge import body_of, mocked, opened, runs

# --- the caller's own client


@runs
async def test_a_callers_client_is_used_as_it_is_and_stays_open() -> None:
    requests: list[httpx.Request] = []
    order: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, content=b"mocked")

    async def hook(_: object) -> None:
        order.append("hook")

    theirs = mocked(
        handle,
        headers={"X-Client": "1", "User-Agent": "theirs"},
        cookies={"session": "s"},
        auth=("me", "pw"),
        timeout=7,
        follow_redirects=True,
        base_url="http://h.example/api",
        event_hooks={"request": [hook], "response": [hook]},
    )
    async with opened(Network(env=False, read_timeout=99), client=theirs) as client:
        assert await body_of(await client.open(Job("a?k=%2f"))) == b"mocked"
        await (await client.open(Job("http://other.example/b", timeout=3))).aclose()
        theirs.headers["X-Client"] = "2"
        await (await client.open(Job("http://h.example/c"))).aclose()
    assert not theirs.is_closed
    first, second, third = requests
    assert third.headers["x-client"] == "2"
    assert str(first.url) == "http://h.example/api/a?k=%2f"
    told = {name: first.headers.get(name) for name in ("x-client", "user-agent", "cookie", "authorization")}
    assert told == {
        "x-client": "1",
        "user-agent": "theirs",
        "cookie": "session=s",
        "authorization": "Basic bWU6cHc=",
    }
    assert first.headers["accept-encoding"] == "identity"
    assert first.extensions["timeout"] == dict.fromkeys(("connect", "read", "write", "pool"), 7)
    assert second.extensions["timeout"] == dict.fromkeys(("connect", "read", "write", "pool"), 3)
    assert order == ["hook"] * 6
    await theirs.aclose()
    with pytest.raises(UsageError, match="closed"):
        await client.open(Job("http://h.example/"))


@runs
async def test_the_settings_user_goes_before_the_callers_clients_auth() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=request.headers["authorization"])

    async with (
        mocked(handle, auth=("theirs", "x")) as theirs,
        opened(Network(env=False, user=("me", "pw")), client=theirs) as client,
    ):
        assert await body_of(await client.open(Job("http://h.example/"))) == b"Basic bWU6cHc="


@runs
async def test_timeouts_and_the_buffer_reach_either_way_to_the_server() -> None:
    requests: list[httpx.Request] = []
    sent: list[dict[str, Any]] = []
    send = Transport.handle_async_request

    async def hook(request: httpx.Request) -> None:
        requests.append(request)

    async def noting(self: Transport, request: httpx.Request) -> httpx.Response:
        sent.append(request.extensions)
        return await send(self, request)

    network = Network(env=False, connect_timeout=1, read_timeout=2, write_timeout=3, pool_timeout=None)
    told = {"connect": 1, "read": 2, "write": 3, "pool": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transport, "handle_async_request", noting)
        async with (
            serving(lambda _: answer(204)) as server,
            opened(network) as bare,
            opened(network, event_hooks={"request": [hook]}) as hooked,
        ):
            for client in (bare, hooked):
                await (await client.open(Job(server.url), buffer=65536)).aclose()
                await (await client.open(Job(server.url, timeout=9))).aclose()
    assert [(each["timeout"], each.get("fetchq", {}).get("buffer")) for each in sent] == [
        (told, 65536),
        (dict.fromkeys(told, 9), None),
    ] * 2
    assert requests[0].extensions["timeout"] == told
    assert requests[0].extensions["fetchq"]["buffer"] == 65536
    assert set(requests[1].extensions["timeout"].values()) == {9}


# --- hooks


@runs
async def test_hooks_see_requests_and_responses() -> None:
    happened: list[str] = []

    class Hook:
        async def __call__(self, response: httpx.Response) -> None:
            happened.append(f"{response.status_code}")

    async def sign(request: httpx.Request) -> None:
        request.headers["X-Signed"] = "yes"

    async with serving(lambda _: answer()) as server:
        async with opened(event_hooks={"request": [sign], "response": [Hook()]}) as client:
            await (await client.open(Job(server.url))).aclose()
        assert (server.seen[0].get("x-signed"), happened) == ("yes", ["200"])


@runs
async def test_a_hook_that_reads_the_body_or_raises_for_its_status_is_survived() -> None:
    async def read(response: httpx.Response) -> None:
        await response.aread()
        response.raise_for_status()

    def respond(seen: Seen) -> bytes:
        return answer(503 if seen.target == "/busy" else 200, b"body")

    async with serving(respond) as server, opened(event_hooks={"response": [read]}) as client:
        assert await body_of(await client.open(Job(server.url))) == b"body"
        with pytest.raises(StatusError) as caught:
            await client.open(Job(server.url + "/busy"))
        assert (caught.value.status, caught.value.transient) == (503, True)


def test_what_is_no_hook_client_or_auth_is_refused() -> None:
    def plain(_: object) -> None: ...

    async def fine(_: object) -> None: ...

    sync_client: Any = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200)))
    pair: Any = ("me", "pw")
    for options, words in (
        ({"event_hooks": {"request": [plain]}}, "request hook plain must be an async def"),
        ({"event_hooks": {"respnse": [fine]}}, "'respnse' is no event hook"),
        ({"event_hooks": {"request": [fine]}, "client": httpx.AsyncClient(mounts={})}, "your own httpx client"),
        ({"client": sync_client}, "AsyncClient"),
        ({"auth": pair}, "httpx.Auth"),
    ):
        with pytest.raises(UsageError, match=words):
            HttpClient(Network(env=False), connections=1, **options)


# --- replies


@runs
async def test_a_reply_tells_status_headers_url_and_version() -> None:
    respond = functools.partial(answer, 404, b"gone", headers=('ETag: "x"', "X-A: 1", "x-a: 2"))
    async with serving(lambda _: respond()) as server, opened() as client:
        reply = await client.open(Job(f"http://me:pw@{server.host}/a?k=v"))
        assert (reply.status, reply.hops, reply.version) == (404, 0, "HTTP/1.1")
        assert (reply.headers["etag"], reply.headers["x-a"]) == ('"x"', "1, 2")
        assert reply.url == server.url + "/a?k=v"
        assert await body_of(reply) == b"gone"


@runs
async def test_the_content_coding_is_left_alone() -> None:
    respond = functools.partial(answer, 200, b"\x1f\x8bnot gzip", headers=("Content-Encoding: gzip",))
    async with serving(lambda _: respond()) as server, opened() as client:
        assert await body_of(await client.open(Job(server.url))) == b"\x1f\x8bnot gzip"


@runs
async def test_connections_are_kept() -> None:
    async with serving(lambda _: answer(200, b"x" * 1000)) as server, opened() as client:
        for _ in range(3):
            await body_of(await client.open(Job(server.url)))
        assert server.connections == 1


async def all_closed(server: Server) -> None:
    async with asyncio.timeout(5):
        while server.is_open:
            server.closed.clear()
            await server.closed.wait()


CUT = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b"x" * 100


def unfinished(_: Seen) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 100


@runs
async def test_a_reply_closed_early_takes_its_connection_along() -> None:
    async with serving(unfinished) as server, opened() as client:
        reply = await client.open(Job(server.url))
        await reply.aclose()
        await reply.aclose()
        await all_closed(server)


@runs
async def test_a_read_that_is_cancelled_leaves_no_connection() -> None:
    async with serving(unfinished) as server, opened() as client:
        reply = await client.open(Job(server.url))
        begun = asyncio.Event()

        async def read_on() -> None:
            try:
                async for _ in reply.chunks():
                    begun.set()
            finally:
                await reply.aclose()

        read = asyncio.create_task(read_on())
        await begun.wait()
        assert server.is_open
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        await all_closed(server)


@runs
async def test_an_open_that_is_cancelled_leaves_no_connection() -> None:
    asked = asyncio.Event()

    def respond(_: Seen) -> bytes:
        asked.set()
        return b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: "

    async with serving(respond) as server, opened() as client:
        job = asyncio.create_task(client.open(Job(server.url)))
        await asked.wait()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        await all_closed(server)


@runs
async def test_a_body_that_stalls_is_timed_out() -> None:
    async with serving(unfinished) as server, opened() as client:
        reply = await client.open(Job(server.url, timeout=0.1))
        with pytest.raises(TimedOutError):
            await body_of(reply)
        await all_closed(server)


@runs
async def test_a_body_that_is_cut_off_is_a_network_error() -> None:
    async with serving(lambda _: CUT) as server, opened() as client:
        reply = await client.open(Job(server.url))
        with pytest.raises(NetworkError, match="closed the connection") as caught:
            await body_of(reply)
        assert caught.value.transient


def test_importing_the_edge_loads_neither_httpcore_nor_certificates() -> None:
    code = "import sys, fetchq._http; print(*{'httpcore', 'anyio', 'certifi', 'h2'}.intersection(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert out.stdout == "\n"
