"""The fast path: HTTP/1.1 straight to servers, without a copy or a wake-up that is not needed.

A body goes from the socket into large buffers that are handed on as they are, one wake-up a buffer; a small
body is one copy. What makes it fast lives in ``_connection`` and ``_pool_buffers``. Nothing queues in here:
callers bound themselves, so a cancelled request has no slot to leak.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import deque
from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Any

import httpx

from ..._models import Buffer
from .buffers import BUFFER, Buffers
from .connect import dial
from .connection import Connection, HeadLimits
from .idle import Endpoint, IdleConnections
from .parser import RequestHead, ResponseHead

__all__ = ["Body", "ConnectionPool"]

# Smaller buffers would cost a wake-up every few packets.
_LEAST_BUFFER = 16 * 1024
# May be sent again without asking (RFC 9110 section 9.2.2).
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})

Timeouts = Mapping[str, float | None]


class ConnectionPool:
    """Plain and TLS HTTP/1.1, near the speed of the socket.

    Chunks are bytes or memoryviews of up to 1 MiB, valid for as long as anybody holds them. A chunk is
    handed on when its buffer is full, at the body's end, or 50 ms after its first byte. All heads of an
    answer must be in within twice the read timeout.

    :param ssl_context: for https; should offer no ALPN protocol but ``http/1.1``.
    :param max_head: most bytes of an answer's head, interim answers included.
    :param max_headers: most header fields of a head.
    :param keepalive: most idle connections to keep.
    :param keepalive_expiry: seconds after which an idle connection is closed.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None,
        max_head: int,
        max_headers: int,
        keepalive: int,
        keepalive_expiry: float,
    ) -> None:
        self._ssl_context = ssl_context
        self._limits = HeadLimits(max_head, max_headers)
        self._buffers = Buffers()
        self._idle = IdleConnections(limit=keepalive, expiry=keepalive_expiry)
        self._open: set[Connection] = set()

    async def exchange(
        self,
        origin: Endpoint,
        request: RequestHead,
        timeouts: Timeouts,
        *,
        content: AsyncIterable[bytes] | None = None,
        repeatable: bool = True,
        buffer: int | None = None,
    ) -> tuple[ResponseHead, Body]:
        """Send *request* and give its answer once the head is in; the body streams.

        :param timeouts: seconds for ``connect``, ``read`` and ``write``; None or missing is no bound.
        :param content: the request's body.
        :param repeatable: *content* can be iterated again.
        :param buffer: bytes that a chunk of the answer should have at most, not less than 16 KiB.
        :raises TransportError: one of ``_faults``; an ``ssl.SSLError`` is the ``__cause__`` of a ConnectError.
        """
        connection = self._idle.take(origin)
        while True:
            reused = connection is not None
            if connection is None:
                connection = await self._connect(origin, timeouts.get("connect"))
            try:
                size = min(BUFFER, max(_LEAST_BUFFER, buffer or BUFFER))
                await connection.send(request, content, size=size, timeout=_bound(timeouts.get("write")))
                head, intake = await connection.head(_bound(timeouts.get("read")))
                break
            except BaseException as error:
                connection.abort()
                again = reused and connection.untouched and repeatable
                if not (again and _innocent(request, error)):
                    raise
            # The server closed the idle connection just when it was used: nobody's fault. The others that are
            # idle may be as stale, so the repetition gets a connection of its own.
            connection = None
        if not intake.complete:
            return head, Body(self, origin, connection)
        arrived = intake.ready
        self.release(origin, connection)
        return head, Body(self, origin, None, arrived)

    def release(self, origin: Endpoint, connection: Connection) -> None:
        """Keep a connection whose exchange has ended, if it is fit for another one; else close it."""
        if connection.finish():
            self._idle.put(origin, connection)
        else:
            connection.abort()

    async def _connect(self, origin: Endpoint, timeout: float | None) -> Connection:
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {}
        if origin.scheme == "https":
            tls = {"ssl": self._ssl_context, "server_hostname": origin.server_name}
        where = f"{origin.host}:{origin.port}"
        try:
            async with asyncio.timeout(timeout):
                sock = await dial(origin.host, origin.port)
                # asyncio's own TLS: an SSLSocket saves its copies and pays as much for two reads a record, a
                # layer of our own over MemoryBIO was within 3 % of it.
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


class Body:
    """An answer's body: an async iterator over its chunks, and the connection that it arrives on.

    :param connection: None when all of it is in *arrived*.
    """

    __slots__ = ("_arrived", "_connection", "_origin", "_straight")

    def __init__(
        self,
        straight: ConnectionPool,
        origin: Endpoint,
        connection: Connection | None,
        arrived: deque[Buffer] | None = None,
    ) -> None:
        self._straight = straight
        self._origin = origin
        self._connection = connection
        self._arrived = deque[Buffer]() if arrived is None else arrived

    @property
    def arrived(self) -> Sequence[Buffer] | None:
        """All that has not been taken yet, where the body is here to its end; else None."""
        return self._arrived if self._connection is None else None

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> Buffer:
        if self._arrived:
            return self._arrived.popleft()
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
        self._arrived.clear()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._straight.release(self._origin, connection)


def _innocent(request: RequestHead, error: BaseException) -> bool:
    """Tell whether a request may be sent again that met a connection which the server had just closed."""
    broke = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
    return broke and request.method in _IDEMPOTENT


def _bound(timeout: float | None) -> float:
    return math.inf if timeout is None else timeout
