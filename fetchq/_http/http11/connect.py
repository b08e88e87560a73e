"""Endpoint -> a connection, over a socket connected by happy eyeballs (RFC 8305).

``loop.create_connection(happy_eyeballs_delay=...)`` leaks a socket that has just been connected when it is
cancelled at that moment, so the race is run here.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import httpx

from .idle import Endpoint

__all__ = ["dial", "open_connection"]

Made = TypeVar("Made")

# Before the next address is tried beside one that has not answered: RFC 8305 section 8.
_ATTEMPT_DELAY = 0.25

SocketAddress = tuple[int, int, int, str, Any]


async def open_connection(
    endpoint: Endpoint, timeout: float | None, start: Callable[[socket.socket, Endpoint], Awaitable[Made]]
) -> Made:
    """Connect to *endpoint*, and return what *start* makes of the socket.

    :param timeout: seconds for all of it; None is no bound.
    :raises httpx.ConnectTimeout: they are over.
    :raises httpx.ConnectError: no address accepts, or *start* failed.
    """
    where = f"{endpoint.host}:{endpoint.port}"
    try:
        async with asyncio.timeout(timeout):
            return await start(await dial(endpoint.host, endpoint.port), endpoint)
    except TimeoutError as error:
        raise httpx.ConnectTimeout(f"{where} did not answer in time") from error
    # ValueError: a host name that IDNA, DNS or ssl cannot spell.
    except (OSError, ValueError) as error:
        words = str(error) or type(error).__name__
        raise httpx.ConnectError(f"cannot connect to {where}: {words}") from error


async def dial(host: str, port: int) -> socket.socket:
    """Connect to *host*; an address that does not answer costs 250 ms before the next is tried beside it.

    The A and AAAA records come from one ``getaddrinfo``, so all are known before the first attempt.

    :raises OSError: the name has no address, or none of them accepts; the first address's error.
    """
    addresses = await _resolve(host, port)
    if len(addresses) == 1:
        return await _connect(addresses[0])
    tasks: list[asyncio.Task[socket.socket]] = []
    winner = None
    try:
        winner = await _race(_interleaved(addresses), tasks)
        return winner.result()
    finally:
        for task in tasks:
            if task is not winner:
                task.cancel()
                task.add_done_callback(_close)


async def _resolve(host: str, port: int) -> Sequence[SocketAddress]:
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    # As text it would be encoded by IDNA, which has been done; a URL writes the sign before a zone as %25.
    name = host.replace("%25", "%", 1).encode("ascii")
    try:
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=numeric)
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)


def _interleaved(addresses: Sequence[SocketAddress]) -> Iterable[SocketAddress]:
    """Alternate between the address families, the resolver's first choice first (RFC 8305 section 4)."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    other = [address for address in addresses if address[0] != addresses[0][0]]
    return [one for pair in itertools.zip_longest(first, other) for one in pair if one is not None]


async def _race(
    addresses: Iterable[SocketAddress], tasks: list[asyncio.Task[socket.socket]]
) -> asyncio.Task[socket.socket]:
    left = iter(addresses)
    pending: set[asyncio.Task[socket.socket]] = set()
    while True:
        address = next(left, None)
        if address is not None:
            tasks.append(asyncio.create_task(_connect(address)))
            pending.add(tasks[-1])
        elif not pending:
            break
        # A failure starts the next attempt at once.
        done, pending = await asyncio.wait(
            pending, timeout=None if address is None else _ATTEMPT_DELAY, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            if task.exception() is None:
                return task
    return tasks[0]


async def _connect(address: SocketAddress) -> socket.socket:
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(0)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _close(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
