"""The connections of one large file: spare ones are borrowed, given a share of the work, and given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from .._errors import ChangedError, DiskError, FetchError, IntegrityError, NetworkError
from .context import RunContext
from .mirrors import Mirrors
from .segments import Segment, SegmentQueue

__all__ = ["SegmentedDownload"]

# Often enough to cut off a tail of two seconds, seldom enough to cost nothing; the first looks come sooner,
# so that a slow server's large file is split at once.
TICK = 0.125
FIRST_TICK = 0.03
# After a connection broke off, no new one for this long: the server may be at its limit.
QUIET_SECONDS = 1.0
# Whoever names a number of connections knows that one alone is slow. So all are at work from the first answer
# on, as if each brought this many bytes a second: then no piece is worth its while below a megabyte.
ASSUMED_RATE = 5e6


class SegmentedDownload:
    """Runs a file's first connection, and as many more as the budget spares and the file is worth.

    A span that fails goes back to those who are still at work; only when nobody is left does its error
    end the attempt. A server that refuses a connection is asked for no more than it has accepted.

    :param fetch: fetches a claim over a connection of its own.
    :param staffed: is told how many connections are at work.
    """

    def __init__(
        self,
        claims: SegmentQueue,
        tools: RunContext,
        origin: Mirrors,
        fetch: Callable[[Segment], Coroutine[Any, Any, None]],
        staffed: Callable[[int], None],
    ) -> None:
        self._claims = claims
        self._connections = tools.budget
        self._clock = tools.clock
        if tools.settings.queue.connections is not None:
            claims.assumed = ASSUMED_RATE
        self._most = tools.settings.queue.per_file
        self.host = origin.key
        self._origin = origin
        self._fetch = fetch
        self._staffed = staffed
        self._tasks: dict[asyncio.Task[None], Segment] = {}
        self._borrowed = 0
        self._quiet_until = 0.0
        self._refused = False
        self._error: FetchError | None = None

    async def run(self, first: Coroutine[Any, Any, None], claim: Segment) -> None:
        """Work until nothing is left to fetch, or nobody to fetch it.

        :raises FetchError: the last error, when holes are left.
        """
        self._start(first, claim)
        self._connections.borrowers.append(self)
        tick = FIRST_TICK
        try:
            self._refill()
            self._connections.lend()
            while self._tasks:
                tick = min(TICK, 2 * tick)
                done, _ = await asyncio.wait(self._tasks, timeout=tick, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._ended(task)
                if not done:
                    self._claims.sample()
                self._relieve()
                self._refill()
                self._connections.lend()
        finally:
            self._connections.borrowers.remove(self)
            await self._dismiss()
        if self._error is not None and self._claims.holes():
            raise self._error

    # --- what the budget asks

    @property
    def staff(self) -> int:
        """Connections at work."""
        return len(self._tasks)

    @property
    def hires(self) -> bool:
        """Tell whether one more connection would be within bounds, and none has broken off just now."""
        accepted = self._refused or self._connections.splits(self.host)
        return 0 < self.staff < self._most and not self._quiet and accepted

    @property
    def longest(self) -> float:
        """Seconds that the longest of its spans that may be divided takes still."""
        return self._claims.longest

    @property
    def work(self) -> float:
        """Seconds that a single connection would need for it."""
        return self._claims.work

    def hire(self) -> bool:
        """Put one more connection to work; False where that is worth nothing."""
        fair = max(self._connections.fair(self.host), self.work / self._most)
        claim = self._claims.take(fair, self._origin.took)
        if claim is None:
            return False
        self._borrowed += self._connections.borrow(self.host)
        self._start(self._fetch(claim), claim)
        return True

    # --- its connections

    def _start(self, work: Coroutine[Any, Any, None], claim: Segment) -> None:
        self._tasks[asyncio.create_task(work)] = claim
        self._staffed(len(self._tasks))

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Take a finished connection off the list, and judge how it ended."""
        claim = self._tasks.pop(task)
        self._claims.release(claim)
        error = None if task.cancelled() else task.exception()
        self._staffed(len(self._tasks))
        if error is None:
            return
        if isinstance(error, (ChangedError, DiskError, IntegrityError)) or not isinstance(error, FetchError):
            raise error
        self._quiet_until = self._clock() + QUIET_SECONDS
        if claim.position == claim.first and (self._tasks or not isinstance(error, NetworkError)):
            self._connections.leave_whole(self.host)
            self._refused, self._most = True, max(1, self.staff)
        # A refused span says nothing about the file: the next attempt asks for what is missing.
        error.transient = True
        self._error = error

    def _relieve(self) -> None:
        """Take a span from a connection that stands still, and a connection that a job is waiting for."""
        stalled = self._claims.stalled()
        for task, claim in self._tasks.items():
            if claim is stalled:
                task.cancel()
        if self._connections.wanted and self._borrowed and len(self._tasks) > 1:
            next(reversed(self._tasks)).cancel()
        self._give_back()

    @property
    def _quiet(self) -> bool:
        return self._clock() < self._quiet_until

    def _refill(self) -> None:
        """See to it that every span has somebody, with a connection that has ended or one that is to spare."""
        while not self._quiet and (self._tasks or self._error is None):
            extra = len(self._tasks) > self._borrowed
            if extra and not (self.hires and self._connections.lends(self.host)):
                break
            claim = self._claims.fill()
            if claim is None:
                break
            if extra:
                self._borrowed += self._connections.borrow(self.host)
            self._start(self._fetch(claim), claim)
        self._give_back()

    def _give_back(self) -> None:
        while self._borrowed > max(0, len(self._tasks) - 1):
            self._borrowed -= 1
            self._connections.give(self.host)

    async def _dismiss(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._give_back()
