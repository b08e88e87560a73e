"""Connections that wait for their next request, by origin; the one used last is taken first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple

from .connection import Connection
from .timer import Timer

__all__ = ["Endpoint", "IdleConnections"]


class Endpoint(NamedTuple):
    """What two requests must share to share a connection."""

    scheme: str
    host: str
    port: int
    server_name: str


class IdleConnections:
    """Keeps at most *limit* connections, each for at most *expiry* seconds; every operation is O(1).

    Last in, first out: a burst's extra connections grow old together, and the one in use stays warm.
    """

    def __init__(self, *, limit: int, expiry: float) -> None:
        self._limit = limit
        self._expiry = expiry
        self._origins: dict[Endpoint, OrderedDict[Connection, None]] = {}
        # All of them, the one that waits longest first.
        self._ages: OrderedDict[Connection, tuple[Endpoint, float]] = OrderedDict()
        self._alarm: Timer | None = None

    def __len__(self) -> int:
        return len(self._ages)

    def put(self, origin: Endpoint, connection: Connection) -> None:
        """Keep a connection that has had its answer; the oldest gives way when there are too many."""
        if not self._limit:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + self._expiry
        self._origins.setdefault(origin, OrderedDict())[connection] = None
        self._ages[connection] = (origin, until)
        connection.when_unfit = self._drop
        if len(self._ages) > self._limit:
            self._drop(next(iter(self._ages)))
        if self._alarm is None:
            self._alarm = Timer(loop, self._expire)
        if len(self._ages) == 1:
            self._alarm.set(until)

    def take(self, origin: Endpoint) -> Connection | None:
        """Give a connection that was fit for use a moment ago, if there is one."""
        idle = self._origins.get(origin)
        while idle:
            connection = next(reversed(idle))
            self._forget(connection)
            if connection.is_fit():
                return connection
            connection.abort()
        return None

    def _forget(self, connection: Connection) -> None:
        origin, _ = self._ages.pop(connection)
        idle = self._origins[origin]
        del idle[connection]
        if not idle:
            del self._origins[origin]
        connection.when_unfit = None

    def _drop(self, connection: Connection) -> None:
        self._forget(connection)
        connection.abort()

    def _expire(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._ages:
            connection, (_, until) = next(iter(self._ages.items()))
            if until > now:
                break
            self._drop(connection)
        if self._ages and self._alarm is not None:
            self._alarm.set(next(iter(self._ages.values()))[1])

    def clear(self) -> None:
        """Close every idle connection."""
        while self._ages:
            self._drop(next(iter(self._ages)))
        if self._alarm is not None:
            self._alarm.stop()
