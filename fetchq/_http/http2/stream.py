"""One request and its response: the head, and a body whose bytes wait here until they are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import httpx

from ..http11.parser import Fields

__all__ = ["Http2Stream", "Link"]

# Larger chunks cost fewer steps between here and the disk; a slow body is handed on after the time.
_CHUNK_BYTES = 256 * 1024
_FLUSH_SECONDS = 0.05


class Link(Protocol):
    """What a stream needs of its connection."""

    def open_window(self, stream: Http2Stream, size: int) -> None:
        """Let the server send *size* more bytes on *stream*."""

    def leave(self, stream: Http2Stream) -> None:
        """Reset *stream* unless it has ended, and forget it."""


class Http2Stream(httpx.AsyncByteStream):
    """A stream of HTTP/2 (RFC 9113 section 5); the body of its response.

    :param read_timeout: seconds to wait for the next bytes.
    :ivar untouched: nothing of the response has been received.
    :ivar refused: the server says that it has not processed the request, so that it can be sent again.
    :ivar ended: the response is complete.
    """

    def __init__(self, link: Link, number: int, read_timeout: float | None) -> None:
        self._link = link
        self.number = number
        self._read_timeout = read_timeout
        self._waiter: asyncio.Future[None] | None = None
        self._head: Fields | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._flow = 0  # bytes received that the window was not opened for, padding included
        self._failure: Callable[[], httpx.TransportError] | None = None
        self.untouched = True
        self.refused = False
        self.ended = False

    # What the connection received.

    def receive_head(self, head: Fields) -> None:
        """Take the response's head."""
        self.untouched = False
        self._head = head
        self.wake()

    def receive_data(self, data: bytes, flow: int) -> None:
        """Take a part of the body.

        :param flow: bytes that it takes of the window.
        """
        self._flow += flow
        if data:  # an empty frame is no progress, and so moves no deadline
            self._chunks.append(data)
            self._size += len(data)
            self.wake()

    def end(self) -> None:
        """Take note that the response is complete."""
        self.ended = True
        self.wake()

    def fail(self, failure: Callable[[], httpx.TransportError]) -> None:
        """Raise what *failure* returns from the step that is under way or comes next."""
        if self._failure is None and not self.ended:
            self._failure = failure
            self.wake()

    def wake(self) -> None:
        """End the wait that is under way, if there is one: something has happened on the stream."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the response's reader does.

    @property
    def answered(self) -> bool:
        """Whether the response has begun, or there will be none."""
        return self._head is not None or self._failure is not None

    async def head(self) -> Fields:
        """Wait for the response's head."""
        while self._head is None:
            self._raise_failure()
            if self.ended:
                raise httpx.RemoteProtocolError("the server ended the stream without an answer")
            await self.wait(self._read_timeout, httpx.ReadTimeout)
        return self._head

    async def wait(self, seconds: float | None, kind: type[httpx.TimeoutException]) -> None:
        """Wait until something has happened on this stream.

        :raises httpx.TimeoutException: of that *kind*.
        """
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._waiter
        except TimeoutError as error:
            raise kind("nothing happened on the stream within the time allowed") from error
        finally:
            self._waiter = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not (self._size >= _CHUNK_BYTES or (self._size and (self.ended or self._failure))):
            if self.ended:
                await self.aclose()
                raise StopAsyncIteration
            self._raise_failure()
            try:
                await self.wait(_FLUSH_SECONDS if self._size else self._read_timeout, httpx.ReadTimeout)
            except httpx.ReadTimeout:
                if not self._size:
                    raise
                break
        return self._take()

    def _take(self) -> bytes:
        chunk = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if not self.ended and self._failure is None:  # h2 knows no stream that was reset
            self._link.open_window(self, self._flow)
            self._flow = 0
        return chunk

    async def aclose(self) -> None:
        """Abandon the stream if it has not ended; the connection stays."""
        self._chunks.clear()
        self._size = 0
        self._link.leave(self)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure()
