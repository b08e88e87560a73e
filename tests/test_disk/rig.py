"""What the tests of the disk share: a hand-set clock, parts in a folder, file layers that fail."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from fetchq._disk import (
    CompleteBody,
    Existing,
    ExistingPolicy,
    Files,
    Finished,
    Identity,
    Journal,
    Part,
    Parts,
    Sink,
)
from fetchq._disk.existing import Same
from fetchq._disk.journal import load
from fetchq._errors import ChecksumError
from fetchq._models import Buffer, Resource
from fetchq._settings import Disk, IfExists

T = TypeVar("T")

URL = "http://host.test/a.iso"
OURS = Identity(URL)
OTHER = Identity("http://elsewhere.test/other")
MTIME = 1_000_000_000.0
# What a server says of a resource without length, date and tag.
MADE = Resource(URL)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine to its end in a loop of its own."""
    return asyncio.run(work)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Failing(Files):
    """A file system on which one kind of call fails, from the n-th on until it is repaired."""

    def __init__(self, call: str, number: int, after: int) -> None:
        self.broken = True
        self.hit = False

        def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any) -> Any:
                nonlocal after
                if self.broken and after <= 0:
                    self.hit = True
                    raise OSError(number, os.strerror(number))
                after -= 1
                return method(*args)

            return wrapped

        setattr(self, call, wrap(getattr(self, call)))


class Roomy(Files):
    """A disk with so many bytes *free*; of a size of 1 TiB, unless it reports other *blocks* of a byte."""

    def __init__(self, free: int, blocks: int = 1 << 40) -> None:
        self.free = free
        self.blocks = blocks

    def statvfs(self, at: int | Path) -> os.statvfs_result:
        return os.statvfs_result((1, 1, self.blocks, self.free, self.free, 0, 0, 0, 0, 255))


def disk(if_exists: IfExists = "rename", *, fsync: bool = False, min_free: int = 0) -> Disk:
    """Settings that do not depend on how full the machine's disk is."""
    return Disk(if_exists=if_exists, fsync=fsync, min_free=min_free)


@asynccontextmanager
async def opened(settings: Disk | None = None, **more: Any) -> AsyncIterator[Parts]:
    """Parts that are closed in the end."""
    parts = Parts(settings or disk(), threads=4, **more)
    try:
        yield parts
    finally:
        await parts.aclose()


def never(found: os.stat_result) -> bool:
    """No finished file is this download."""
    return False


def no_check(digests: Mapping[str, str]) -> None:
    """Any digest will do."""


def policy(
    parts: Parts, identity: Identity = OURS, *, same: Same = never, seen: Resource | None = MADE, **more: Any
) -> ExistingPolicy:
    """What a job of *identity* says about files that are there already."""
    if_exists = parts._settings.if_exists or "rename"
    facts: dict[str, Any] = {"named": False, "checksums": (), "owned": lambda path: None, "proven": {}} | more
    return ExistingPolicy(identity, if_exists, seen=seen, same=same, **facts)


async def claimed(parts: Parts, folder: Path, name: str = "a.iso", identity: Identity = OURS) -> Part:
    """Claim *name*, which must give a part."""
    part = await parts.claim(folder, name, policy(parts, identity))
    assert isinstance(part, Part)
    return part


async def write(sink: Sink, offset: int, chunks: Sequence[Buffer]) -> None:
    """Write *chunks* one behind the other at *offset*."""
    await sink.write_all(deque([(offset, list(chunks))]), lambda size: None)


async def put(
    parts: Parts,
    folder: Path,
    body: bytes | Sequence[Buffer],
    name: str = "a.iso",
    identity: Identity = OURS,
    same: Callable[[os.stat_result], bool] = never,
    check: Callable[[Mapping[str, str]], None] = no_check,
) -> Finished | Existing:
    """Bring *body* to disk in one hop."""
    return await parts.put(
        folder,
        name,
        policy(parts, identity, same=same),
        CompleteBody([body] if isinstance(body, bytes) else body, ["sha256"], MTIME, check),
    )


def refuse(digests: Mapping[str, str]) -> None:
    """No digest will do."""
    raise ChecksumError("wrong bytes")


def resource(length: int | None, etag: str | None = '"v1"') -> Resource:
    """What a server says about a resource of *length* bytes."""
    return Resource(URL, length=length, etag=etag, last_modified="Sun, 09 Sep 2001 01:46:40 GMT", ranges=True)


def journal(folder: Path, name: str = "a.iso") -> Journal | None:
    """Read the journal of *name* as it is on disk."""
    return load(Files(), folder / f"{name}.part.json")


def names(folder: Path) -> set[str]:
    """Everything in *folder*."""
    return set(os.listdir(folder))


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes that differ at each place and with each *seed*."""
    # It begins again after 251 rows of 251; these files are millions of bytes long.
    row = bytes((i * 7 + i // 251 + seed * 101) % 251 for i in range(min(size, 251 * 251)))
    return (row * (size // (251 * 251) + 1))[:size]


def sha256(data: bytes) -> dict[str, str]:
    """Digests of *data* as a part gives them."""
    return {"sha256": hashlib.sha256(data).hexdigest()}


async def resumed(parts: Parts, folder: Path, body: bytes) -> Part:
    """A part of which all but the last byte came in an earlier run, and is not hashed yet."""
    part = await claimed(parts, folder)
    await part.begin(resource(len(body)), [])
    await write(part, 0, [body[:-1]])
    await part.close()
    part = await claimed(parts, folder)
    await part.begin(resource(len(body)), ["sha256"])
    return part


def abandon(part: Part) -> None:
    """Die: the kernel closes the descriptors, and with them goes the lock; nothing else happens."""
    os.close(part._locked.fd)
    part._entry.close()
    part._closed = True
    part._context.open.discard(part)
