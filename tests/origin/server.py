"""The origin itself: a raw TCP server in a thread of its own that sends answers byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from .answer import Answer, Behaviour, Pace, Request
from .connection import together, well
from .resource import Resource, literal, pieces

# A request larger than this is no request of ours.
MAX_HEAD = 64 * 1024
MAX_BODY = 1 << 20
# No test waits this long for anything: what still hangs then is closed, so that nothing outlives its test.
PATIENCE = 120.0


@dataclass
class Route:
    """A path's resource and what is still to happen to its requests."""

    resource: Resource
    script: list[Behaviour]
    repeat: bool
    turns: int = 0

    def next(self) -> Behaviour:
        self.turns += 1
        if not self.script:
            return well
        return self.script[0] if self.repeat and len(self.script) == 1 else self.script.pop(0)


class Origin:
    """A server that misbehaves on request, and remembers what it was asked.

    ``with Origin() as origin:`` listens on a free port of 127.0.0.1; ``tls`` is a server's SSLContext.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.peak = 0
        self._active = 0
        self._tls = tls
        self._routes: dict[str, Route] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="origin", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(
            self._welcome, "127.0.0.1", 0, ssl=self._tls, limit=MAX_HEAD, backlog=512
        )
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(PATIENCE)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def serve(
        self,
        path: str,
        resource: Resource | bytes,
        *script: Behaviour | tuple[Behaviour, ...],
        repeat: bool = False,
    ) -> str:
        """Offer *resource* under *path* and give its URL.

        Each request takes the next behaviour of the script, a tuple being several at once; then all is well.
        With ``repeat`` the last one stays.
        """
        steps = [together(*step) if isinstance(step, tuple) else step for step in script]
        offered = literal(resource) if isinstance(resource, bytes) else resource
        self._routes[path] = Route(offered, steps, repeat)
        return self.url(path)

    def url(self, path: str, *, user: str = "", host: str = "127.0.0.1") -> str:
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{user}{'@' if user else ''}{host}:{self.port}{path}"

    def asked(self, path: str) -> list[Request]:
        """The requests for *path*, in order."""
        return [request for request in self.requests if request.path == path]

    def ranges(self, path: str) -> list[str | None]:
        """The Range header of each request for *path*."""
        return [request.range for request in self.asked(path)]

    @property
    def sent(self) -> int:
        """Body bytes written, over all requests."""
        return sum(request.sent for request in self.requests)

    def settle(self, seconds: float = 5.0) -> None:
        """Wait until no request is being answered any more, so that ``closed_early`` and ``sent`` are final."""
        deadline = time.monotonic() + seconds
        while not all(request.finished for request in list(self.requests)):
            if time.monotonic() > deadline:
                raise AssertionError("the origin is still answering")
            time.sleep(0.005)

    # From here on: the origin's own thread.

    async def _end(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        # A small buffer, so that ``sent`` stays near what the peer really took.
        writer.transport.set_write_buffer_limits(high=64 * 1024)
        try:
            await self._converse(reader, writer, self.connections)
            writer.close()
            async with asyncio.timeout(PATIENCE):
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the peer's business; what mattered is in the request's record
        except asyncio.CancelledError:
            pass  # the origin is being closed, and asyncio would log it as an error
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        while True:
            request = await self._read(reader, connection)
            if request is None:
                return
            self._active += 1
            self.peak = max(self.peak, self._active)
            request.active = self._active
            self.requests.append(request)
            try:
                answer = self._answer(request)
                await Wire(reader, writer, answer).send()
            finally:
                self._active -= 1
                request.finished = True
            if answer.close or answer.raw is not None or request.headers.get("connection") == "close":
                return

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Request | None:
        try:
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, TimeoutError):
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, _, rest = first.partition(" ")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        number = len(self.requests) + 1
        target = rest.rpartition(" ")[0]
        request = Request(number, connection, self._loop.time(), 0, method, target, headers)
        length = int(headers.get("content-length", "0"))
        request.body = await reader.readexactly(min(length, MAX_BODY))
        return request

    def _answer(self, request: Request) -> Answer:
        route = self._routes.get(request.path)
        if route is None:
            answer = Answer(request, literal(b""), 0)
            answer.say(404, b"nothing here")
        else:
            behaviour = route.next()
            answer = Answer(request, route.resource, route.turns)
            answer.well()
            behaviour(answer)
            route.resource = answer.resource
        request.status = answer.status if answer.raw is None else 0
        return answer


class Wire:
    """Sends one answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._request = answer.request

    async def send(self) -> None:
        try:
            await self._send()
        except ConnectionError:
            self._request.closed_early = True
            raise

    async def _send(self) -> None:
        answer = self._answer
        await asyncio.sleep(answer.wait)
        if answer.raw is not None:
            for chunk in answer.raw:
                await self._write(chunk)
            return await self._cut()
        for chunk in answer.prologue:
            await self._write(chunk)
        async for chunk in _paced(answer.head(), answer.head_pace):
            await self._write(chunk)
        if self._request.method == "HEAD" or answer.status in {204, 304}:
            return None
        async for chunk in self._body():
            await self._write(self._framed(chunk))
            self._request.sent += len(chunk)
        if answer.cut is not None and answer.cut.after <= self._request.sent:
            return await self._cut()
        if answer.chunk:
            await self._write(answer.ending)
        return None

    async def _body(self) -> AsyncIterator[bytes]:
        answer = self._answer
        stop = answer.stop
        if answer.cut is not None:
            stop = min(stop, answer.start + answer.cut.after)
        pace = answer.body_pace
        size = pace.size if pace else answer.chunk or 64 * 1024
        for chunk in pieces(answer.content, answer.start, stop, size):
            yield chunk
            if pace:
                await asyncio.sleep(pace.every)

    def _framed(self, chunk: bytes) -> bytes:
        if not self._answer.chunk or not chunk:
            return chunk
        return b"%x%s\r\n%s\r\n" % (len(chunk), self._answer.extension, chunk)

    async def _write(self, chunk: bytes) -> None:
        self._writer.write(chunk)
        await self._writer.drain()

    async def _cut(self) -> None:
        """End the connection before its time, in the way that was asked for."""
        cut, self._answer.close = self._answer.cut, True
        if cut is None or cut.how == "close":
            return
        if cut.how == "reset":
            sock = self._writer.get_extra_info("socket")
            await self._acknowledged(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._reader.read()
        self._request.closed_early = True

    async def _acknowledged(self, sock: socket.socket) -> None:
        """Wait until the peer's kernel has all that was written: a reset throws the rest away."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if sock.fileno() < 0:
                raise ConnectionResetError("the peer has gone")
            unsent = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
            if not unsent and not self._writer.transport.get_write_buffer_size():
                return
            await asyncio.sleep(0.005)


async def _paced(data: bytes, pace: Pace | None) -> AsyncIterator[bytes]:
    if pace is None:
        yield data
        return
    for at in range(0, len(data), pace.size):
        yield data[at : at + pace.size]
        await asyncio.sleep(pace.every)


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port on which connecting neither succeeds nor fails: a firewall that drops packets.

    Linux answers no SYN while the accept queue is full; a queue of none takes one connection.
    """
    with socket.socket() as listener, contextlib.ExitStack() as fillers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = int(listener.getsockname()[1])
        for _ in range(3):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port
