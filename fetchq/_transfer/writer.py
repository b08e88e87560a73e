"""Batches on their way to the disk: one is written while the next is filled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from .._disk import Sink
from .._models import Buffer

__all__ = ["Writer"]

# One being written and one ready: the disk's thread goes from batch to batch without a turn of the event loop.
MOST_BATCHES = 2


class Writer:
    """Writes batches in the order they are put, and bounds how many there are.

    A slow disk makes :meth:`room` wait, and with it the reader and the socket, instead of filling memory.

    :param wrote: is called in the loop's thread with the number of bytes that have reached the disk.
    :ivar written: all of these.
    """

    def __init__(self, sink: Sink, wrote: Callable[[int], None]) -> None:
        self._sink = sink
        self._told = wrote
        self.written = 0
        self._batches: deque[tuple[int, list[Buffer]]] = deque()
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def has_room(self) -> bool:
        """Whether :meth:`put_nowait` may be called."""
        failed = self._task is not None and self._task.done()
        return len(self._batches) < MOST_BATCHES and not failed

    async def room(self) -> None:
        """Wait until there is room for a batch.

        :raises FetchError: an earlier batch could not be written; no later one is either.
        """
        while len(self._batches) >= MOST_BATCHES:
            self._room.clear()
            await self._room.wait()
            self._raise()
        self._raise()

    def put_nowait(self, offset: int, batch: list[Buffer]) -> None:
        """Queue *batch* to be written at *offset*, after those that were put before."""
        self._batches.append((offset, batch))
        if self._task is None:
            self._start()

    async def drain(self) -> None:
        """Wait until everything is written.

        :raises FetchError: it could not be.
        """
        while self._task is not None:
            # The task stays referenced and alone decides; a caller that is cancelled only stops waiting.
            await asyncio.wait([self._task])
            self._raise()

    def _start(self) -> None:
        self._task = asyncio.create_task(self._sink.write_all(self._batches, self._wrote))
        self._task.add_done_callback(self._ended)

    def _wrote(self, size: int) -> None:
        self.written += size
        self._told(size)
        self._room.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Start again for a batch that came as the thread was leaving."""
        if task.cancelled() or task.exception() is not None:
            self._batches.clear()
        elif self._batches:
            self._start()
        else:
            self._task = None
        self._room.set()

    def _raise(self) -> None:
        if self._task is not None and self._task.done():
            self._task.result()
