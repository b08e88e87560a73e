"""What a transfer may do with the destination of its bytes, a part or standard output."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from .._models import Buffer, Resource, Span
from .existing import Existing
from .journal import Journal
from .publish import Finished

__all__ = ["Sink"]


class Sink(Protocol):
    """The destination of one download's bytes. Each method raises DiskError when the file system refuses."""

    @property
    def name(self) -> str:
        """The target's name; ``-`` is standard output."""

    @property
    def noun(self) -> str:
        """What messages call it."""

    @property
    def path(self) -> Path:
        """Where the unfinished bytes are."""

    @property
    def journal(self) -> Journal | None:
        """What an earlier run, or this one, has noted about them."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """Which bytes are there and trusted, merged."""

    @property
    def has_reader(self) -> bool:
        """Whether a write waits for somebody who reads, and :meth:`close` ends that."""

    @property
    def restartable(self) -> bool:
        """Whether :meth:`reset` is still possible."""

    async def begin(self, resource: Resource, algorithms: Sequence[str]) -> None:
        """Note what is being fetched, before its first byte is written."""

    async def write_all(self, batches: deque[tuple[int, list[Buffer]]], wrote: Callable[[int], None]) -> None:
        """Write *batches*, each an offset and its chunks, until none is left; more may be added meanwhile."""

    async def read(self, span: Span) -> bytes:
        """Read bytes back."""

    async def reset(self) -> None:
        """Start over at the first byte."""

    async def finish(
        self, *, size: int, mtime: float | None, check: Callable[[Mapping[str, str]], None]
    ) -> Finished | Existing:
        """Verify *size* bytes, and make them the finished file."""

    async def spoil(self) -> Path:
        """Put wrong bytes aside, and start over."""

    async def close(self) -> None:
        """Release everything; what was written stays."""
