"""The connections of one transport: opened, kept while idle, bounded in number, and closed."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import httpx

from .buffers import Buffers
from .connect import open_connection
from .connection import Connection, HeadLimits
from .idle import Endpoint, IdleConnections

__all__ = ["ConnectionPool"]


class ConnectionPool:
    """Opens connections and keeps them for the next request.

    A connection occupies one of *max_connections* slots from before it is opened until its socket is closed.
    Where none is free, requests wait in the order of their arrival, and an idle connection to another endpoint
    gives way. A pool serves one event loop, that of its first request.

    :param limits: None in a field is no limit.
    :param head_limits: bounds against servers, for each connection.
    :param ssl_context: called for each TLS connection.
    """

    def __init__(
        self, *, limits: httpx.Limits, head_limits: HeadLimits, ssl_context: Callable[[], ssl.SSLContext]
    ) -> None:
        self._max = _or_infinity(limits.max_connections)
        self._head_limits = head_limits
        self._ssl_context = ssl_context
        self._buffers = Buffers()
        self._idle = IdleConnections(
            limit=_or_infinity(limits.max_keepalive_connections),
            expiry=_or_infinity(limits.keepalive_expiry),
        )
        self._open: set[Connection] = set()
        self._slots = 0  # in use: connections that are being opened or open
        # First come, first served. A waiter's result is a connection, or None for a slot to open one in.
        self._waiting: OrderedDict[asyncio.Future[Connection | None], Endpoint] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def take(self, endpoint: Endpoint) -> Connection | None:
        """Return an idle connection to *endpoint*, if there is one.

        :raises RuntimeError: the pool is closed or serves another event loop.
        """
        if asyncio.get_running_loop() is not self._loop:
            self._enter_loop()
        return self._idle.take(endpoint)

    async def open(self, endpoint: Endpoint, *, connect: float | None, pool: float | None) -> Connection:
        """Open a connection to *endpoint*, or return one that becomes free while waiting for a slot.

        :param connect: seconds for name resolution, TCP and TLS together.
        :param pool: seconds to wait for a slot.
        :raises httpx.PoolTimeout, httpx.ConnectTimeout, httpx.ConnectError: as httpx's own transport; an
            ``ssl.SSLError`` is the ``__cause__`` of a ConnectError.
        """
        if self._slots < self._max:
            self._slots += 1
        else:
            connection = await self._wait_for_slot(endpoint, pool)
            if connection is not None:
                return connection
        try:
            connection = await open_connection(endpoint, connect, self._start)
        except BaseException:
            self._free_slot()
            raise
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._forget(connection))
        if self._closed:
            connection.abort()
            raise _closed_meanwhile()
        return connection

    def release(self, endpoint: Endpoint, connection: Connection) -> None:
        """Keep a connection whose exchange has ended, or hand it to who waits; close it if it is unusable."""
        if connection.end_exchange():
            self._pass_on(endpoint, connection)
        else:
            connection.abort()

    async def aclose(self) -> None:
        """Close every connection, those in use too, and wait until their sockets are closed.

        :raises RuntimeError: the pool serves another event loop.
        """
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise _wrong_loop()
        self._closed, self._loop = True, None
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(_closed_meanwhile())
        self._idle.close()
        lost = [connection.lost for connection in self._open]
        for connection in self._open:
            connection.fail(httpx.ReadError, "the transport was closed during the exchange")
        if lost:
            await asyncio.wait(lost)

    def _enter_loop(self) -> None:
        if self._closed:
            raise RuntimeError("Cannot send a request, as the transport has been closed.")
        if self._loop is not None:
            raise _wrong_loop()
        self._loop = asyncio.get_running_loop()

    async def _wait_for_slot(self, endpoint: Endpoint, timeout: float | None) -> Connection | None:
        """Return a connection to *endpoint*, or None with a slot to open one in."""
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = endpoint
        self._idle.drop_oldest()
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except BaseException as error:
            self._stop_waiting(waiter, endpoint)
            if isinstance(error, TimeoutError):
                raise httpx.PoolTimeout(
                    f"none of the {self._max} connections became free within the time allowed"
                ) from error
            raise

    def _stop_waiting(self, waiter: asyncio.Future[Connection | None], endpoint: Endpoint) -> None:
        if self._waiting.pop(waiter, None) is not None or waiter.cancelled() or waiter.exception():
            return
        # It was served in the same moment in which its task was cancelled.
        connection = waiter.result()
        if connection is None:
            self._free_slot()
        else:
            self._pass_on(endpoint, connection)

    def _pass_on(self, endpoint: Endpoint, connection: Connection) -> None:
        """Hand a usable connection to the first in line; with nobody waiting keep it."""
        waiter = self._first_waiter()
        if waiter is None:
            self._idle.put(endpoint, connection)
        elif self._waiting[waiter] == endpoint:
            del self._waiting[waiter]
            waiter.set_result(connection)
        else:
            connection.abort()  # its slot becomes free once its socket is closed

    def _first_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiting:
            waiter = next(iter(self._waiting))
            if not waiter.done():
                return waiter
            self._waiting.popitem(last=False)
        return None

    def _free_slot(self) -> None:
        self._slots -= 1
        waiter = self._first_waiter()
        if waiter is not None:
            self._slots += 1
            del self._waiting[waiter]
            waiter.set_result(None)

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._free_slot()

    async def _start(self, sock: Any, endpoint: Endpoint) -> Connection:
        """Make a connection of a connected socket, with the TLS handshake where it takes one."""
        loop = asyncio.get_running_loop()
        connection = Connection(loop, self._buffers, self._head_limits)
        tls: dict[str, Any] = {}
        try:
            if endpoint.scheme == "https":
                tls = {"ssl": self._ssl_context(), "server_hostname": endpoint.server_name}
            # asyncio's own TLS: an SSLSocket saves its copies and pays as much for two reads a record.
            await loop.create_connection(lambda: connection, sock=sock, **tls)
        except BaseException as error:
            connection.abort()
            if isinstance(error, ValueError):
                sock.close()  # ssl refused the server name before a transport owned the socket
            raise
        return connection


def _or_infinity(limit: float | None) -> float:
    return math.inf if limit is None else limit


def _wrong_loop() -> RuntimeError:
    return RuntimeError(
        "A fetchq.Transport serves the event loop of its first request: close it there, and make one per loop."
    )


def _closed_meanwhile() -> httpx.ConnectError:
    return httpx.ConnectError("the transport was closed before there was a connection")
