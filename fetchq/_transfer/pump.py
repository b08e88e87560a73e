"""One connection's body into the part: cut to its segment, coalesced, written while the next bytes arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .._disk import Sink
from .._errors import IntegrityError, NetworkError, TooLargeError, TooSlowError
from .._models import Buffer
from .body import Chunks
from .context import RunContext
from .segments import Segment
from .writer import Writer

__all__ = ["Pump"]

# A slow stream reaches the disk, the journal and the progress display at least this often (seconds).
FLUSH_SECONDS = 0.1


class Pump:
    """Moves a body to the disk.

    :param segment: what to fetch; its *stop* may move closer at any time.
    :param wrote: is called with the number of bytes that have reached the disk.
    """

    def __init__(
        self, chunks: Chunks, sink: Sink, segment: Segment, context: RunContext, wrote: Callable[[int], None]
    ) -> None:
        self._chunks = chunks
        self._sink = sink
        self._writer = Writer(sink, wrote)
        self._segment = segment
        self._context = context
        self._batch: list[Buffer] = []
        self._size = 0
        self._added = 0
        self._at = segment.position
        self._flushed = context.clock()
        self._timer: asyncio.TimerHandle | None = None
        self._pace = _Pace(context)
        self._most = context.settings.disk.max_size

    async def run(self) -> None:
        """Read chunks until the segment is complete or the body ends.

        :raises NetworkError: the body ended before the segment was complete.
        :raises TooSlowError: below the least speed for a whole window.
        :raises IntegrityError: the bytes written are not those that were received.
        """
        drains = True
        try:
            async for chunk in self._chunks:
                if await self._take(chunk):
                    break
        except asyncio.CancelledError:
            # The reader may never read on, and nothing of it would be kept.
            drains = not self._sink.has_reader
            raise
        finally:
            if drains:
                await self._drain()
            if self._timer is not None:
                self._timer.cancel()
        lost = self._added - self._writer.written
        if lost:
            raise IntegrityError(
                f"{lost} bytes were received and not written: a fault in fetchq, please report it."
            )
        if self._segment.left:
            raise NetworkError(f"The connection closed {self._segment.left} bytes too early.")

    async def _take(self, chunk: Buffer) -> bool:
        """Store one chunk, without what lies behind the segment; True when the segment is complete."""
        self._chunks.use(len(chunk))
        segment = self._segment
        if segment.position + len(chunk) > segment.stop:
            chunk = memoryview(chunk)[: max(0, segment.stop - segment.position)]
        segment.position += len(chunk)
        if self._most is not None and segment.position > self._most:
            raise TooLargeError(f"The file is larger than the {self._most} bytes allowed by --max-size.")
        segment.moved = now = self._context.clock()
        if len(chunk):
            self._add(chunk)
        complete = segment.position >= segment.stop
        due = self._size >= self._context.settings.disk.buffer or now - self._flushed >= FLUSH_SECONDS
        if complete or due:
            await self._flush(now)
            # A slow disk, or a caller who takes a stream's chunks slowly, is not a slow server.
            self._pace.excuse(self._context.clock() - now)
        if not complete:
            await self._pace.keep(len(chunk), now)
        return complete

    def _add(self, chunk: Buffer) -> None:
        """Add *chunk* to the batch, and see to it that it is written even if nothing follows."""
        self._batch.append(chunk)
        self._size += len(chunk)
        self._added += len(chunk)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._late)

    def _late(self) -> None:
        self._timer = None
        if self._batch and self._writer.has_room:
            self._writer.put_nowait(*self._cut())

    def _cut(self) -> tuple[int, list[Buffer]]:
        """Return the batch and its offset, and begin the next."""
        at, batch = self._at, self._batch
        self._at += self._size
        self._batch, self._size = [], 0
        return at, batch

    async def _flush(self, now: float) -> None:
        """Hand the batch to the writer."""
        self._flushed = now
        if self._batch:
            await self._writer.room()
        if self._batch:
            self._writer.put_nowait(*self._cut())

    async def _drain(self) -> None:
        """Write whatever has arrived, also when the body broke off or the job is cancelled."""
        await self._flush(self._context.clock())
        await self._writer.drain()


class _Pace:
    """Holds a stream to the rate limit, and notices one that hardly moves."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        network = context.settings.network
        limit = context.settings.queue.limit_rate
        # Our own rate limit must not look like a slow server.
        shared = limit / (2 * context.settings.queue.jobs) if limit else network.min_speed
        self._least = min(network.min_speed, shared)
        self._window = network.min_speed_window
        self._since = context.clock()
        self._seen = 0

    def excuse(self, seconds: float) -> None:
        """Leave out *seconds* in which nothing was read."""
        self._since += seconds

    async def keep(self, size: int, now: float) -> None:
        """Count *size* bytes that arrived at *now*; pause if they came too fast."""
        self._seen += size
        elapsed = now - self._since
        if elapsed >= self._window:
            if self._seen < self._least * elapsed:
                raise TooSlowError(
                    f"Only {self._seen / elapsed:.0f} B/s for {elapsed:.0f} s, less than --min-speed."
                )
            self._since, self._seen = now, 0
        await self._context.pace(size)
