"""Many jobs: read ahead, start within the budget, wait for retries, yield results, stop.

Generic over job and result: what an attempt does is the injected ``fetch``.
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

__all__ = ["ScheduledJob", "Scheduler"]

J = TypeVar("J")
R = TypeVar("R")

# Jobs read from a plain iterator before other tasks of the event loop run.
BATCH = 64
# Maximum of results that the caller has not consumed; beyond it no job is started.
MAX_RESULTS = 1000
# Seconds for cancelled jobs to save their state, which takes milliseconds unless the disk hangs.
CANCEL_TIMEOUT = 3.0


@dataclass(eq=False, slots=True)
class ScheduledJob(Generic[J]):
    """A job with its place in the schedule.

    :param rank: the smallest starts first; among equals the smallest *number*.
    :param number: position in the queue, from 1.
    :param again: how its last attempt ended; None before the first.
    :param received: to be called when an attempt no longer needs its connection, so that the next job can start
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
    """Runs jobs within the budget of connections and yields their results in the order of ending.

    A job that waits for its next attempt occupies no worker. The numbers of jobs read ahead, waiting and
    finished are all bounded, so memory does not depend on the length of the queue.

    :param fetch: makes one attempt.
    :param describe: returns a job's host, for the limit per host, and its priority.
    :param clock: returns seconds of a monotonic clock, as the event loop's ``time``.
    """

    def __init__(
        self,
        fetch: Callable[[ScheduledJob[J]], Awaitable[R | Again]],
        describe: Callable[[J], tuple[str, int]],
        budget: Budget,
        queue: Queue,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._fetch = fetch
        self._describe = describe
        self._budget = budget
        self._queue = queue
        self._clock = clock
        # Jobs that can start: for each host a heap ordered by rank, then number.
        self._ready: dict[str, list[tuple[int, int, ScheduledJob[J]]]] = {}
        self._ready_count = 0
        # Jobs that wait for their next attempt: a heap ordered by the time of that attempt.
        self._waiting: list[tuple[float, int, ScheduledJob[J]]] = []
        self._running = 0
        self._cancelled = 0
        self._results: deque[R] = deque()
        self._read_all = False
        self._stopped = False
        self._read_count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._changed = _Notifier()
        budget.freed = self._changed.notify

    @property
    def left(self) -> int:
        """Number of jobs that were read and have no result."""
        return self._ready_count + len(self._waiting) + self._running + self._cancelled

    @property
    def stopped(self) -> bool:
        """Whether the run ended before all its jobs did."""
        return self._stopped or self._error is not None

    def stop(self) -> None:
        """Start no more jobs and cancel those that run; partial files are kept."""
        self._stopped = True
        self._changed.notify()

    async def run(self, jobs: AsyncIterator[J] | Iterator[J]) -> AsyncGenerator[R, None]:
        """Yield the results of *jobs* as they end.

        An exception of ``fetch`` or of the iterator *jobs* is a bug: it ends the run and is raised here.
        """
        self._spawn(self._read(jobs))
        try:
            while self._busy:
                self._start()
                while self._results:
                    yield self._results.popleft()
                if self._busy:
                    await self._changed.wait(self._next_attempt())
        finally:
            await self._cancel()
        if self._error is not None:
            raise self._error
        while self._results:
            yield self._results.popleft()

    @property
    def _busy(self) -> bool:
        """Whether more results are to come."""
        return self._error is None and not self._stopped and not (self._read_all and not self.left)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._error = task.exception()
        self._changed.notify()

    async def _cancel(self) -> None:
        """Cancel all tasks and wait until they have saved their state, at most ``CANCEL_TIMEOUT``."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CANCEL_TIMEOUT)

    # --- reading

    async def _read(self, jobs: AsyncIterator[J] | Iterator[J]) -> None:
        """Read *jobs*, as far ahead as the setting ``lookahead`` allows."""
        try:
            if isinstance(jobs, AsyncIterator):
                async for job in jobs:
                    self._add(job)
                    await self._wait_for_room()
            else:
                for job in jobs:
                    self._add(job)
                    if not self._read_count % BATCH:
                        await asyncio.sleep(0)
                    await self._wait_for_room()
        finally:
            self._read_all = True
            self._changed.notify()

    async def _wait_for_room(self) -> None:
        while self._ready_count >= self._queue.lookahead:
            await self._changed.wait(None)

    def _add(self, job: J) -> None:
        self._read_count += 1
        host, priority = self._describe(job)
        self._push(ScheduledJob(-priority, self._read_count, job, host))
        if self._running < self._budget.total:
            self._changed.notify()

    def _push(self, job: ScheduledJob[J]) -> None:
        heapq.heappush(self._ready.setdefault(job.host, []), (job.rank, job.number, job))
        self._ready_count += 1

    # --- starting

    def _start(self) -> None:
        """Start every job that the budget allows, then give spare connections to running ones."""
        self._end_waits()
        full = self._full
        while not full and (job := self._pop()) is not None:
            self._spawn(self._work(job))
        self._budget.wanted = not full and self._ready_count > 0
        self._budget.distribute()

    def _end_waits(self) -> None:
        """Move the jobs whose next attempt is due from the waiting to the ready ones."""
        now = self._clock()
        while self._waiting and self._waiting[0][0] <= now:
            self._push(heapq.heappop(self._waiting)[2])

    def _pop(self) -> ScheduledJob[J] | None:
        """Return the first ready job whose host may have one more connection, and take that connection."""
        open_hosts = (host for host in self._ready if self._budget.free(host))
        host = min(open_hosts, key=lambda name: self._ready[name][0], default=None)
        if host is None or not self._budget.take(host):
            return None
        job = heapq.heappop(self._ready[host])[2]
        if not self._ready[host]:
            del self._ready[host]
        self._ready_count -= 1
        self._running += 1
        return job

    async def _work(self, job: ScheduledJob[J]) -> None:
        """Make one attempt at *job*, then at the next ready jobs as long as there are any."""
        current: ScheduledJob[J] | None = job
        while current is not None:
            current.connected = True
            current.received = partial(self._received, current)
            try:
                self._ended(current, await self._fetch(current))
            except asyncio.CancelledError:
                self._cancelled += 1
                raise
            finally:
                self._running -= 1
                self._disconnect(current)
            current = None if self._stopped else self._next()

    def _disconnect(self, job: ScheduledJob[J]) -> None:
        if job.connected:
            job.connected = False
            self._budget.give(job.host)

    def _received(self, job: ScheduledJob[J]) -> None:
        """Start the next job on the connection of *job*, unless too many jobs are still writing."""
        if self._stopped or self._running >= 2 * self._budget.total:
            return
        self._disconnect(job)
        following = self._next()
        if following is not None:
            self._spawn(self._work(following))

    def _next(self) -> ScheduledJob[J] | None:
        self._end_waits()
        return None if self._full else self._pop()

    @property
    def _full(self) -> bool:
        """Whether too many jobs wait for their next attempt, or too many results for the caller."""
        return len(self._waiting) >= self._queue.waiting or len(self._results) >= MAX_RESULTS

    def _ended(self, job: ScheduledJob[J], outcome: R | Again) -> None:
        if isinstance(outcome, Again):
            job.again = outcome
            heapq.heappush(self._waiting, (self._clock() + outcome.wait, job.number, job))
            return
        self._results.append(outcome)

    def _next_attempt(self) -> float | None:
        """Return the seconds until the next waiting job is due; None if none waits."""
        return max(0.0, self._waiting[0][0] - self._clock()) if self._waiting else None


class _Notifier:
    """Wakes all tasks that wait for a change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        self._event.set()

    async def wait(self, seconds: float | None) -> None:
        """Wait for the next notification, at most *seconds*; None for no bound."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
