"""Whose turn it is: connections of one budget for any number of runs, and single jobs beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from typing import Any, Generic, TypeVar

from .._connections import Budget
from .._models import Again
from .._settings import Queue
from .flow import Flow, ScheduledJob
from .run import CANCEL_TIMEOUT, ScheduledRun

__all__ = ["Scheduler"]

J = TypeVar("J")
R = TypeVar("R")


class Scheduler(Generic[J]):
    """Runs jobs within one budget of connections: any number of queues, and single jobs beside them.

    A job that waits for its next attempt occupies no connection. The numbers of jobs of a run read ahead,
    waiting and finished are all bounded, so memory does not depend on the length of its queue.

    :param describe: returns a job's host, for the limit per host, and its priority.
    :param clock: returns seconds of a monotonic clock, as the event loop's ``time``.
    """

    def __init__(
        self,
        describe: Callable[[J], tuple[str, int]],
        budget: Budget,
        queue: Queue,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.describe = describe
        self.budget = budget
        self.queue = queue
        self.clock = clock
        self.numbers = count(1)
        self.running = 0
        self._singles: Flow[J] = Flow()
        self._runs: list[ScheduledRun[J, Any]] = []
        self._turn = 0
        self._due: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._alone: set[asyncio.Task[Any]] = set()
        self._closed = False
        budget.freed = self.wake

    def run(
        self,
        jobs: AsyncIterator[J] | Iterator[J],
        fetch: Callable[[ScheduledJob[J]], Awaitable[R | Again]],
    ) -> ScheduledRun[J, R]:
        """Return the run of a queue; it begins when its first result is asked for.

        :param fetch: makes one attempt.
        """
        return ScheduledRun(self, jobs, fetch)

    def start(self, job: J, fetch: Callable[[ScheduledJob[J]], Awaitable[R | Again]]) -> asyncio.Task[R]:
        """Begin a task that makes attempts at one job until it has a result; :meth:`stop` cancels it."""
        task = asyncio.create_task(self._attempts(job, fetch))
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)
        return task

    def stop(self) -> None:
        """Start no more jobs and cancel those that run; partial files are kept."""
        for run in self._runs:
            run.stop()
        for task in self._alone:
            task.cancel()

    async def aclose(self) -> None:
        """Cancel what runs, and wait until it has saved its state, at most ``CANCEL_TIMEOUT``."""
        self._closed = True
        self.stop()
        for run in list(self._runs):
            await run.cancel()
        if self._alone:
            await asyncio.wait(self._alone, timeout=CANCEL_TIMEOUT)
        for handle in (self._due, self._timer):
            if handle is not None:
                handle.cancel()

    # --- one job

    async def _attempts(self, job: J, fetch: Callable[[ScheduledJob[J]], Awaitable[R | Again]]) -> R:
        host, priority = self.describe(job)
        item = ScheduledJob(-priority, next(self.numbers), job, host, lambda _: None)
        while True:
            await self._connection(item)
            outcome = await self.attempt(item, fetch)
            if not isinstance(outcome, Again):
                return outcome
            item.again = outcome
            await asyncio.sleep(outcome.wait)

    async def _connection(self, item: ScheduledJob[J]) -> None:
        """Wait until it is the turn of *item*."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def start(_: ScheduledJob[J]) -> None:
            if not granted.done():
                granted.set_result(None)

        item.start = start
        self.push(self._singles, item)
        self.wake()
        try:
            await granted
        except asyncio.CancelledError:
            if item.connected:
                self.disconnect(item)
            else:
                self._singles.discard(item)
            raise

    async def attempt(
        self, item: ScheduledJob[J], fetch: Callable[[ScheduledJob[J]], Awaitable[R | Again]]
    ) -> R | Again:
        """Make one attempt at a job that has its connection."""
        item.received = partial(self._received, item)
        self.running += 1
        try:
            return await fetch(item)
        finally:
            self.running -= 1
            self.disconnect(item)

    # --- turns

    def join(self, run: ScheduledRun[J, Any]) -> None:
        """Let a run take turns."""
        self._runs.append(run)

    def leave(self, run: ScheduledRun[J, Any]) -> None:
        """Forget a run that has ended."""
        self._runs.remove(run)
        self.wake()

    def push(self, flow: Flow[J], job: ScheduledJob[J]) -> None:
        """Add a job that can start; :meth:`wake` is to be called after it."""
        flow.push(job, self._turn)

    def wake(self) -> None:
        """Start what can start, in the next turn of the event loop."""
        if self._due is None and not self._closed:
            self._due = asyncio.get_running_loop().call_soon(self._start_all)

    def _start_all(self) -> None:
        """Start every job that the budget allows, then give spare connections to running ones."""
        self._due = None
        self._end_waits()
        while (job := self.pop()) is not None:
            job.start(job)
        self.budget.wanted = any(flow.count and not flow.full for flow in self._flows)
        self.budget.distribute()
        self._watch()

    @property
    def _flows(self) -> Iterator[Flow[J]]:
        yield self._singles
        yield from self._runs

    def pop(self) -> ScheduledJob[J] | None:
        """Return the first job whose host may have one more connection, and take that connection."""
        best: tuple[int, int, int] | None = None
        chosen: tuple[Flow[J], str] | None = None
        for flow in self._flows:
            if flow.count and not flow.full:
                for host, heap in flow.ready.items():
                    place = heap[0][0], flow.turn, heap[0][1]
                    if (best is None or place < best) and self.budget.free(host):
                        best, chosen = place, (flow, host)
        if chosen is None or not self.budget.take(chosen[1]):
            return None
        flow, host = chosen
        self._turn = flow.turn
        job = flow.pop(host)
        job.connected = True
        return job

    def next_of(self, run: ScheduledRun[J, Any]) -> ScheduledJob[J] | None:
        """Start what can start, but return the first job of *run*, for the task that has just ended one."""
        self._end_waits()
        while (job := self.pop()) is not None:
            if job.start == run.start:
                return job
            job.start(job)
        return None

    def disconnect(self, job: ScheduledJob[J]) -> None:
        """Return the connection of *job* to the budget, if it still has one."""
        if job.connected:
            job.connected = False
            self.budget.give(job.host)

    def _received(self, job: ScheduledJob[J]) -> None:
        """Start the next job on the connection of *job*, unless too many jobs are still writing."""
        if self.running >= 2 * self.budget.total:
            return
        self.disconnect(job)
        self._end_waits()
        following = self.pop()
        if following is not None:
            following.start(following)

    # --- waits

    def _end_waits(self) -> None:
        now = self.clock()
        for run in self._runs:
            run.end_waits(now)

    def _watch(self) -> None:
        """See to it that jobs start when their waits end."""
        due = min((run.waiting[0][0] for run in self._runs if run.waiting), default=None)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if due is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, due - self.clock()), self.wake)
