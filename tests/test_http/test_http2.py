"""HTTP/2 from real servers: splits, ends of connections and flow control."""

from __future__ import annotations

import os
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anyio
import httpx
import psutil
import pytest

import fetchq
from fetchq._http.http2 import Http2Transport
from fetchq._http.http11.connection import HeadLimits

from .. import servers
from ..conftest import run

BIG = os.urandom(24 << 20)
Start = Callable[..., AbstractContextManager[servers.Server]]


def nginx(root: Path, authority: Path, extra: str = "") -> AbstractContextManager[servers.Server]:
    return servers.nginx(root, authority, http2=True, extra=extra)


REAL = [
    pytest.param(nginx, id="nginx", marks=pytest.mark.server("nginx")),
    pytest.param(servers.caddy, id="caddy", marks=pytest.mark.server("caddy")),
    pytest.param(servers.hypercorn, id="hypercorn", marks=pytest.mark.server("hypercorn")),
]


def settings(authority: Path, **queue: Any) -> fetchq.Settings:
    return fetchq.Settings(
        # A timeout that passed would show as a failed attempt: shorter than a test may take, and longer than a
        # server written in Python stands still on a busy machine.
        network=fetchq.Network(http2=True, cacert=authority / "ca.pem", env=False, read_timeout=30),
        retry=fetchq.Retry(backoff=0.05),
        queue=fetchq.Queue(**queue),
    )


def fetch(
    urls: list[str], folder: Path, chosen: fetchq.Settings
) -> tuple[list[fetchq.Result], list[fetchq.Event]]:
    events: list[fetchq.Event] = []

    async def work() -> list[fetchq.Result]:
        async with fetchq.Downloader(chosen, dir=folder, observers=[events.append]) as downloader:
            return [result async for result in downloader.run(urls)]

    return run(work()), events


def failures(events: list[fetchq.Event]) -> list[str]:
    return [str(event.error) for event in events if isinstance(event, fetchq.AttemptFailed)]


@pytest.mark.parametrize("start", REAL)
def test_a_large_file_is_one_stream_and_waits_for_nothing(
    start: Start, www: Path, authority: Path, tmp_path: Path
) -> None:
    (www / "big").write_bytes(BIG)
    with start(www, authority) as server:
        url = server.url("big", tls=True)
        _, events = fetch([url], tmp_path / "d", settings(authority, connections=8))
        asked = [(entry.protocol[:6], entry.status) for entry in server.entries()]
    assert (tmp_path / "d/big").read_bytes() == BIG
    assert failures(events) == []
    assert asked == [("HTTP/2", 200)]


@pytest.mark.parametrize("start", REAL)
def test_many_files_come_over_one_connection(start: Start, www: Path, authority: Path, tmp_path: Path) -> None:
    # More than nginx answers on one connection, so that it sends GOAWAY in between; the others send none.
    names = [f"f{number}" for number in range(1100 if start is nginx else 200)]
    for name in names:
        (www / name).write_bytes(name.encode() * 100)
    with start(www, authority) as server:
        urls = [server.url(name, tls=True) for name in names]
        results, events = fetch(urls, tmp_path / "d", settings(authority, jobs=16))
        protocols = Counter(entry.protocol[:6] for entry in server.entries())
    assert all(result.ok for result in results)
    assert failures(events) == []
    assert set(protocols) == {"HTTP/2"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()} == {
        name: name.encode() * 100 for name in names
    }


@pytest.mark.server("nginx")
def test_a_killed_server_that_comes_back_resumes(www: Path, authority: Path, tmp_path: Path) -> None:
    (www / "big").write_bytes(BIG)
    chosen = settings(authority)
    with nginx(www, authority, "limit_rate 8m;") as server:
        url = server.url("big", tls=True)
        workers = [process for process in psutil.process_iter() if killable(process, server.tls_port)]

        def kill(event: fetchq.Event) -> None:
            if isinstance(event, fetchq.Progressed) and event.have > 4 << 20:
                while workers:
                    os.kill(workers.pop().pid, signal.SIGKILL)

        result = fetchq.download(url, dir=tmp_path / "d", settings=chosen, observers=[kill])
    assert workers == []
    assert result.path is not None
    assert result.path.read_bytes() == BIG
    assert result.attempts > 1


def killable(process: psutil.Process, port: int) -> bool:
    """Whether it is the nginx worker that serves *port*; its master starts another."""
    try:
        listens = any(each.laddr.port == port for each in process.net_connections("tcp"))
        return listens and process.name() == "nginx" and not process.children()
    except psutil.Error:
        return False


@pytest.mark.parametrize("start", REAL)
def test_bodies_that_are_given_up_do_not_stop_the_connection(start: Start, www: Path, authority: Path) -> None:
    """httpcore never returns the window of a body that is closed early: its connection stands still."""
    (www / "big").write_bytes(BIG)
    with start(www, authority) as server:
        url = server.url("big", tls=True)

        async def work() -> int:
            async with client(authority) as http:
                for _ in range(40):
                    async with http.stream("GET", url) as response:
                        await anext(response.aiter_bytes())
                return len((await http.get(url)).content)

        assert run(work()) == len(BIG)


@pytest.mark.parametrize("start", REAL)
def test_a_body_that_is_not_read_does_not_hold_up_the_others(start: Start, www: Path, authority: Path) -> None:
    (www / "big").write_bytes(BIG)
    with start(www, authority) as server:
        url = server.url("big", tls=True)

        async def work() -> None:
            async with client(authority) as http, http.stream("GET", url) as unread:
                assert len((await http.get(url)).content) == len(BIG)
                assert b"".join([chunk async for chunk in unread.aiter_bytes()]) == BIG

        run(work())


def test_a_server_without_http2_is_asked_over_http11(www: Path, authority: Path, tmp_path: Path) -> None:
    (www / "small").write_bytes(b"x" * 5000)
    with servers.nginx(www, authority) as server:
        urls = [server.url("small", tls=True)] * 3
        results, _ = fetch(urls, tmp_path / "d", settings(authority))
        protocols = {entry.protocol for entry in server.entries() if entry.status == 200}
    assert [result.ok for result in results] == [True] * 3
    assert protocols == {"HTTP/1.1"}


@pytest.mark.server("caddy")
def test_a_request_body_is_sent(www: Path, authority: Path, tmp_path: Path) -> None:
    echo = {"handler": "static_response", "body": "{http.request.body}"}
    body = os.urandom(300_000).hex().encode()
    with servers.caddy(www, authority, handlers=[echo]) as server:

        async def work() -> tuple[str, bytes]:
            async with client(authority) as http:
                response = await http.post(server.url("x", tls=True), content=body)
                return response.http_version, response.content

        assert run(work()) == ("HTTP/2", body)


def client(authority: Path) -> httpx.AsyncClient:
    context = ssl.create_default_context(cafile=str(authority / "ca.pem"))
    http11 = fetchq.Transport(verify=context)
    limits = HeadLimits(64 * 1024, 200)
    return httpx.AsyncClient(
        transport=Http2Transport(context, http11, expiry=5, limits=limits), timeout=10, trust_env=False
    )


@pytest.mark.parametrize("error", [anyio.EndOfStream, anyio.BrokenResourceError])
def test_what_httpcore_lets_pass_is_a_network_error(error: type[Exception], tmp_path: Path) -> None:
    """Seen with a client of the caller's and HTTP/2, when the server was killed in the middle of a body."""

    class Breaking(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"x" * 1000
            raise error

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Length": "2000"}, stream=Breaking())

    async def work() -> fetchq.Result:
        once = fetchq.Settings(retry=fetchq.Retry(retries=1))
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client,
            fetchq.Downloader(once, dir=tmp_path, client=client) as downloader,
        ):
            return await anext(downloader.run(["http://host/a"]))

    result = run(work())
    assert str(result.error) == f"The exchange with host failed: {error.__name__}."
    assert isinstance(result.error, fetchq.NetworkError)
