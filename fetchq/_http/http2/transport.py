"""``httpx.Request`` -> ``httpx.Response`` over HTTP/2, or over HTTP/1.1 where a server has no HTTP/2."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

import httpx

from ..._retry import IDEMPOTENT
from ..http11.connect import open_connection
from ..http11.connection import HeadLimits, UnsentError
from ..http11.idle import Endpoint
from ..http11.parser import Fields
from .connection import Http2Connection
from .stream import Http2Stream

__all__ = ["Http2Transport"]

# RFC 9113 section 8.2.2: these are the connection's, which HTTP/2 handles otherwise; Host becomes :authority.
_NOT_SENT = frozenset(
    {b"connection", b"host", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
# A request that a connection refuses is sent on the next one; a server that refuses more often has its reasons.
_MOST_CONNECTIONS = 3


class Http2Transport(httpx.AsyncBaseTransport):
    """HTTP/2 over TLS, one connection for each origin; ALPN decides whether a server speaks it.

    :param ssl_context: used here only, since its ALPN protocols are set.
    :param http11: sends the requests to servers that choose HTTP/1.1, or ask for it.
    :param expiry: seconds that a connection without requests is kept.
    :param limits: bounds against servers.
    """

    def __init__(
        self,
        ssl_context: ssl.SSLContext,
        http11: httpx.AsyncBaseTransport,
        *,
        expiry: float,
        limits: HeadLimits,
    ) -> None:
        ssl_context.set_alpn_protocols(["h2", "http/1.1"])
        self._ssl_context = ssl_context
        self._http11 = http11
        self._expiry = expiry
        self._limits = limits
        self._connections: dict[Endpoint, Http2Connection] = {}
        # None is the outcome for a server that chose HTTP/1.1.
        self._opening: dict[Endpoint, asyncio.Task[Http2Connection | None]] = {}
        self._without: set[Endpoint] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request*, and return its response once the head is in; the body streams.

        :raises httpx.TransportError: as ``httpx.AsyncHTTPTransport`` does.
        """
        endpoint = Endpoint.of(request)
        timeouts = request.extensions.get("timeout", {})
        for left in reversed(range(_MOST_CONNECTIONS)):
            connection = await self._connection(endpoint, timeouts)
            if connection is None:
                return await self._http11.handle_async_request(request)
            if not await connection.reserve(timeouts.get("pool")):
                continue
            reused = connection.used
            stream = connection.send_head(
                _head_of(request), end=not _has_body(request), read_timeout=timeouts.get("read")
            )
            try:
                return await _exchange(connection, stream, request)
            except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
                # A connection that was idle may have been closed just now (RFC 9113 section 9.1).
                stale = reused and stream.untouched and request.method in IDEMPOTENT
                if not (left and (stream.refused or stale) and isinstance(request.stream, httpx.ByteStream)):
                    if stream.refused:
                        raise UnsentError(str(error)) from error
                    raise
        raise httpx.RemoteProtocolError("the server closed the connection whenever it was used")

    async def aclose(self) -> None:
        """Close every connection, and wait until their sockets are closed."""
        for task in self._opening.values():
            task.cancel()
        lost = [connection.lost for connection in self._connections.values()]
        for connection in list(self._connections.values()):
            connection.abort()
        if lost:
            await asyncio.wait(lost)
        await self._http11.aclose()

    async def _connection(self, endpoint: Endpoint, timeouts: dict[str, Any]) -> Http2Connection | None:
        """Return the connection to *endpoint*, opened if there is none; None if the server has no HTTP/2."""
        if endpoint in self._without or endpoint.scheme != "https":
            return None
        connection = self._connections.get(endpoint)
        if connection is not None:
            return connection
        task = self._opening.get(endpoint)
        if task is None:
            task = asyncio.create_task(open_connection(endpoint, timeouts.get("connect"), self._start))
            self._opening[endpoint] = task
            task.add_done_callback(lambda done: self._opened(endpoint, done))
        # Others wait for it too, so it goes on when one of them is cancelled.
        return await asyncio.shield(task)

    def _opened(self, endpoint: Endpoint, task: asyncio.Task[Http2Connection | None]) -> None:
        del self._opening[endpoint]
        if not task.cancelled():
            task.exception()  # seen, even if all who waited for it are gone

    async def _start(self, sock: Any, endpoint: Endpoint) -> Http2Connection | None:
        """Make a connection of a connected socket; None if the server chose HTTP/1.1."""

        def forget(connection: Http2Connection) -> None:
            if self._connections.get(endpoint) is connection:
                del self._connections[endpoint]

        try:
            transport, connection = await asyncio.get_running_loop().create_connection(
                lambda: Http2Connection(self._limits, self._expiry, forget),
                sock=sock,
                ssl=self._ssl_context,
                server_hostname=endpoint.server_name,
            )
        except ValueError:
            sock.close()  # ssl refused the server name before a transport owned the socket
            raise
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            self._without.add(endpoint)
            connection.abort()
            return None
        self._connections[endpoint] = connection
        return connection


async def _exchange(connection: Http2Connection, stream: Http2Stream, request: httpx.Request) -> httpx.Response:
    try:
        if _has_body(request):
            body = cast("httpx.AsyncByteStream", request.stream)
            await connection.send_body(stream, body, request.extensions.get("timeout", {}).get("write"))
        head = await stream.head()
    except BaseException:
        await stream.aclose()
        raise
    fields = [(name, value) for name, value in head if not name.startswith(b":")]
    extensions = {
        "http_version": b"HTTP/2",
        "network_stream": connection.network_stream,
    }
    return httpx.Response(_status_of(head), headers=fields, stream=stream, extensions=extensions)


def _status_of(head: Fields) -> int:
    status = next((value for name, value in head if name == b":status"), b"")
    if not (len(status) == 3 and status.isdigit()):
        raise httpx.RemoteProtocolError("the answer has no status")
    return int(status)


def _head_of(request: httpx.Request) -> Fields:
    url = request.url
    host = request.headers.get("host")
    return [
        (b":method", request.method.encode("ascii")),
        (b":authority", host.encode("ascii") if host else url.netloc),
        (b":scheme", url.scheme.encode("ascii")),
        (b":path", url.raw_path),
        *((key, value) for name, value in request.headers.raw if (key := name.lower()) not in _NOT_SENT),
    ]


def _has_body(request: httpx.Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
