"""Idle connections by endpoint; the one used last is taken first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple

import httpx

from ..url import DEFAULT_PORTS, origin_of
from .connection import Connection
from .timer import Timer

__all__ = ["Endpoint", "IdleConnections"]


class Endpoint(NamedTuple):
    """What two requests must have in common to share a connection.

    :param server_name: the name sent in the TLS handshake (SNI) and checked against the certificate.
    """

    scheme: str
    host: str
    port: int
    server_name: str

    @classmethod
    def of(cls, request: httpx.Request) -> Endpoint:
        """Return the endpoint that *request* goes to.

        :raises httpx.UnsupportedProtocol: its URL is not http or https, or has no host.
        """
        scheme, host, port = origin_of(request.url)
        if scheme not in DEFAULT_PORTS or not host:
            raise httpx.UnsupportedProtocol("only http and https URLs with a host can be requested")
        # A certificate is for an address whatever its zone is called here (RFC 6874 section 3).
        server_name = request.extensions.get("sni_hostname") or host.partition("%")[0]
        return cls(scheme, host, port, server_name)


class IdleConnections:
    """Keeps at most *limit* connections, each for at most *expiry* seconds; every operation is O(1).

    Last in, first out: the extra connections of a burst expire together, and the one in use stays warm.
    """

    def __init__(self, *, limit: float, expiry: float) -> None:
        self._limit = limit
        self._expiry = expiry
        self._by_endpoint: dict[Endpoint, OrderedDict[Connection, None]] = {}
        # All of them with the loop time when they expire, oldest first.
        self._all: OrderedDict[Connection, tuple[Endpoint, float]] = OrderedDict()
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._all)

    def put(self, endpoint: Endpoint, connection: Connection) -> None:
        """Keep *connection* for the next request; above the limit the oldest is closed."""
        if not self._limit:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + self._expiry
        self._by_endpoint.setdefault(endpoint, OrderedDict())[connection] = None
        self._all[connection] = (endpoint, until)
        connection.when_unusable = self._drop
        if len(self._all) > self._limit:
            self.drop_oldest()
        if self._timer is None:
            self._timer = Timer(loop, self._expire)
        if len(self._all) == 1:
            self._timer.set(until)

    def take(self, endpoint: Endpoint) -> Connection | None:
        """Return a connection to *endpoint* that is still open, if there is one."""
        idle = self._by_endpoint.get(endpoint)
        while idle:
            connection = next(reversed(idle))
            self._forget(connection)
            if connection.is_usable():
                return connection
            connection.abort()
        return None

    def drop_oldest(self) -> None:
        """Close the connection that has been idle longest, if there is one."""
        if self._all:
            self._drop(next(iter(self._all)))

    def close(self) -> None:
        """Close every idle connection."""
        while self._all:
            self.drop_oldest()
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def _forget(self, connection: Connection) -> None:
        endpoint, _ = self._all.pop(connection)
        idle = self._by_endpoint[endpoint]
        del idle[connection]
        if not idle:
            del self._by_endpoint[endpoint]
        connection.when_unusable = None

    def _drop(self, connection: Connection) -> None:
        self._forget(connection)
        connection.abort()

    def _expire(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._all:
            until = next(iter(self._all.values()))[1]
            if until > now:
                if self._timer is not None:
                    self._timer.set(until)
                break
            self.drop_oldest()
