"""A body's chunks on their way to the disk: look ahead, trim, decode, and count every byte once."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Protocol, Self

from .._errors import ChangedError, IntegrityError
from .._models import Buffer
from .context import Reply
from .decoder import Decoder

__all__ = ["Body", "Chunks", "DecodedBody", "TrimmedBody"]


class Chunks(Protocol):
    """An async iterator over a body's bytes, in whatever form they are to be stored.

    The consumer calls :meth:`use` for each chunk before it asks for the next one.
    """

    def use(self, size: int) -> None:
        """Count *size* bytes that go to the disk, or that are skipped on purpose.

        :raises IntegrityError: more than were received; none of them may be written.
        """

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Buffer: ...


class Body:
    """A reply's body as it was sent; the bytes used are compared with the bytes received.

    The comparison precedes the write, so a part never holds a byte that was stored twice, or one that follows
    a gap.
    """

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._chunks = reply.chunks()
        self._ahead: deque[Buffer] = deque()
        self._used = 0

    async def complete(self, length: int) -> list[Buffer] | None:
        """Return a body of *length* bytes if it comes in one piece; else None, and it can still be iterated."""
        size = sum(map(len, self._ahead))
        async for chunk in self._chunks:
            self._ahead.append(chunk)
            size += len(chunk)
            if size != length:
                return None
        if size != length:
            return None
        chunks = list(self._ahead)
        self._ahead.clear()
        self.use(size)
        self._balance(0)
        return chunks

    async def peek(self, least: int) -> Buffer:
        """Return the first bytes, *least* or more unless the body ends before; they stay to be read."""
        have = sum(map(len, self._ahead))
        while have < least and (chunk := await anext(self._chunks, None)) is not None:
            self._ahead.append(chunk)
            have += len(chunk)
        return self._ahead[0] if len(self._ahead) == 1 else b"".join(self._ahead)

    def use(self, size: int) -> None:
        """Count *size* bytes that go to the disk or to a decoder, or that are skipped on purpose."""
        self._used += size
        if self._used > self._reply.received:
            raise self._miscounted()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        self._balance(sum(map(len, self._ahead)))
        if self._ahead:
            return self._ahead.popleft()
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self._balance(0)
            raise
        self._balance(len(chunk))
        return chunk

    async def aclose(self) -> None:
        """Close the reply, and the iterator that its chunks came from."""
        await self._reply.aclose()
        if isinstance(self._chunks, AsyncGenerator):
            await self._chunks.aclose()

    def _balance(self, unused: int) -> None:
        """Compare the bytes used, and the *unused* ones at hand, with those received."""
        if self._used + unused != self._reply.received:
            raise self._miscounted()

    def _miscounted(self) -> IntegrityError:
        return IntegrityError(
            f"{self._reply.received} bytes were received and {self._used} used: a fault in fetchq, please"
            " report it. What is in the .part file is right, and the same command goes on from there."
        )


class TrimmedBody:
    """A body without its first bytes, which repeat the end of the part.

    :param before: how many bytes to skip.
    :param known: the last of these as they are in the part.
    :raises ChangedError: while iterating: they differ, so the part is of another version.
    """

    def __init__(self, body: Body, before: int, known: bytes) -> None:
        self._body = body
        self._known = known
        # Where the next chunk begins, counted from the first byte that is compared.
        self._at = len(known) - before

    def use(self, size: int) -> None:
        """Count *size* bytes that go to the disk, or that are skipped on purpose."""
        self._body.use(size)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        while True:
            chunk = await anext(self._body)
            rest = self._cut(memoryview(chunk))
            self._body.use(len(chunk) - len(rest))
            if len(rest):
                return rest

    def _cut(self, chunk: memoryview) -> memoryview:
        """Compare what of *chunk* is known, and return what follows it."""
        known, at = self._known, self._at
        self._at += len(chunk)
        lead = chunk[max(0, -at) : max(0, len(known) - at)]
        if lead != known[max(0, at) : max(0, at) + len(lead)]:
            raise ChangedError("The bytes here are not those that the server has now: starting over.")
        return chunk[max(0, len(known) - at) :]


class DecodedBody:
    """What a body decodes to; the coded bytes are those that are counted.

    :param odd: called with what was odd about the coding, if anything was, at the body's end.
    :raises ProtocolError: while iterating: the coding is damaged, or ends too early.
    :raises TooLargeError: while iterating: more decoded bytes than allowed.
    """

    def __init__(self, body: Body, decoder: Decoder, odd: Callable[[str], None]) -> None:
        self._body = body
        self._decoder = decoder
        self._odd = odd
        self._pieces: Iterator[bytes] = iter(())

    def use(self, size: int) -> None:
        """Count nothing: the bytes that were received went to the decoder."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        while (piece := next(self._pieces, None)) is None:
            try:
                chunk = await anext(self._body)
            except StopAsyncIteration:
                self._decoder.finish()
                if self._decoder.odd:
                    self._odd(self._decoder.odd)
                raise
            self._body.use(len(chunk))
            self._pieces = self._decoder.feed(chunk)
        return piece
