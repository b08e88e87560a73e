"""A large file over several connections: spare ones of the budget fetch segments of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from .._errors import ChangedError, DiskError, FetchError, IntegrityError, NetworkError, ProtocolError
from .._models import Span
from .._ranges import ask_for, before, changed
from .body import Body, Chunks, TrimmedBody
from .context import RunContext
from .counters import Counters
from .mirrors import Mirrors
from .pump import Pump
from .segments import Segment, SegmentQueue
from .states import Begun

__all__ = ["SegmentError", "SegmentedDownload"]

# Seconds between two looks at the connections: short enough to cut off a tail of two seconds, long enough to
# cost nothing. The first intervals are shorter, so that a slow server's large file is split soon.
TICK = 0.125
FIRST_TICK = 0.03
# After a connection broke off, no new one for this long: the server may be at its limit.
QUIET_SECONDS = 1.0
# With an explicit --connections, split at once as if each connection brought this many bytes a second: then
# nothing below a megabyte is split.
ASSUMED_RATE = 5e6


class SegmentError(Exception):
    """Holes are left, and the last of several connections failed with *error*."""

    def __init__(self, error: FetchError) -> None:
        super().__init__(str(error))
        self.error = error


class SegmentedDownload:
    """Runs a file's first connection, and as many more as the budget has to spare and the file gains from.

    What a failed connection leaves is fetched by the others; only when none is left does its error end the
    attempt. A server that refuses a connection is asked for no more than it has accepted.

    :param begun: the part, and the resource of which every connection must bring bytes.
    """

    def __init__(
        self,
        begun: Begun,
        segments: SegmentQueue,
        context: RunContext,
        mirrors: Mirrors,
        counters: Counters,
    ) -> None:
        self._begun = begun
        self._segments = segments
        self._context = context
        self._budget = context.budget
        if context.settings.queue.connections is not None:
            segments.assumed = ASSUMED_RATE
        # Of a server that does not say that it has ranges, one is asked first.
        self._most = context.settings.queue.per_file if begun.known.ranges else 2
        self.host = mirrors.key
        self._mirrors = mirrors
        self._counters = counters
        self._tasks: dict[asyncio.Task[None], Segment] = {}
        self._quiet_until = 0.0
        self._refused = False
        self._error: FetchError | None = None
        self._unsatisfied = False

    async def run(self, first: Coroutine[Any, Any, None], segment: Segment) -> bool:
        """Work until nothing is left to fetch, or no connection to fetch it.

        :param first: fetches *segment* over the job's own connection.
        :returns: False if holes are left for which the server says that it has no range (416), whatever length
            it has told before: the whole file has to be asked for.
        :raises SegmentError: holes are left.
        :raises FetchError: the file changed, the disk failed, or bytes were miscounted.
        """
        self._start(first, segment)
        self._budget.splittable.append(self)
        tick = FIRST_TICK
        try:
            self._start_missing()
            self._budget.distribute()
            while self._tasks:
                tick = min(TICK, 2 * tick)
                done, _ = await asyncio.wait(self._tasks, timeout=tick, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._ended(task)
                if not done:
                    self._segments.sample()
                self._cancel_some()
                self._start_missing()
                self._budget.distribute()
        finally:
            self._budget.splittable.remove(self)
            await self._cancel_all()
        if self._error is None or not self._segments.holes():
            return True
        if self._unsatisfied and self._begun.sink.restartable:
            return False
        raise SegmentError(self._error)

    # --- what the budget asks (Splittable)

    @property
    def connections(self) -> int:
        """Connections that it has."""
        return len(self._tasks)

    @property
    def may_grow(self) -> bool:
        """Whether one more connection is within bounds, and none has broken off just now."""
        accepted = self._refused or self._budget.splits(self.host)
        return 0 < self.connections < self._most and not self._quiet and accepted

    @property
    def longest(self) -> float:
        """Seconds that remain for the longest segment that can be divided."""
        return self._segments.longest

    @property
    def work(self) -> float:
        """Seconds that a single connection would need for what remains."""
        return self._segments.work

    def grow(self, share: float) -> bool:
        """Take one more connection for a part of the longest segment; False if that gains nothing."""
        segment = self._segments.split(max(share, self.work / self._most), self._mirrors.took)
        if segment is None:
            return False
        self._start(self._fetch(segment), segment)
        return True

    # --- its connections

    def _start(self, work: Coroutine[Any, Any, None], segment: Segment) -> None:
        """Fetch *segment*; the first connection is the job's own, all others are taken from the budget."""
        if self._tasks:
            self._budget.take(self.host)
        self._tasks[asyncio.create_task(work)] = segment
        self._counters.connections = len(self._tasks)

    async def _fetch(self, segment: Segment) -> None:
        """Fetch *segment* over a connection of its own.

        :raises ChangedError: the answer is of another version.
        :raises ProtocolError: the answer is not exactly the range that was asked for.
        """
        known, host, sink = self._begun.known, self._mirrors.host, self._begun.sink
        position = segment.position
        # Bytes before it that are on disk already, of a connection that broke off or of an earlier run.
        overlap = min(before(sink.spans, position), self._context.settings.disk.overlap)
        ask = ask_for(Span(position, segment.stop), known, overlap)
        reply = await self._mirrors.open(ask)
        body = Body(reply)
        try:
            answer, seen = self._mirrors.judge_range(ask, known, reply)
            if changed(known, seen):
                raise ChangedError(f"{host} has another version of the file now: starting over.")
            self._unsatisfied = reply.status == 416
            if answer.body is None or answer.body.start != position - overlap:
                raise ProtocolError(f"{host} does not serve a second range: {answer.reason}.")
            if not self._refused:
                self._most = self._context.settings.queue.per_file
            compared = await sink.read(Span(position - overlap, position))
            chunks: Chunks = TrimmedBody(body, overlap, compared) if overlap else body
            await Pump(chunks, sink, segment, self._context, self._counters.wrote).run()
        finally:
            await body.aclose()

    def _start_missing(self) -> None:
        """Fetch what failed connections left, if a connection is to be had for it."""
        while not self._quiet and (self._tasks or self._error is None):
            if self._tasks and not (self.may_grow and self._budget.spare(self.host)):
                break
            segment = self._segments.start_missing()
            if segment is None:
                break
            self._start(self._fetch(segment), segment)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Return a finished connection, and decide what its error means for the others."""
        segment = self._tasks.pop(task)
        self._segments.release(segment)
        if self._tasks:
            self._budget.give(self.host)
        self._counters.connections = len(self._tasks)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if isinstance(error, ChangedError):
            # Perhaps each server behind the host has its own: the next attempt asks one of them only.
            self._budget.leave_whole(self.host)
        if isinstance(error, (ChangedError, DiskError, IntegrityError)) or not isinstance(error, FetchError):
            raise error
        self._quiet_until = self._context.clock() + QUIET_SECONDS
        if segment.position == segment.first and (self._tasks or not isinstance(error, NetworkError)):
            self._split_no_more(len(self._tasks))
        self._error = error

    def _split_no_more(self, most: int) -> None:
        """Live with *most* connections, and split no other file of this host."""
        self._budget.leave_whole(self.host)
        self._refused, self._most = True, max(1, most)

    def _cancel_some(self) -> None:
        """Cancel connections that stall or get no answer, and one that a job waits for."""
        unanswered = self._segments.unanswered(self._mirrors.took)
        if unanswered:
            self._split_no_more(len(self._tasks) - len(unanswered))
        stalled = self._segments.stalled()
        for task, segment in self._tasks.items():
            if segment is stalled or segment in unanswered:
                task.cancel()
        if self._budget.wanted and len(self._tasks) > 1:
            next(reversed(self._tasks)).cancel()

    @property
    def _quiet(self) -> bool:
        return self._context.clock() < self._quiet_until

    async def _cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(1, len(self._tasks)):
            self._budget.give(self.host)
        self._tasks.clear()
