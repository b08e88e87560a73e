"""What a route offers: bytes, held or made up as they are asked for, and what is said about them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Protocol

# Large enough that seeding the generator for each block does not show, small enough to cache a few.
BLOCK = 64 * 1024


class Content(Protocol):
    """Bytes that can be read from anywhere."""

    @property
    def size(self) -> int: ...
    def read(self, start: int, stop: int) -> bytes: ...


@dataclass(frozen=True)
class Literal:
    """Bytes as they were given."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, stop: int) -> bytes:
        return self.data[start:stop]


@dataclass(frozen=True)
class Generated:
    """Pseudo-random bytes, the same for the same seed, of any size and never held as a whole."""

    size: int
    seed: int = 0

    def read(self, start: int, stop: int) -> bytes:
        stop = min(stop, self.size)
        blocks = range(start // BLOCK, -(-stop // BLOCK))
        joined = b"".join(_block(self.seed, number) for number in blocks)
        skip = start - blocks.start * BLOCK
        return joined[skip : skip + max(stop - start, 0)]


@lru_cache(maxsize=64)
def _block(seed: int, number: int) -> bytes:
    return Random(f"{seed}/{number}").randbytes(BLOCK)


@dataclass(frozen=True)
class Resource:
    """Content and the facts that a server tells of it.

    ``ranges=False`` is a server that knows no Range; ``headers`` go into every answer.
    """

    content: Content
    etag: str | None = '"v1"'
    last_modified: str | None = "Wed, 01 Jan 2025 00:00:00 GMT"
    ranges: bool = True
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        return self.content.size

    @property
    def data(self) -> bytes:
        return self.content.read(0, self.size)

    @property
    def sha256(self) -> str:
        return self.digest("sha256").hex()

    def digest(self, algorithm: str) -> bytes:
        hasher = hashlib.new(algorithm)
        for piece in pieces(self.content):
            hasher.update(piece)
        return hasher.digest()


def generated(
    size: int,
    seed: int = 0,
    *,
    etag: str | None = '"v1"',
    last_modified: str | None = "Wed, 01 Jan 2025 00:00:00 GMT",
    ranges: bool = True,
    headers: tuple[tuple[str, str], ...] = (),
) -> Resource:
    """A resource of *size* pseudo-random bytes."""
    return Resource(Generated(size, seed), etag, last_modified, ranges, headers)


def literal(
    data: bytes,
    *,
    etag: str | None = '"v1"',
    last_modified: str | None = "Wed, 01 Jan 2025 00:00:00 GMT",
    ranges: bool = True,
    headers: tuple[tuple[str, str], ...] = (),
) -> Resource:
    """A resource of exactly these bytes."""
    return Resource(Literal(data), etag, last_modified, ranges, headers)


def pieces(content: Content, start: int = 0, stop: int | None = None, size: int = BLOCK) -> Iterator[bytes]:
    """The content from *start* to *stop* in pieces of at most *size* bytes."""
    end = content.size if stop is None else stop
    for at in range(start, end, size):
        yield content.read(at, min(at + size, end))
