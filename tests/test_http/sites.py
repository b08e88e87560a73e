"""What the tests of the transport share: raw servers in the same loop, and clients over either transport."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import httpx
import pytest

from fetchq import Transport
from fetchq._http.http11.buffers import LARGE_BUFFER

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Make(Protocol):
    """Makes a transport; *limits* are httpx.Limits' fields."""

    def __call__(self, context: ssl.SSLContext, **limits: Any) -> httpx.AsyncBaseTransport: ...


MAX_HEAD = 16 * 1024
BODY = random.Random(4).randbytes(5 * LARGE_BUFFER + 12345)
OK = b"HTTP/1.1 200 OK\r\n"
# Makes ours hand on the buffers themselves; httpx's own transport ignores it.
VIEWS: dict[str, Any] = {"fetchq": {}}


def ours(context: ssl.SSLContext, **limits: Any) -> Transport:
    settings = {"max_connections": 100, "max_keepalive_connections": 10, "keepalive_expiry": 60.0, **limits}
    return Transport(verify=context, limits=httpx.Limits(**settings), max_head=MAX_HEAD, max_headers=50)


def stock(context: ssl.SSLContext, **limits: Any) -> httpx.AsyncHTTPTransport:
    settings = {"max_connections": 100, "max_keepalive_connections": 10, "keepalive_expiry": 60.0, **limits}
    return httpx.AsyncHTTPTransport(verify=context, limits=httpx.Limits(**settings))


both = pytest.mark.parametrize("make", [ours, stock])


class Site:
    """A raw server: ``handler`` has each connection to itself; ``connections`` counts them."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._handler(reader, writer)
                await writer.drain()
                if writer.can_write_eof():
                    writer.write_eof()
        finally:
            self.tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def site(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    started = Site(handler)
    server = await asyncio.start_server(started.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    started.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
    try:
        yield started
    finally:
        server.close()
        await started.stop()


def client(transport: httpx.AsyncBaseTransport, **timeouts: float | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport, timeout=httpx.Timeout(10.0, **timeouts), headers={"Accept-Encoding": "identity"}
    )


async def request_of(reader: asyncio.StreamReader) -> bytes:
    """One request, with its body if it has a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            head += await reader.readexactly(int(line.split(b":")[1]))
    return head


def answering(*answers: bytes, piece: int | None = None) -> Handler:
    """A handler that gives each request of a connection its answer, cut into pieces if asked, then closes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await request_of(reader)
            step = piece or len(answer) or 1
            for at in range(0, len(answer), step):
                writer.write(answer[at : at + step])
                await writer.drain()
                await asyncio.sleep(0)

    return handler


def sized(body: bytes, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(body), body)


def chunks_of(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another task or the peer brings about; the test's time limit is the bound."""
    while not condition():  # noqa: ASYNC110 -- the code under test has no event to wait for
        await asyncio.sleep(0.005)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with an RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def step(task: asyncio.Task[Any], turns: int) -> None:
    """Let the loop run, so that *task* gets so many turns at most."""
    for _ in range(turns):
        if task.done():
            return
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def served(
    handler: Handler, context: ssl.SSLContext, *, limits: dict[str, Any] | None = None, **timeouts: float | None
) -> AsyncIterator[tuple[Site, httpx.AsyncClient, Transport]]:
    transport = ours(context, **(limits or {}))
    async with site(handler) as server, client(transport, **timeouts) as http:
        yield server, http, transport
    assert not transport._pool._open
    assert not len(transport._pool._idle)


class ClockedLoop:
    """A loop's timers and clock, moved by hand; its timers fire up to *early* seconds before their time."""

    def __init__(self, early: float = 0.0) -> None:
        self.now = 0.0
        self._early = early
        self._timers: list[tuple[float, PlainHandle]] = []

    def call_at(self, when: float, callback: Callable[[], None]) -> PlainHandle:
        handle = PlainHandle(callback)
        self._timers.append((when, handle))
        return handle

    def time(self) -> float:
        return self.now

    @property
    def pending(self) -> bool:
        return any(handle.waits for _, handle in self._timers)

    def run_until(self, when: float) -> None:
        for _ in range(10):
            due = [each for each in self._timers if each[0] - self._early <= when]
            if not due:
                self.now = when
                return
            first = min(due, key=lambda each: each[0])
            self._timers.remove(first)
            self.now = max(self.now, first[0] - self._early)
            first[1].run()
        raise AssertionError("the timer is set again and again")


class PlainHandle:
    """What uvloop may return: a handle that does not know its time."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    @property
    def waits(self) -> bool:
        return self._callback is not None

    def cancel(self) -> None:
        self._callback = None

    def run(self) -> None:
        if self._callback is not None:
            self._callback()
