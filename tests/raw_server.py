"""A server that answers request heads with bytes, for tests that look at both byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Respond = Callable[["Seen"], bytes | None]


@dataclass(frozen=True)
class Seen:
    """A request as it came over the wire."""

    head: bytes
    body: bytes
    connection: int

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    def get(self, name: str) -> str | None:
        found = [
            line.partition(b":")[2].strip().decode("latin-1")
            for line in self.head.split(b"\r\n")[1:]
            if line.partition(b":")[0].strip().lower() == name.lower().encode()
        ]
        return ", ".join(found) if found else None


@dataclass
class Server:
    """Where it listens, what it was asked, and how many of its connections are open."""

    port: int
    scheme: str
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    is_open: set[int] = field(default_factory=set)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


def answer(
    status: int = 200, body: bytes = b"", *, headers: tuple[str, ...] = (), framed: bool = True
) -> bytes:
    """Write an answer; without a frame its body ends with the connection."""
    lines = [f"HTTP/1.1 {status} X", *headers]
    if framed:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def redirect(location: str, status: int = 302, *headers: str) -> bytes:
    return answer(status, headers=(f"Location: {location}", *headers))


@asynccontextmanager
async def serving(respond: Respond, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Answer every request with what *respond* says; None closes the connection, and so does a short answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        if handler is not None:
            handlers.add(handler)
            handler.add_done_callback(handlers.discard)
        server.connections += 1
        number = server.connections
        server.is_open.add(number)
        try:
            await converse(number, reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            server.is_open.discard(number)
            server.closed.set()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def converse(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            seen = Seen(head, b"", number)
            length = int(seen.get("content-length") or 0)
            seen = Seen(head, await reader.readexactly(length), number)
            server.seen.append(seen)
            data = respond(seen)
            if data is None:
                return
            writer.write(data)
            await writer.drain()
            if b"\r\nContent-Length:" not in data and b"\r\nTransfer-Encoding:" not in data:
                return

    handlers: set[asyncio.Task[None]] = set()
    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    server = Server(port, "https" if tls else "http")
    try:
        yield server
    finally:
        listener.close()
        await listener.wait_closed()
        # A socket that is still open when the loop ends would be a ResourceWarning in some later test.
        for handler in list(handlers):
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
