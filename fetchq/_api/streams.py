"""A download as a stream of bytes to the caller, with resume and retries under it."""

from __future__ import annotations

import asyncio
import codecs
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from .._disk import SequentialSink
from .._errors import StoppedError, TooLargeError, UsageError
from .._models import Buffer, Resource, Result

__all__ = ["Stream", "StreamSink"]

# Characters that a line may have: a line without an end must not fill memory.
MAX_LINE = 16 << 20


class StreamSink(SequentialSink):
    """Hands chunks over to a caller, one batch at a time: a slow caller makes the server wait.

    :ivar resource: what the server says it is; None until it has answered.
    :ivar headers: of that answer.
    :ivar news: is called when there is a chunk, or the resource is known.
    """

    def __init__(self, *, overlap: int) -> None:
        super().__init__("the stream", overlap=overlap)
        self.resource: Resource | None = None
        self.headers: Mapping[str, str] = {}
        self.news: Callable[[], None] = lambda: None
        self._chunks: deque[bytes] = deque()
        self._taken = asyncio.Event()
        self._closed = False

    def answered(self, resource: Resource, headers: Mapping[str, str]) -> None:
        """Note what is being fetched."""
        if self._position == 0:
            self.resource, self.headers = resource, headers
        self.news()

    async def _take(self, chunks: Sequence[Buffer]) -> None:
        for chunk in chunks:
            while self._chunks and not self._closed:
                self._taken.clear()
                await self._taken.wait()
            if self._closed:
                raise StoppedError(f"The stream was left after {self._position} bytes.")
            # A copy: the buffer that it is in will be used again.
            self._chunks.append(bytes(chunk))
            self._position += len(chunk)
            self._note(memoryview(chunk))
            self.news()

    async def close(self) -> None:
        """End a write that waits for the caller."""
        self._closed = True
        self._taken.set()

    def pop(self) -> bytes | None:
        """Return the next chunk if there is one."""
        if not self._chunks:
            return None
        chunk = self._chunks.popleft()
        self._taken.set()
        return chunk


class Stream:
    """The bytes of one download: ``async with downloader.stream(url) as chunks: async for chunk in chunks``.

    A connection that breaks off is replaced by one that goes on with the next byte. What cannot go on without a
    gap or a repeat, since the resource has changed, is a :class:`ChangedError`. A checksum is compared at the
    end, when the bytes have been handed over.
    """

    def __init__(self, fetch: Callable[[StreamSink], Coroutine[Any, Any, Result]], *, overlap: int) -> None:
        self._fetch = fetch
        self._overlap = overlap
        self._sink: StreamSink | None = None
        self._task: asyncio.Task[Result] | None = None
        self._news = asyncio.Event()
        self._closed = False

    @property
    def resource(self) -> Resource:
        """What the server says it is: length, entity tag, date.

        Of a body with a content coding, which is decoded, the length is None, and the rest is of the coded one.

        :raises UsageError: outside ``async with``.
        """
        if self._sink is None or self._sink.resource is None:
            raise UsageError("A stream has a resource once it is entered: `async with downloader.stream(url)`.")
        return self._sink.resource

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's fields, names in lower case, repeated ones joined (RFC 9110 section 5.3).

        :raises UsageError: outside ``async with``.
        """
        if self._sink is None or self._sink.resource is None:
            raise UsageError("A stream has headers once it is entered: `async with downloader.stream(url)`.")
        return self._sink.headers

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise UsageError("A stream can be entered once: ask for another one.")
        self._sink = sink = StreamSink(overlap=self._overlap)
        sink.news = self._news.set
        self._task = task = asyncio.create_task(self._fetch(sink))
        task.add_done_callback(self._ended)
        try:
            while sink.resource is None and not task.done():
                await self._wait()
            if task.done() and sink.resource is None:
                (await task).unwrap()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the download if it has not ended; may be called again."""
        task = self._task
        self._closed = True
        self._news.set()
        if self._sink is not None:
            await self._sink.close()
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    def _ended(self, task: asyncio.Task[Result]) -> None:
        if not task.cancelled():
            task.exception()  # is retrieved, so that nothing is logged of it
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes, at most a megabyte.

        :raises FetchError: the download failed; all bytes that came before it have been returned.
        """
        sink, task = self._sink, self._task
        if sink is None or task is None:
            raise UsageError("A stream is read inside `async with downloader.stream(url) as chunks:` only.")
        while not self._closed:
            if (chunk := sink.pop()) is not None:
                return chunk
            if task.done():
                task.result().unwrap()
                raise StopAsyncIteration
            await self._wait()
        # An end that looks like that of the whole would hide that bytes are missing.
        raise UsageError("The stream has been closed: it is read inside `async with` only.")

    async def lines(self, encoding: str = "utf-8") -> AsyncIterator[str]:
        """Yield the lines without their ends, LF or CRLF; what is not in the *encoding* becomes U+FFFD.

        :raises TooLargeError: a line has more than 16 Mi characters.
        """
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        begun: list[str] = []
        async for chunk in self:
            first, *others = decoder.decode(chunk).split("\n")
            begun.append(first)
            if others:
                yield "".join(begun).removesuffix("\r")
                for line in others[:-1]:
                    yield line.removesuffix("\r")
                begun = others[-1:]
            if sum(map(len, begun)) > MAX_LINE:
                raise TooLargeError(f"A line has more than {MAX_LINE} characters.")
        begun.append(decoder.decode(b"", final=True))
        if any(begun):
            yield "".join(begun).removesuffix("\r")

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()
