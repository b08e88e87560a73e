"""The fast path: httpx's semantics for plain and TLS HTTP/1.1, without a copy or a wake-up that is not needed.

A body goes from the socket into large buffers that are handed on as they are, one wake-up a buffer; a small
body is one copy. What makes it fast lives in ``_connection`` and ``_pool_buffers``; here are the parts httpx
sees. Nothing queues in here: callers bound themselves, so a cancelled request has no slot to leak.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self, cast

import httpx

from ._connection import Connection, Limits
from ._pool import IdlePool, Origin
from ._pool_buffers import BUFFER, Buffer, Buffers
from ._pool_dial import dial
from ._wire import Head, request_head

__all__ = ["FastTransport"]

# Smaller buffers would cost a wake-up every few packets.
_LEAST_BUFFER = 16 * 1024
_PORTS = {b"http": 80, b"https": 443}
# May be sent again without asking (RFC 9110 section 9.2.2).
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class FastTransport(httpx.AsyncBaseTransport):
    """Plain and TLS HTTP/1.1 for ``httpx.AsyncClient(transport=...)``, near the speed of the socket.

    Chunks are bytes or memoryviews of up to 1 MiB, valid for as long as anybody holds them;
    ``extensions={"fetchq": {"buffer": n}}`` of a request makes them smaller, down to 16 KiB. A chunk is
    handed on when its buffer is full, at the body's end, or 50 ms after its first byte. All heads of an
    answer must be in within twice the read timeout.

    :param ssl_context: for https; should offer no ALPN protocol but ``http/1.1``.
    :param max_head: most bytes of an answer's head, interim answers included.
    :param max_headers: most header fields of a head.
    :param keepalive: most idle connections to keep.
    :param keepalive_expiry: seconds after which an idle connection is closed.
    :raises httpx.TransportError: from requests and response streams, as httpx's own transport does; an
        ``ssl.SSLError`` is the ``__cause__`` of a ConnectError.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext,
        max_head: int,
        max_headers: int,
        keepalive: int,
        keepalive_expiry: float,
    ) -> None:
        self._ssl_context = ssl_context
        self._limits = Limits(max_head, max_headers)
        self._buffers = Buffers()
        self._idle = IdlePool(limit=keepalive, expiry=keepalive_expiry)
        self._open: set[Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request* and give its response once the head is in; the body streams."""
        origin = _origin(request)
        timeouts = request.extensions.get("timeout", {})
        connection = self._idle.take(origin)
        while True:
            reused = connection is not None
            if connection is None:
                connection = await self._connect(origin, timeouts.get("connect"))
            try:
                return await self._exchange(request, origin, connection, timeouts)
            except BaseException as error:
                connection.abort()
                if not (reused and connection.untouched and _may_repeat(request, error)):
                    raise
            # The server closed the idle connection just when it was used: nobody's fault. The others that are
            # idle may be as stale, so the repetition gets a connection of its own.
            connection = None

    async def _exchange(
        self, request: httpx.Request, origin: Origin, connection: Connection, timeouts: dict[str, float | None]
    ) -> httpx.Response:
        method = request.method.encode("ascii")
        written = request_head(method, request.url.raw_path, request.headers.raw)
        size = min(BUFFER, max(_LEAST_BUFFER, request.extensions.get("fetchq", {}).get("buffer") or BUFFER))
        stream = request.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("an async transport needs an async request stream")
        await connection.send(method, written, stream, size=size, timeout=_bound(timeouts.get("write")))
        head, intake = await connection.head(_bound(timeouts.get("read")))
        if not intake.complete:
            return _response(head, _Body(self, origin, connection))
        body = b"".join(intake.ready)
        self.release(origin, connection)
        return _response(head, httpx.ByteStream(body))

    def release(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection whose exchange has ended, if it is fit for another one; else close it."""
        if connection.finish():
            self._idle.put(origin, connection)
        else:
            connection.abort()

    async def _connect(self, origin: Origin, timeout: float | None) -> Connection:
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {}
        if origin.scheme == b"https":
            tls = {"ssl": self._ssl_context, "server_hostname": origin.server_name}
        where = f"{origin.host}:{origin.port}"
        try:
            async with asyncio.timeout(timeout):
                sock = await dial(origin.host, origin.port)
                try:
                    _, connection = await loop.create_connection(
                        lambda: Connection(loop, self._buffers, self._limits), sock=sock, **tls
                    )
                except ValueError:  # ssl refuses the server name before anybody owns the socket
                    sock.close()
                    raise
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"{where} did not answer in time") from error
        # ValueError: a host name that IDNA, DNS or ssl cannot spell.
        except (OSError, ValueError) as error:
            raise httpx.ConnectError(
                f"cannot connect to {where}: {str(error) or type(error).__name__}"
            ) from error
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    async def aclose(self) -> None:
        """Close every connection, those in use too, and wait until their sockets are closed."""
        self._idle.clear()
        lost = [connection.lost for connection in self._open]
        for connection in self._open:
            connection.abort()
        if lost:
            await asyncio.wait(lost)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()


class _Body(httpx.AsyncByteStream):
    """A response's body, and the connection it arrives on."""

    def __init__(self, transport: FastTransport, origin: Origin, connection: Connection) -> None:
        self._transport = transport
        self._origin = origin
        self._connection: Connection | None = connection

    def __aiter__(self) -> AsyncIterator[bytes]:
        return cast("AsyncIterator[bytes]", self)  # httpx hands on any bytes-like chunk as it is

    async def __anext__(self) -> Buffer:
        if self._connection is None:
            raise StopAsyncIteration
        try:
            chunk = await self._connection.chunk()
        except BaseException:
            self._connection.abort()
            raise
        if chunk is None:
            await self.aclose()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Give the connection back if the body has arrived whole; close it if not."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._transport.release(self._origin, connection)


def _origin(request: httpx.Request) -> Origin:
    url = request.url
    scheme = url.raw_scheme
    if scheme not in _PORTS:
        raise httpx.UnsupportedProtocol(f"only http and https URLs can be fetched, not {url.scheme!r}")
    host = url.raw_host.decode("ascii")
    return Origin(scheme, host, url.port or _PORTS[scheme], request.extensions.get("sni_hostname") or host)


def _response(head: Head, stream: httpx.AsyncByteStream) -> httpx.Response:
    return httpx.Response(
        head.status,
        headers=head.fields,
        stream=stream,
        extensions={"http_version": head.version, "reason_phrase": head.reason},
    )


def _may_repeat(request: httpx.Request, error: BaseException) -> bool:
    broke = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
    return broke and request.method in _IDEMPOTENT and isinstance(request.stream, httpx.ByteStream)


def _bound(timeout: float | None) -> float:
    return math.inf if timeout is None else timeout
