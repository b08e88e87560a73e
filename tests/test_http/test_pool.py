"""Which connection a request gets: kept, new or waited for; and what closing and cancelling leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import ssl
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fetchq._http.http11 import connect as _connect
from fetchq._http.http11.connect import dial
from fetchq._http.http11.connection import Connection
from fetchq._http.http11.idle import Endpoint, IdleConnections

from ..conftest import run
from .sites import (
    BODY,
    OK,
    ClockedLoop,
    Handler,
    answering,
    client,
    ours,
    request_of,
    reset,
    served,
    site,
    sized,
    step,
    until,
)


def dying(*, first: bytes) -> tuple[Handler, list[bytes]]:
    """A handler that answers a connection's first request and closes when it has read the second."""
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request_of(reader))
        writer.write(first)
        seen.append(await request_of(reader))

    return handler, seen


@pytest.mark.parametrize(("method", "times"), [("GET", 3), ("PUT", 3), ("POST", 2)])
def test_a_stale_connection_is_replaced_once(method: str, times: int, trusting: ssl.SSLContext) -> None:
    handler, seen = dying(first=sized(b"hello"))

    async def work() -> None:
        async with served(handler, trusting) as (server, http, _):
            await http.get(server.url)
            if times == 3:
                assert (await http.request(method, server.url, content=b"abc")).content == b"hello"
            else:
                with pytest.raises(httpx.RemoteProtocolError, match="without sending an answer"):
                    await http.request(method, server.url, content=b"abc")
            assert len(seen) == times
            assert server.connections == times - 1

    run(work())


# Over loopback a second write meets the reset that answers the first, and asyncio's TLS tells too late of it.
@pytest.mark.parametrize(("secure", "length"), [(False, 0), (False, 3), (False, 3 << 20), (True, 0)])
def test_a_connection_that_closes_while_it_is_taken_is_replaced_for_any_method(
    secure: bool,
    length: int,
    trusting: ssl.SSLContext,
    serving: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closing: list[socket.socket] = []
    is_usable = Connection.is_usable

    def closed_right_after(connection: Connection) -> bool:
        usable = is_usable(connection)
        closing.pop().close()
        return usable

    def shown(listener: socket.socket) -> None:
        """Answer each connection's first request; the first connection is then closed by the client's look."""
        for turn in range(2):
            sock, _ = listener.accept()
            sock.settimeout(10)
            if secure:
                sock = serving.wrap_socket(sock, server_side=True, suppress_ragged_eofs=True)
            with sock if turn else contextlib.nullcontext():
                got = b""
                while b"\r\n\r\n" not in got:
                    got += sock.recv(65536)
                head, _, body = got.partition(b"\r\n\r\n")
                missing = length - len(body) if head.startswith(b"POST") else 0
                while missing > 0:
                    missing -= len(sock.recv(65536))
                closing.append(sock)
                sock.sendall(sized(head.split()[0]))

    monkeypatch.setattr(Connection, "is_usable", closed_right_after)

    async def work(listener: socket.socket) -> None:
        url = f"{'https' if secure else 'http'}://localhost:{listener.getsockname()[1]}/"
        async with client(ours(trusting)) as http:
            assert (await http.get(url)).content == b"GET"
            assert (await http.post(url, content=b"x" * length)).content == b"POST"

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=shown, args=(listener,))
        thread.start()
        try:
            run(work(listener))
        finally:
            thread.join()


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 2", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
def test_what_is_no_http_on_a_reused_connection_is_asked_once_more(
    said: bytes, trusting: ssl.SSLContext
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(sized(b"hello"))
        await request_of(reader)
        writer.write(said)

    async def work() -> None:
        async with served(handler, trusting) as (server, http, _):
            await http.get(server.url)
            assert (await http.get(server.url)).content == b"hello"
            with pytest.raises(httpx.RemoteProtocolError):
                await http.post(server.url)
            assert server.connections == 2

    run(work())


def test_a_fresh_connection_is_not_replaced(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with served(answering(b"HTTP/1.1 2"), trusting) as (server, http, _):
            with pytest.raises(httpx.RemoteProtocolError, match="before the head's end"):
                await http.get(server.url)
            assert server.connections == 1
        async with served(answering(b""), trusting) as (server, http, _):
            with pytest.raises(httpx.RemoteProtocolError, match="without sending an answer"):
                await http.get(server.url)
            assert server.connections == 1

    run(work())


@pytest.mark.parametrize("answer", [sized(b"hello") + b"!", sized(b"") + sized(b""), sized(BODY) + b"!"])
def test_a_connection_with_bytes_nobody_asked_for_is_closed(answer: bytes, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with served(answering(answer, answer), trusting) as (server, http, _):
            first = (await http.get(server.url)).content
            assert (await http.get(server.url)).content == first
            assert server.connections == 2

    run(work())


def test_idle_connections_notice_the_end_at_once(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with served(answering(sized(b"a"), sized(b"b")), trusting) as (server, http, transport):
            await http.get(server.url)
            assert len(transport._pool._idle) == 1
            await http.get(server.url)
            await until(lambda: not len(transport._pool._idle))  # the handler has ended and closed
            assert not transport._pool._idle._by_endpoint

    run(work())


def test_an_end_the_loop_has_not_seen_yet_is_noticed_before_use(trusting: ssl.SSLContext) -> None:
    closed = threading.Event()

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            with listener.accept()[0] as sock:
                sock.recv(65536)
                sock.sendall(sized(b"hello"))
            closed.set()

    async def work(url: str) -> None:
        async with client(ours(trusting)) as http:
            for _ in range(2):
                # A POST is never sent twice, so it would fail on the connection that is closed.
                assert (await http.post(url, content=b"abc")).content == b"hello"
                closed.wait()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,), daemon=True)
        server.start()
        run(work(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        server.join()


def test_idle_connections_are_few_and_do_not_grow_old(trusting: ssl.SSLContext) -> None:
    gate = asyncio.Barrier(4)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        await gate.wait()
        writer.write(sized(b"hello"))
        await reader.read()

    async def work() -> None:
        async with served(
            handler, trusting, limits={"max_keepalive_connections": 2, "keepalive_expiry": 0.02}
        ) as (server, http, transport):
            await asyncio.gather(*(http.get(server.url) for _ in range(4)))
            assert len(transport._pool._idle) <= 2
            await until(lambda: not transport._pool._open)
            assert not len(transport._pool._idle)

    run(work())


@pytest.mark.parametrize("tls", [False, True])
def test_cancelling_at_any_moment_leaks_nothing(
    tls: bool, trusting: ssl.SSLContext, serving: ssl.SSLContext
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request_of(reader)
            writer.write(sized(BODY[:300_000]))
            await writer.drain()

    async def fetch(http: httpx.AsyncClient, url: str) -> bytes:
        return (await http.get(url)).content

    async def work() -> None:
        transport = ours(trusting, max_keepalive_connections=2)
        async with site(handler, serving if tls else None) as server, client(transport) as http:
            finished = 0
            for turns in range(60):
                task = asyncio.create_task(fetch(http, server.url))
                await step(task, turns)
                task.cancel()
                done = (await asyncio.gather(task, return_exceptions=True))[0]
                finished += done == BODY[:300_000]
                await until(lambda: len(transport._pool._open) == len(transport._pool._idle))
            assert finished < 60
            assert await fetch(http, server.url) == BODY[:300_000]
        assert not transport._pool._open
        gc.collect()  # an open socket would be a ResourceWarning, which is an error here

    run(work())


def test_a_body_whose_reader_is_cancelled_closes_its_connection(trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK + b"Content-Length: 5\r\n\r\n")
        await reader.read()

    async def work() -> None:
        async with served(handler, trusting) as (server, _, transport):
            response = await transport.handle_async_request(httpx.Request("GET", server.url))
            task = asyncio.create_task(response.aread())
            await step(task, 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: not transport._pool._open)

    run(work())


def test_closing_the_transport_ends_what_is_under_way(trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        await reader.read()

    async def work() -> None:
        async with served(handler, trusting) as (server, http, transport):
            task = asyncio.create_task(http.get(server.url))
            await until(lambda: bool(transport._pool._open) and server.connections == 1)
            await transport.aclose()
            with pytest.raises(httpx.ReadError, match="closed"):
                await task

    run(work())


class Parked:
    """As much of a connection as its idle time concerns."""

    def __init__(self) -> None:
        self.closed = False
        self.when_unusable: object = None

    def is_usable(self) -> bool:
        return not self.closed

    def abort(self) -> None:
        self.closed = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ClockedLoop:
    loop = ClockedLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    return loop


HERE = Endpoint("http", "a.example", 80, "a.example")


def test_an_idle_connection_expires_in_its_own_time(clock: ClockedLoop) -> None:
    idle = IdleConnections(limit=10, expiry=10)
    parked: list[Any] = [Parked(), Parked(), Parked()]
    for at, connection in zip((0, 4, 8), parked, strict=True):
        clock.run_until(at)
        idle.put(HERE, connection)
    for at, closed in ((9, 0), (11, 1), (13, 1), (15, 2), (17, 2), (19, 3)):
        clock.run_until(at)
        assert [connection.closed for connection in parked] == [True] * closed + [False] * (3 - closed)
    assert not idle._by_endpoint


def test_the_connection_used_last_is_taken_first(clock: ClockedLoop) -> None:
    idle = IdleConnections(limit=10, expiry=10)
    parked: list[Any] = [Parked(), Parked(), Parked()]
    for connection in parked:
        idle.put(HERE, connection)
    parked[2].closed = True
    assert [idle.take(HERE), idle.take(HERE), idle.take(HERE)] == [parked[1], parked[0], None]


def holding() -> tuple[Handler, asyncio.Event, list[bytes]]:
    """A handler that answers no request before the event, and the targets that it was asked for."""
    go_on = asyncio.Event()
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked.append((await request_of(reader)).split(b" ")[1])
            await go_on.wait()
            writer.write(sized(b"hello"))

    return handler, go_on, asked


def test_waiting_requests_are_served_in_order(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        handler, go_on, asked = holding()
        async with served(handler, trusting, limits={"max_connections": 1}) as (server, http, transport):
            tasks = [asyncio.create_task(http.get(f"{server.url}{number}")) for number in range(10)]
            await until(lambda: len(transport._pool._waiting) == 9)
            go_on.set()
            await asyncio.gather(*tasks)
            assert asked == [b"/%d" % number for number in range(10)]
            assert server.connections == 1

    run(work())


def test_a_waiting_request_to_another_server_gets_its_turn(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        handler, go_on, asked = holding()
        async with (
            served(handler, trusting, limits={"max_connections": 1}) as (first, http, transport),
            site(handler) as second,
        ):
            urls = [f"{first.url}a", f"{second.url}b", f"{first.url}c", f"{first.url}d"]
            tasks = [asyncio.create_task(http.get(url)) for url in urls]
            await until(lambda: len(transport._pool._waiting) == 3)
            go_on.set()
            await asyncio.gather(*tasks)
            assert asked == [b"/a", b"/b", b"/c", b"/d"]
            assert (first.connections, second.connections) == (2, 1)

    run(work())


def test_an_idle_connection_makes_room_for_another_server(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        handler = answering(sized(b"a"), sized(b"a"))
        async with (
            served(handler, trusting, limits={"max_connections": 1}, pool=5.0) as (first, http, transport),
            site(handler) as second,
        ):
            for url in (first.url, second.url, second.url):
                assert (await http.get(url)).content == b"a"
            assert (first.connections, second.connections) == (1, 1)
            assert transport._pool._slots == len(transport._pool._open) == 1

    run(work())


def test_a_slot_whose_connection_failed_serves_the_next(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            refusing = f"http://127.0.0.1:{unused.getsockname()[1]}/"
            transport = ours(trusting, max_connections=1)
            async with client(transport, pool=5.0) as http, site(answering(sized(b"a"))) as server:
                urls = [refusing, refusing, server.url]
                results = await asyncio.gather(*map(http.get, urls), return_exceptions=True)
        assert [type(result) for result in results] == [httpx.ConnectError, httpx.ConnectError, httpx.Response]
        assert not transport._pool._slots

    run(work())


@pytest.mark.parametrize("turns", range(6))
def test_a_cancelled_wait_passes_its_turn_on(turns: int, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        handler, go_on, _ = holding()
        async with served(handler, trusting, limits={"max_connections": 1}) as (server, http, transport):
            tasks = [asyncio.create_task(http.get(server.url)) for _ in range(3)]
            await until(lambda: len(transport._pool._waiting) == 2)
            go_on.set()
            await step(tasks[0], 1000)  # its connection is the second's now, which has not run yet
            await step(tasks[1], turns)
            tasks[1].cancel()
            await asyncio.gather(tasks[1], return_exceptions=True)
            assert (await tasks[2]).content == b"hello"
            assert transport._pool._slots == len(transport._pool._open)

    run(work())


async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer in all ways: small and large, sized and chunked, at once and late, to the end and not."""
    dice = random.Random(writer.get_extra_info("peername")[1])
    while True:
        await request_of(reader)
        for _ in range(dice.randrange(20)):
            await asyncio.sleep(0)
        kind = dice.randrange(6)
        if kind == 0:
            return
        body = BODY[:300_000] if kind == 1 else b"hello"
        if kind == 2:
            writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            await writer.drain()
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(sized(body, b"Connection: close\r\n" if kind == 3 else b""))
        await writer.drain()


@pytest.mark.parametrize("seed", range(8))
def test_cancelled_at_random_no_slot_and_no_socket_is_lost(
    seed: int, trusting: ssl.SSLContext, serving: ssl.SSLContext
) -> None:
    dice = random.Random(seed)

    async def one(http: httpx.AsyncClient, url: str) -> bytes:
        method = dice.choice(["GET", "GET", "POST"])
        async with http.stream(method, url, content=b"abc" if method == "POST" else None) as response:
            if dice.random() < 0.2:
                return b""
            return await response.aread()

    async def cancelled_some_time(http: httpx.AsyncClient, url: str) -> None:
        task = asyncio.create_task(one(http, url))
        await step(task, dice.randrange(80))
        if dice.random() < 0.6:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, httpx.TransportError):
            assert await task in (b"", b"hello", BODY[:300_000])

    async def work() -> None:
        transport = ours(trusting, max_connections=3)
        pool = transport._pool
        async with site(odd) as plain, site(odd, serving) as secure, client(transport, pool=None) as http:
            for _ in range(6):
                urls = dice.choices([plain.url, secure.url], k=12)
                await asyncio.gather(*(cancelled_some_time(http, url) for url in urls))
                assert pool._slots <= 3
                assert not pool._waiting
                await until(lambda: pool._slots == len(pool._open) == len(pool._idle))
        assert not transport._pool._slots
        gc.collect()  # an open socket would be a ResourceWarning, which is an error here

    run(work())


def test_a_closed_transport_is_closed(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with site(answering(sized(b"a"))) as server:
            async with ours(trusting) as transport:
                await transport.handle_async_request(httpx.Request("GET", server.url))
            await transport.aclose()
            with pytest.raises(RuntimeError, match="closed"):
                await transport.handle_async_request(httpx.Request("GET", server.url))

    run(work())


def test_closing_ends_requests_that_have_no_connection_yet(
    trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialing, go_on = asyncio.Event(), asyncio.Event()
    dials: list[str] = []

    async def slow_dial(host: str, port: int) -> socket.socket:
        dials.append(host)
        dialing.set()
        await go_on.wait()
        return await dial(host, port)

    monkeypatch.setattr(_connect, "dial", slow_dial)

    async def work() -> None:
        transport = ours(trusting, max_connections=1)
        async with site(answering(sized(b"a"))) as server, client(transport) as http:
            tasks = [asyncio.create_task(http.get(server.url)) for _ in range(2)]
            await dialing.wait()
            await transport.aclose()
            go_on.set()
            for task in tasks:
                with pytest.raises(httpx.ConnectError, match="closed"):
                    await task
            await until(lambda: not transport._pool._slots)
            assert len(dials) == 1
        gc.collect()  # an open socket would be a ResourceWarning, which is an error here

    run(work())


def test_another_event_loop_is_refused(trusting: ssl.SSLContext) -> None:
    transport = ours(trusting)

    async def use(url: str) -> None:
        await transport.handle_async_request(httpx.Request("GET", url))

    async def work() -> None:
        async with site(answering(sized(b"a"))) as server:
            await use(server.url)
            for call in (use(server.url), transport.aclose()):
                with pytest.raises(RuntimeError, match="one per loop"):
                    await asyncio.to_thread(run, call)
            await transport.aclose()

    run(work())


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_of(reader)
    reset(writer)


ENDS = {
    "kept and closed": answering(sized(b"hello")),
    "closed by the server": answering(OK + b"\r\nhello"),
    "large": answering(sized(BODY)),
    "broken": answering(OK + b"Content-Length: 99\r\n\r\nhello"),
    "no HTTP": answering(b"SSH-2.0\r\n\r\n"),
    "nothing": answering(b""),
    "reset": resetting,
}


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_a_closed_connection_is_freed_without_the_collector(
    end: str,
    tls: bool,
    trusting: ssl.SSLContext,
    serving: ssl.SSLContext,
    made: list[weakref.ref[Connection]],
) -> None:
    async def work() -> None:
        async with site(ENDS[end], serving if tls else None) as server:
            transport = ours(trusting)
            with contextlib.suppress(httpx.TransportError):
                response = await transport.handle_async_request(httpx.Request("GET", server.url))
                await response.aread()
            await transport.aclose()
            await until(lambda: made[0]() is None)

    with no_collector():
        run(work())
    assert len(made) == 1
