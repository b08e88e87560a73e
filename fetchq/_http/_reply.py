"""What came back: a response head, and its body as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import TypeAlias, cast

import httpx

from ._translate import FOREIGN, translate

Buffer: TypeAlias = bytes | bytearray | memoryview

# Closing says goodbye (TLS close_notify, HTTP/2 reset) and a dead peer answers nothing: two round trips of a
# satellite link are about this long.
_CLOSE_SECONDS = 3.0


class Reply:
    """A final answer, whatever its status; close it.

    ``url`` is the one that answered, in full, so it is never to be shown; ``hops`` counts the redirects on the
    way there, ``version`` is as on the status line; names of ``headers`` are in lower case.
    """

    __slots__ = ("_host", "_response", "headers", "hops", "status", "url", "version")

    def __init__(self, response: httpx.Response, *, host: str, hops: int) -> None:
        self._response = response
        self._host = host
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = _fields(response.headers.raw)
        self.url = str(response.url)
        self.hops = hops
        self.version: str = response.http_version

    async def chunks(self) -> AsyncIterator[Buffer]:
        """Give the body's bytes as they arrive: transfer coding removed, content coding kept.

        :raises FetchError: the body broke off, or a wait passed its bound.
        """
        # httpx would decode without a bound, so an encoded body is taken as it is.
        encoded = "content-encoding" in self.headers
        body = self._response.aiter_raw() if encoded else self._response.aiter_bytes()
        try:
            async with aclosing(_generator(body)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except FOREIGN as error:
            raise translate(error, self._host) from error

    async def aclose(self) -> None:
        """Close within seconds and without complaint; the connection goes too unless the body was read."""
        await close(self._response)


def _fields(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Join repeated fields (RFC 9110 section 5.3); a plain dict, since some thirty are looked for each time."""
    fields: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


def _generator(body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    # httpx promises an iterator and gives a generator, which must not wait for the collector to be closed.
    return cast("AsyncGenerator[bytes, None]", body)


async def close(response: httpx.Response) -> None:
    """Close *response* within a bound, whatever state its connection is in."""
    if not response.is_closed:
        with suppress(*FOREIGN):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await response.aclose()


# A redirect's page is a few hundred bytes; a longer or slower one costs more than a new connection.
_SHORT_BYTES, _SHORT_SECONDS = 16 * 1024, 1.0


async def drain(response: httpx.Response) -> None:
    """Read a short body, so that its connection serves again, and drop the connection of a longer one."""
    left = _SHORT_BYTES
    try:
        with suppress(*FOREIGN):
            async with asyncio.timeout(_SHORT_SECONDS), aclosing(_generator(response.aiter_raw())) as body:
                async for chunk in body:
                    left -= len(chunk)
                    if left < 0:
                        break
    finally:
        await close(response)
