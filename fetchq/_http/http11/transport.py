"""``httpx.Request`` -> ``httpx.Response``: the public transport."""

from __future__ import annotations

import math
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self, cast

import httpx

from ..._models import Buffer
from ..._retry import IDEMPOTENT
from .buffers import LARGE_BUFFER
from .connection import Connection, HeadLimits, UnsentError
from .idle import Endpoint
from .parser import RequestHead, ResponseHead, request_head
from .pool import ConnectionPool

__all__ = ["ResponseStream", "Transport"]

# What httpx's clients use.
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0)
# Smaller buffers would cost a wake-up every few packets.
_LEAST_BUFFER = 16 * 1024
_NOTHING: Mapping[str, Any] = {}


class Transport(httpx.AsyncBaseTransport):
    """Plain and TLS HTTP/1.1 for ``httpx.AsyncClient(transport=fetchq.Transport())``.

    It takes the place of ``httpx.AsyncHTTPTransport`` and behaves as that does, in httpx's exceptions, its four
    timeouts, its ``Limits`` and the extensions ``timeout``, ``sni_hostname``, ``http_version``,
    ``reason_phrase`` and ``network_stream`` (which answers ``get_extra_info`` only). It has no HTTP/2, proxies,
    CONNECT, protocol switches, Unix sockets, ``local_address``, ``socket_options``, ``retries`` or ``trace``,
    and needs asyncio.

    Beyond that: addresses are tried side by side (RFC 8305); a request that meets a kept connection which the
    server had closed meanwhile is sent once more, if it may be repeated or TCP shows that none of it arrived;
    all heads of a response must arrive within twice the read timeout; requests wait for a connection in the
    order of their arrival; with ``Expect: 100-continue`` the body waits one second for the server's word.
    Trailers are read and dropped. TLS offers ``http/1.1`` by ALPN.

    With ``extensions={"fetchq": {}}`` a request accepts body chunks that are memoryviews: a body then reaches
    the caller without a copy, as buffers of 1 MiB, or of ``{"fetchq": {"buffer": n}}`` bytes. Each is valid for
    as long as it is held. ``response.extensions["fetchq"]`` is a dict: ``headers`` are the fields as a plain
    dict, names in lower case, repeated fields joined; ``complete``: the whole body has been received, so that
    reading it waits for nothing; ``skipped``: the first line of the head that is no field, empty without one.

    One transport serves one event loop, and closing it is final. A response must be read or closed, or its
    connection stays in use.

    :param verify: True for certifi's authorities, loaded when the first https request comes (40 ms); False to
        trust any certificate; an ``ssl.SSLContext`` for other authorities or a client certificate.
    :param trust_env: with ``verify=True``, let SSL_CERT_FILE and SSL_CERT_DIR replace certifi's authorities.
    :param limits: ``max_connections``, idle ones included; ``max_keepalive_connections``, the idle ones; and
        ``keepalive_expiry``, the seconds that one is kept. None is no limit.
    :param max_head: bytes of a response's head, interim responses included; a larger one is a
        RemoteProtocolError.
    :param max_headers: fields of a response's head.
    :raises TypeError: *verify* is something else, such as a path.
    """

    def __init__(
        self,
        *,
        verify: ssl.SSLContext | bool = True,
        trust_env: bool = True,
        limits: httpx.Limits = _LIMITS,
        max_head: int = 64 * 1024,
        max_headers: int = 200,
    ) -> None:
        if not isinstance(verify, ssl.SSLContext | bool):
            raise TypeError("verify takes True, False or an ssl.SSLContext, which may load any file")
        self._verify = verify
        self._trust_env = trust_env
        self._pool = ConnectionPool(
            limits=limits, head_limits=HeadLimits(max_head, max_headers), ssl_context=self._ssl_context
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request*, and return its response once the head is in; the body streams.

        :raises httpx.TransportError: as ``httpx.AsyncHTTPTransport`` does; an ``ssl.SSLError`` is the
            ``__cause__`` of a ConnectError.
        :raises RuntimeError: the transport is closed, or serves another event loop.
        """
        endpoint = Endpoint.of(request)
        head = request_head(
            request.method.encode("ascii", "replace"), request.url.raw_path, request.headers.raw
        )
        if head.method == b"CONNECT":
            raise httpx.LocalProtocolError("CONNECT opens a tunnel, which this transport has not")
        connection = self._pool.take(endpoint) or await self._open(endpoint, request)
        try:
            return await self._exchange(connection, endpoint, request, head)
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            harmless = request.method in IDEMPOTENT or isinstance(error, UnsentError)
            repeatable = harmless and isinstance(request.stream, httpx.ByteStream)
            stale = connection.untouched or isinstance(error, httpx.RemoteProtocolError)
            if not (connection.reused and stale and repeatable):
                raise
        # The server closed the idle connection just when it was used (RFC 9112 section 9.3.1), or sent what
        # belongs to the response before. The other idle ones may be as stale, so the repetition gets a new one.
        connection = await self._open(endpoint, request)
        return await self._exchange(connection, endpoint, request, head)

    async def aclose(self) -> None:
        """Close every connection, those in use too, and wait until their sockets are closed."""
        await self._pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def _open(self, endpoint: Endpoint, request: httpx.Request) -> Connection:
        timeouts = request.extensions.get("timeout", _NOTHING)
        return await self._pool.open(endpoint, connect=timeouts.get("connect"), pool=timeouts.get("pool"))

    async def _exchange(
        self, connection: Connection, endpoint: Endpoint, request: httpx.Request, head: RequestHead
    ) -> httpx.Response:
        timeouts = request.extensions.get("timeout", _NOTHING)
        wishes = request.extensions.get("fetchq")
        try:
            connection.send_head(head, buffer_size=_buffer_size(wishes))
            if head.length or head.chunked:
                stream = cast("httpx.AsyncByteStream", request.stream)
                await connection.send_body(stream, _seconds(timeouts.get("write")))
            answer = await connection.receive_head(_seconds(timeouts.get("read")))
        except BaseException:
            connection.abort()
            raise
        network_stream = connection.network_stream
        stream = ResponseStream(self._pool, endpoint, connection, views=wishes is not None)
        return _response(answer, stream, network_stream)

    def _ssl_context(self) -> ssl.SSLContext:
        if isinstance(self._verify, bool):
            self._verify = httpx.create_ssl_context(verify=self._verify, trust_env=self._trust_env)
        # Without ALPN some servers choose HTTP/2. Set for each connection, since httpx's own transport does the
        # same to a context that it shares, and may offer h2.
        self._verify.set_alpn_protocols(["http/1.1"])
        return self._verify


class ResponseStream(httpx.AsyncByteStream):
    """A response's body: an iterator over its chunks, which returns the connection to the pool at its end.

    A chunk is ready when its buffer is full, at the body's end, or 50 ms after its first byte.

    :param connection: has received the response's head.
    :param views: leave chunks that are memoryviews as they are; else they are copied to bytes.
    :ivar complete: the whole body has been received.
    """

    __slots__ = ("_connection", "_endpoint", "_pool", "_ready", "_views", "complete")

    def __init__(
        self, pool: ConnectionPool, endpoint: Endpoint, connection: Connection, *, views: bool
    ) -> None:
        self._pool = pool
        self._endpoint = endpoint
        self._views = views
        self._ready: deque[Buffer] = connection.body.ready
        self.complete = connection.body.complete
        self._connection: Connection | None = connection
        if self.complete:
            self._connection = None
            pool.release(endpoint, connection)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return cast("AsyncIterator[bytes]", self)

    async def __anext__(self) -> Buffer:
        if self._connection is not None:
            chunk = await self._receive(self._connection)
        elif self._ready:
            chunk = self._ready.popleft()
        elif self.complete:
            raise StopAsyncIteration
        else:
            raise httpx.StreamClosed
        return chunk if self._views or isinstance(chunk, bytes) else bytes(chunk)

    async def _receive(self, connection: Connection) -> Buffer:
        try:
            chunk = await connection.receive_chunk()
        except BaseException:
            connection.abort()
            self._connection = None
            raise
        if chunk is None:
            self.complete = True
            await self.aclose()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Return the connection to the pool if the whole body was received; close it if not."""
        self._ready.clear()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._pool.release(self._endpoint, connection)


def _response(head: ResponseHead, stream: ResponseStream, network_stream: object) -> httpx.Response:
    response = httpx.Response(
        head.status,
        headers=head.fields,
        stream=stream,
        extensions={
            "http_version": head.version,
            "reason_phrase": head.reason,
            "network_stream": network_stream,
            "fetchq": {"headers": head.headers, "complete": stream.complete, "skipped": head.skipped},
        },
    )
    if head.ascii:
        response.headers.encoding = "ascii"  # httpx would decode every field to find this out, which takes 4 us
    return response


def _buffer_size(wishes: Mapping[str, Any] | None) -> int:
    size = wishes and wishes.get("buffer")
    return min(LARGE_BUFFER, max(_LEAST_BUFFER, size)) if size else LARGE_BUFFER


def _seconds(timeout: float | None) -> float:
    return math.inf if timeout is None else timeout
