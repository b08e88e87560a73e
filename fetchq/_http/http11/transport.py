"""Our own way to servers as httpx sees it: what needs its client travels as fast as what does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self, cast

import httpx

from ..._models import Buffer
from .idle import Endpoint
from .parser import request_head
from .pool import Body, ConnectionPool

__all__ = ["Transport", "origin_of"]

_PORTS = {"http": 80, "https": 443}


class Transport(httpx.AsyncBaseTransport):
    """Plain and TLS HTTP/1.1 for ``httpx.AsyncClient(transport=...)``.

    ``extensions={"fetchq": {"buffer": n}}`` of a request makes the chunks of its answer smaller.

    :raises httpx.TransportError: from requests and response streams, as httpx's own transport does; an
        ``ssl.SSLError`` is the ``__cause__`` of a ConnectError.
    """

    def __init__(self, straight: ConnectionPool) -> None:
        self._straight = straight

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request* and give its response once the head is in; the body streams."""
        stream = request.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("an async transport needs an async request stream")
        head, body = await self._straight.exchange(
            origin_of(request),
            request_head(request.method.encode("ascii"), request.url.raw_path, request.headers.raw),
            request.extensions.get("timeout", {}),
            content=stream,
            repeatable=isinstance(stream, httpx.ByteStream),
            buffer=request.extensions.get("fetchq", {}).get("buffer"),
        )
        arrived = body.arrived
        return httpx.Response(
            head.status,
            headers=head.fields,
            stream=_Stream(body) if arrived is None else httpx.ByteStream(b"".join(arrived)),
            extensions={"http_version": head.version, "reason_phrase": head.reason},
        )

    async def aclose(self) -> None:
        """Close every connection, those in use too, and wait until their sockets are closed."""
        await self._straight.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()


class _Stream(httpx.AsyncByteStream):
    """A response's body."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return cast("AsyncIterator[bytes]", self)  # httpx hands on any bytes-like chunk as it is

    async def __anext__(self) -> Buffer:
        return await self._body.__anext__()

    async def aclose(self) -> None:
        await self._body.aclose()


def origin_of(request: httpx.Request) -> Endpoint:
    """Give what the connection for *request* must be connected to."""
    url = request.url
    if url.scheme not in _PORTS:
        raise httpx.UnsupportedProtocol(f"only http and https URLs can be fetched, not {url.scheme!r}")
    host = url.raw_host.decode("ascii")
    return Endpoint(
        url.scheme, host, url.port or _PORTS[url.scheme], request.extensions.get("sni_hostname") or host
    )
