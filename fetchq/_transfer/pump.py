"""One connection's body into the part: cut to its claim, coalesced, written while the next bytes come."""

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

# A slow stream reaches the disk, the journal and the bars at least this often (seconds).
FLUSH_SECONDS = 0.1


class Pump:
    """Moves a body to the disk.

    :param claim: what to fetch; its *stop* may move closer at any time.
    :param wrote: is told how many bytes have reached the disk.
    """

    def __init__(self, part: Sink, claim: Segment, tools: RunContext, wrote: Callable[[int], None]) -> None:
        self._writer = Writer(part, self._wrote)
        self._told = wrote
        self._unwritten = 0
        self._claim = claim
        self._tools = tools
        self._batch: list[Buffer] = []
        self._size = 0
        self._at = claim.position
        self._flushed = tools.clock()
        self._timer: asyncio.TimerHandle | None = None
        self._pace = _Pace(tools)
        self._most = tools.settings.disk.max_size

    async def run(self, chunks: Chunks) -> None:
        """Pump *chunks* until the claim is filled or the body ends.

        :raises NetworkError: the body ended before the claim was filled.
        :raises TooSlowError: below the least speed for a whole window.
        """
        try:
            async for chunk in chunks:
                # Before it is stored; what of it lies behind the claim is skipped on purpose.
                chunks.use(len(chunk))
                if await self._take(chunk):
                    break
        finally:
            await self._drain()
        if self._unwritten:
            raise IntegrityError(
                f"{self._unwritten} bytes were received and not written: a fault in fetchq, please report it."
            )
        claim = self._claim
        if claim.stop is not None and claim.position < claim.stop:
            raise NetworkError(f"The connection closed {claim.stop - claim.position} bytes too early.")

    async def _take(self, chunk: Buffer) -> bool:
        """Take one chunk; True when the claim is filled."""
        claim = self._claim
        if claim.stop is not None and len(chunk) > claim.stop - claim.position:
            chunk = memoryview(chunk)[: max(0, claim.stop - claim.position)]
        claim.position += len(chunk)
        if self._most is not None and claim.position > self._most:
            raise TooLargeError(f"The file is larger than the {self._most} bytes allowed by --max-size.")
        claim.moved = now = self._tools.clock()
        if len(chunk):
            self._batch.append(chunk)
            self._size += len(chunk)
            self._unwritten += len(chunk)
            self._soon()
        filled = claim.stop is not None and claim.position >= claim.stop
        if filled or self._size >= self._tools.settings.disk.buffer or now - self._flushed >= FLUSH_SECONDS:
            await self._flush(now)
        if not filled:
            await self._pace.keep(len(chunk), now)
        return filled

    def _soon(self) -> None:
        """See to it that the batch reaches the disk also when nothing comes after it."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._late)

    def _late(self) -> None:
        self._timer = None
        if self._batch and self._writer.has_room:
            self._writer.put_nowait(*self._cut())

    def _cut(self) -> tuple[int, list[Buffer]]:
        """Give the batch and its offset, and begin the next."""
        at, batch = self._at, self._batch
        self._at += self._size
        self._batch, self._size = [], 0
        return at, batch

    async def _flush(self, now: float) -> None:
        """Hand the batch on to the disk."""
        self._flushed = now
        if self._batch:
            await self._writer.room()
        if self._batch:
            self._writer.put_nowait(*self._cut())

    def _wrote(self, size: int) -> None:
        self._unwritten -= size
        self._told(size)

    async def _drain(self) -> None:
        """Bring to disk whatever has come, also when the body broke off or the job is cancelled."""
        try:
            await self._flush(self._tools.clock())
            await self._writer.drain()
        finally:
            if self._timer is not None:
                self._timer.cancel()


class _Pace:
    """Holds a stream to the rate limit, and notices one that hardly moves."""

    def __init__(self, tools: RunContext) -> None:
        self._tools = tools
        network = tools.settings.network
        limit = tools.settings.queue.limit_rate
        # A limit of our own making must not look like a slow server.
        shared = limit / (2 * tools.settings.queue.jobs) if limit else network.min_speed
        self._least = min(network.min_speed, shared)
        self._window = network.min_speed_window
        self._since = tools.clock()
        self._seen = 0

    async def keep(self, size: int, now: float) -> None:
        """Count *size* bytes that came at *now*; pause if they came too fast."""
        self._seen += size
        elapsed = now - self._since
        if elapsed >= self._window:
            if self._seen < self._least * elapsed:
                raise TooSlowError(
                    f"Only {self._seen / elapsed:.0f} B/s for {elapsed:.0f} s, less than --min-speed."
                )
            self._since, self._seen = now, 0
        await self._tools.pace(size)
