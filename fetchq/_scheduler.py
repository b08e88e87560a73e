"""Many jobs: claim, bound, start, record, stop.

It is handed ``fetch``, and knows nothing of what that does: not the network, not the disk.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from ._connections import Budget
from ._models import Again
from ._settings import Queue

__all__ = ["Scheduler", "Work"]

J = TypeVar("J")
R = TypeVar("R")

# Jobs read ahead at a time, before the workers have their turn again.
BATCH = 64
# What has ended and nobody has taken yet: past this, workers wait for the caller.
MOST_RESULTS = 1000
# A stopped job writes its last batch and its journal: milliseconds, unless the disk hangs.
SAVE_SECONDS = 3.0


@dataclass(eq=False, slots=True)
class Work(Generic[J]):
    """A job on its way through the scheduler.

    :param rank: smaller goes first; among equals the one that came first.
    :param again: what its last attempt left behind; None before the first.
    :param received: to be called once an attempt needs its connection no more: the next job may have it
        while this one still writes and verifies.
    """

    rank: int
    number: int
    job: J
    host: str
    again: Again | None = None
    received: Callable[[], None] = field(default=lambda: None)
    connected: bool = False


class Scheduler(Generic[J, R]):
    """Runs jobs, never more at once than the budget allows, and gives their results as they end.

    A job that wants another attempt waits in a heap with its ready-at time, not on a worker. Reading
    ahead, waiting and finished jobs are all bounded, so the queue's length costs no memory.

    :param fetch: makes one attempt at a work.
    :param describe: gives a job's host, for the limit per host, and its priority.
    :param fatal: tells whether a result ends the whole run.
    :param clock: steady seconds, as the event loop's.
    """

    def __init__(
        self,
        fetch: Callable[[Work[J]], Awaitable[R | Again]],
        describe: Callable[[J], tuple[str, int]],
        budget: Budget,
        queue: Queue,
        *,
        fatal: Callable[[R], bool],
        clock: Callable[[], float],
    ) -> None:
        self._fetch = fetch
        self._describe = describe
        self._connections = budget
        self._queue = queue
        self._fatal = fatal
        self._clock = clock
        # By host, each a heap of what is compared: rank and number.
        self._ready: dict[str, list[tuple[int, int, Work[J]]]] = {}
        self._ahead = 0
        self._waiting: list[tuple[float, int, Work[J]]] = []
        self._running = 0
        self._broken_off = 0
        self._results: deque[R] = deque()
        self._drained = False
        self._stopped = False
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._bug: BaseException | None = None
        self._bell = _Notifier()
        budget.freed = self._bell.ring

    @property
    def left(self) -> int:
        """Jobs that were read and have not ended."""
        return self._ahead + len(self._waiting) + self._running + self._broken_off

    @property
    def stopped(self) -> bool:
        """True when the run was ended before its queue was."""
        return self._stopped or self._bug is not None

    def stop(self) -> None:
        """Start nothing more and break off what runs; each job keeps what it has."""
        self._stopped = True
        self._bell.ring()

    async def run(self, jobs: AsyncIterator[J] | Iterator[J]) -> AsyncGenerator[R, None]:
        """Give the results of *jobs* as they end; a bug in a job, or in the queue's reader, passes through."""
        self._spawn(self._read(jobs))
        try:
            while self._busy:
                self._start()
                while self._results:
                    yield self._results.popleft()
                if self._busy:
                    await self._bell.wait(self._next_ready())
        finally:
            await self._cancel()
        if self._bug is not None:
            raise self._bug
        while self._results:
            yield self._results.popleft()

    @property
    def _busy(self) -> bool:
        """True while there is something to wait for."""
        return self._bug is None and not self._stopped and not (self._drained and not self.left)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._bug = task.exception()
        self._bell.ring()

    async def _cancel(self) -> None:
        """Break off what runs; each is given a moment to save what it has."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SAVE_SECONDS)

    # --- reading

    async def _read(self, jobs: AsyncIterator[J] | Iterator[J]) -> None:
        """Read ahead as far as the look-ahead allows, in batches that leave the workers their turn."""
        try:
            if isinstance(jobs, AsyncIterator):
                async for job in jobs:
                    self._add(job)
                    await self._room()
            else:
                for job in jobs:
                    self._add(job)
                    if not self._count % BATCH:
                        await asyncio.sleep(0)
                    await self._room()
        finally:
            self._drained = True
            self._bell.ring()

    async def _room(self) -> None:
        while self._ahead >= self._queue.lookahead:
            await self._bell.wait(None)

    def _add(self, job: J) -> None:
        self._count += 1
        host, priority = self._describe(job)
        self._push(Work(-priority, self._count, job, host))
        if self._running < self._connections.total:
            self._bell.ring()

    def _push(self, work: Work[J]) -> None:
        heapq.heappush(self._ready.setdefault(work.host, []), (work.rank, work.number, work))
        self._ahead += 1

    # --- starting

    def _start(self) -> None:
        """Start every job that the budget has room for."""
        self._wake()
        full = self._full
        while not full and (work := self._pick()) is not None:
            self._spawn(self._work(work))
        self._connections.wanted = not full and self._ahead > 0
        self._connections.lend()

    def _wake(self) -> None:
        """Put the jobs whose wait is over back in line."""
        now = self._clock()
        while self._waiting and self._waiting[0][0] <= now:
            self._push(heapq.heappop(self._waiting)[2])

    def _pick(self) -> Work[J] | None:
        """Take the first job in line among the hosts that may have one more connection."""
        open_hosts = (host for host in self._ready if self._connections.free(host))
        host = min(open_hosts, key=lambda name: self._ready[name][0], default=None)
        if host is None or not self._connections.take(host):
            return None
        work = heapq.heappop(self._ready[host])[2]
        if not self._ready[host]:
            del self._ready[host]
        self._ahead -= 1
        self._running += 1
        return work

    async def _work(self, work: Work[J]) -> None:
        """Run a work's next attempt and, while there is one, the next in line on the same connection."""
        following: Work[J] | None = work
        while following is not None:
            self._connect(following)
            try:
                self._ended(following, await self._fetch(following))
            except asyncio.CancelledError:
                self._broken_off += 1
                raise
            finally:
                self._running -= 1
                self._disconnect(following)
            following = None if self._stopped else self._next()

    def _connect(self, work: Work[J]) -> None:
        work.connected = True
        work.received = partial(self._received, work)

    def _disconnect(self, work: Work[J]) -> None:
        if work.connected:
            work.connected = False
            self._connections.give(work.host)

    def _received(self, work: Work[J]) -> None:
        """Hand a work's connection on before the work ends, unless too many are ending already."""
        if self._stopped or self._running >= 2 * self._connections.total:
            return
        self._disconnect(work)
        following = self._next()
        if following is not None:
            self._spawn(self._work(following))

    def _next(self) -> Work[J] | None:
        self._wake()
        return None if self._full else self._pick()

    @property
    def _full(self) -> bool:
        """True while too many jobs wait for another attempt, or for somebody to take their result."""
        return len(self._waiting) >= self._queue.waiting or len(self._results) >= MOST_RESULTS

    def _ended(self, work: Work[J], outcome: R | Again) -> None:
        if isinstance(outcome, Again):
            work.again = outcome
            heapq.heappush(self._waiting, (self._clock() + outcome.wait, work.number, work))
            return
        self._results.append(outcome)
        if self._fatal(outcome):
            self.stop()

    def _next_ready(self) -> float | None:
        return max(0.0, self._waiting[0][0] - self._clock()) if self._waiting else None


class _Notifier:
    """Wakes those who wait for something to change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self, seconds: float | None) -> None:
        """Wait until the bell rings, at most *seconds*."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
