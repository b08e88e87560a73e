"""Async iterators over the chunks of a body: look ahead, put back, trim, decode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from .._errors import ChangedError
from .._models import Buffer
from .decode import Decoder

__all__ = ["chain", "decoded", "first", "trim"]


async def first(chunks: AsyncIterator[Buffer], length: int) -> list[Buffer]:
    """Read ahead where a body of *length* bytes may come in one piece: to its end if it does."""
    head: list[Buffer] = []
    size = 0
    async for chunk in chunks:
        head.append(chunk)
        size += len(chunk)
        if size < length:
            break
    return head


async def chain(head: Sequence[Buffer], rest: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
    """Give *head* again, then the *rest*."""
    for chunk in head:
        yield chunk
    async for chunk in rest:
        yield chunk


async def trim(chunks: AsyncIterator[Buffer], before: int, known: bytes) -> AsyncIterator[Buffer]:
    """Give *chunks* without the *before* bytes that repeat what is here; *known* are the last of these.

    :raises ChangedError: they differ, so the part is of another version.
    """
    at = -(before - len(known))
    async for chunk in chunks:
        lead = bytes(chunk[max(0, -at) : max(0, len(known) - at)]) if at < len(known) else b""
        if lead != known[max(0, at) : max(0, at) + len(lead)]:
            raise ChangedError("The bytes here are not those that the server has now: starting over.")
        rest = memoryview(chunk)[max(0, len(known) - at) :]
        at += len(chunk)
        if len(rest):
            yield rest


async def decoded(chunks: AsyncIterator[Buffer], decoder: Decoder) -> AsyncIterator[Buffer]:
    """Give what *chunks* decode to, and check that the coding came to its end."""
    async for chunk in chunks:
        for piece in decoder.feed(chunk):
            yield piece
    decoder.finish()
