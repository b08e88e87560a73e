"""What came back: a response head, and its body as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from .._errors import FetchError
from .._models import Buffer
from .errors import translate
from .http11 import exceptions
from .http11.pool import Body

__all__ = ["BodyStream", "Buffer", "Response", "StraightStream", "drain"]

# Closing says goodbye (TLS close_notify, HTTP/2 reset) and a dead peer answers nothing: two round trips of a
# satellite link are about this long.
_CLOSE_SECONDS = 3.0


class BodyStream(Protocol):
    """A body on its way in, over whatever connection; its failures are FetchErrors."""

    @property
    def arrived(self) -> Sequence[Buffer] | None:
        """All of the body, where it is here to its end and nothing was taken yet; else None."""

    def chunks(self) -> AsyncIterator[Buffer]:
        """Give the body's bytes as they arrive."""

    async def aclose(self) -> None:
        """Let go of the connection."""


class Response:
    """A final answer, whatever its status; close it.

    ``url`` is the one that answered, in full, so it is never to be shown; ``hops`` counts the redirects on the
    way there, ``version`` is as on the status line; names of ``headers`` are in lower case.
    """

    __slots__ = ("_stream", "headers", "hops", "status", "url", "version")

    def __init__(
        self, status: int, version: str, headers: Mapping[str, str], url: str, stream: BodyStream
    ) -> None:
        self._stream = stream
        self.status = status
        self.headers = headers
        self.url = url
        self.hops = 0
        self.version = version

    @property
    def arrived(self) -> Sequence[Buffer] | None:
        """All of the body, where it came with the head; else None."""
        return self._stream.arrived

    def chunks(self) -> AsyncIterator[Buffer]:
        """Give the body's bytes as they arrive: transfer coding removed, content coding kept.

        :raises FetchError: the body broke off, or a wait passed its bound.
        """
        return self._stream.chunks()

    async def aclose(self) -> None:
        """Close within seconds and without complaint; the connection goes too unless the body was read."""
        if self._stream.arrived is None:
            with suppress(FetchError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._stream.aclose()


class StraightStream:
    """A body on a connection of our own."""

    __slots__ = ("_body", "_host")

    def __init__(self, body: Body, host: str) -> None:
        self._body = body
        self._host = host

    @property
    def arrived(self) -> Sequence[Buffer] | None:
        """All of the body, where it is here to its end and nothing was taken yet; else None."""
        return self._body.arrived

    def chunks(self) -> AsyncIterator[Buffer]:
        """Give the body's bytes as they arrive."""
        return self

    def __aiter__(self) -> AsyncIterator[Buffer]:
        return self

    async def __anext__(self) -> Buffer:
        try:
            return await self._body.__anext__()
        except (exceptions.TransportError, OSError) as error:
            raise translate(error, self._host) from error

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._body.aclose()


# A redirect's page is a few hundred bytes; a longer or slower one costs more than a new connection.
_SHORT_BYTES, _SHORT_SECONDS = 16 * 1024, 1.0


async def drain(reply: Response) -> None:
    """Read a short body, so that its connection serves again, and drop the connection of a longer one."""
    left = _SHORT_BYTES
    try:
        with suppress(FetchError, TimeoutError):
            async with asyncio.timeout(_SHORT_SECONDS):
                async for chunk in reply.chunks():
                    left -= len(chunk)
                    if left < 0:
                        break
    finally:
        await reply.aclose()
