"""Whose turn it is: connections of one budget for any number of runs, and single jobs beside them."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from typing import Any, Generic, TypeVar

from .._connections import Budget
from .._hosts import Hosts
from .._models import Again
from .._settings import Queue
from .flow import Flow, ScheduledJob
from .run import CANCEL_TIMEOUT, Known, ScheduledRun
from .spill import Spill

__all__ = ["Scheduler"]

J = TypeVar("J")
R = TypeVar("R")

# Seconds after which a host is silent that has never answered: most answer within a tenth of it.
SILENCE = 1.0
# Jobs of hosts that are given up that end at once: there may be a million of them.
MOST_REFUSED = 64
# Connections that are lent at once, each an open socket and no more.
MOST_LENT = 64


def _nothing() -> None:
    """Do nothing: the job has no connection."""


class Scheduler(Generic[J]):
    """Runs jobs within one budget of connections: any number of queues, and single jobs beside them.

    A job that waits for its next attempt occupies no connection. The numbers of jobs of a run read ahead,
    waiting and finished are all bounded, so memory does not depend on the length of its queue.

    :param describe: returns a job's host, for the limit per host, and its priority.
    :param hosts: how each host may be asked.
    :param clock: returns seconds of a monotonic clock, as the event loop's ``time``.
    """

    def __init__(
        self,
        describe: Callable[[J], tuple[str, int]],
        budget: Budget,
        queue: Queue,
        hosts: Hosts | None = None,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.describe = describe
        self.budget = budget
        self.queue = queue
        self.hosts = hosts or Hosts()
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
        # Jobs that end without an attempt just now.
        self._refused: set[ScheduledJob[J]] = set()
        # Jobs started: a host that comes in sight is the last of those that wait for their turn.
        self._served = 0
        # When hosts may be asked again: a heap.
        self._opening: list[tuple[float, str]] = []
        # Hosts that have connections and hold them for long, or may not take more of them for now.
        self._heavy: set[str] = set()
        self._capped: set[str] = set()
        # Jobs of hosts that had never answered, in the order of their start; those that have lent their
        # connections, by host.
        self._silent: deque[ScheduledJob[J]] = deque()
        self._lent: dict[str, list[ScheduledJob[J]]] = {}
        budget.freed = self._freed
        budget.splits_now = self._splits_now
        self.hosts.changed = self._host_changed

    def run(
        self,
        jobs: AsyncIterator[J] | Iterator[J],
        fetch: Callable[[ScheduledJob[J]], Awaitable[R | Again]],
        known: Known[J, R] | None = None,
        dry: Callable[[], None] = lambda: None,
        spill: Spill[J] | None = None,
    ) -> ScheduledRun[J, R]:
        """Return the run of a queue; it begins when its first result is asked for.

        :param fetch: makes one attempt.
        :param known: returns the results of jobs that need none; by default, none is known.
        :param dry: called where all jobs have ended, and the next one is long in coming.
        :param spill: keeps the ends of long lines; by default, no more is read when there are many jobs.
        """
        return ScheduledRun(self, jobs, fetch, known, dry, spill)

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
            item.take(outcome)
            if not outcome.in_line:
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
            if not item.connected and item.refused is None:
                self._singles.discard(item)
            self.disconnect(item)
            raise

    async def attempt(
        self, item: ScheduledJob[J], fetch: Callable[[ScheduledJob[J]], Awaitable[R | Again]]
    ) -> R | Again:
        """Make one attempt at a job that has its connection."""
        item.received = partial(self._received, item)
        self.running += 1
        requests = self.hosts.get(item.host).requests
        name = item.host
        try:
            return await fetch(item)
        finally:
            self.running -= 1
            if item.refused is None:
                now = self.clock()
                self.hosts.get(name).ended(item.number, requests, now, now - item.since)
            self._return(item, name)
            self.disconnect(item)
            # Both lead back to the job: without a cycle it goes with its last reference.
            item.received, item.again = _nothing, None

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
        if job.host not in flow.ready:
            host = self.hosts.get(job.host)
            if not host.running:
                host.served = max(host.served, self._served)
        if flow.push(job, self._turn):
            self._look(flow, job.host)

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
        self.budget.wanted = any(flow.open and not flow.full for flow in self._flows)
        self.budget.distribute()
        if self._runs and self.wants_hosts:
            for run in self._runs:
                run.look_further()
        self._watch()

    @property
    def wants_hosts(self) -> bool:
        """Whether a host that is not in sight could start now, and none of the others.

        Half of the connections of slow and silent hosts would be its own.
        """
        if any(flow.full or flow.has_light for flow in self._flows):
            return False
        if any(self.hosts.get(name).is_quick for name in self._capped):
            return False
        return self.budget.used < self.budget.total or 2 * self._held_by_heavy > self.budget.total

    @property
    def _held_by_heavy(self) -> int:
        return sum(map(self.budget.held, self._heavy)) if self._heavy else 0

    @property
    def _flows(self) -> Iterator[Flow[J]]:
        yield self._singles
        yield from self._runs

    def pop(self) -> ScheduledJob[J] | None:
        """Return the first job of the host whose turn it is, and take its connection.

        Of a host that is given up, the jobs come without a connection.
        """
        chosen = self._choose() if self.budget.used < self.budget.total else None
        if chosen is None:
            return self._pop_refused()
        flow, name = chosen
        self.budget.take(name)
        self._turn = flow.turn
        host, now = self.hosts.get(name), self.clock()
        job = flow.pop(name, host.place)
        job.connected, job.since = True, now
        self._served = host.served = self._served + 1
        host.started(job.number, now, self.hosts.wait)
        if host.heavy:
            self._heavy.add(name)
        if not host.proven:
            self._silent.append(job)
        self._look_everywhere(name)
        return job

    def _choose(self) -> tuple[Flow[J], str] | None:
        """Return whose turn it is: which flow's, and which host's in it."""
        light = 2 * (self._held_by_heavy + 1) > self.budget.total
        best: tuple[int, int, int] | None = None
        chosen: tuple[Flow[J], str] | None = None
        for flow in self._flows:
            if not flow.count or flow.full:
                continue
            while (entry := flow.first(light=light)) is not None and not self._look(flow, entry[-1]):
                pass
            if entry is not None:
                place = entry[0], flow.turn, entry[3]
                if best is None or place < best:
                    best, chosen = place, (flow, entry[-1])
        return chosen

    def _pop_refused(self) -> ScheduledJob[J] | None:
        """Return a job of a host that is given up: those that can be done come first."""
        flow = next((flow for flow in self._flows if flow.dead and not flow.full), None)
        if flow is None or len(self._refused) >= MOST_REFUSED:
            return None
        name = next(iter(flow.dead))
        final = self.hosts.get(name).final
        job = flow.pop(name)
        job.refused = final
        self._refused.add(job)
        return job

    # --- hosts

    def _look(self, flow: Flow[J], name: str) -> bool:
        """Show or hide *name* in *flow*; return whether it may be asked now, and keeps its place."""
        if name not in flow.ready:
            return False
        host, now = self.hosts.get(name), self.clock()
        if host.state == "dead" and not self.hosts.revive(name, now):
            flow.dead.add(name)
            flow.hide(name)
            return False
        if name in self._lent:
            flow.hide(name)
            return False
        opens, held = host.opens(), self.budget.held(name)
        if opens > now:
            flow.hide(name)
            if opens < math.inf:
                heapq.heappush(self._opening, (opens, name))
            return False
        if self.budget.may_take(name) and held < host.window and not self._is_enough(flow, name, held):
            return flow.show(name, host, held)
        flow.hide(name)
        flow.open.add(name)
        return False

    def _is_enough(self, flow: Flow[J], name: str, held: int) -> bool:
        """Whether *name* must leave connections to hosts that may come in sight any moment."""
        enough = flow.eager and held >= max(1, self.budget.total // 2)
        if enough:
            self._capped.add(name)
        return enough

    def _look_everywhere(self, name: str) -> None:
        for flow in self._flows:
            if name in flow.ready:
                self._look(flow, name)

    def _freed(self, name: str) -> None:
        if not self.budget.held(name):
            self._heavy.discard(name)
        self._look_everywhere(name)
        self.wake()

    def _host_changed(self, name: str) -> None:
        host = self.hosts.get(name)
        if host.proven:
            for job in self._lent.pop(name, []):
                job.connected = True
                self.budget.retake(name)
        if not host.heavy:
            self._heavy.discard(name)
        self._look_everywhere(name)
        self.wake()

    def _splits_now(self, name: str) -> bool:
        """Whether a file of *name* may have one more connection."""
        host = self.hosts.get(name)
        return host.state == "open" and self.budget.held(name) < host.window and not self.hosts.wait

    def in_sight(self) -> None:
        """Let hosts take the connections that they had to leave: a run has read ahead as far as it will."""
        capped, self._capped = self._capped, set()
        for name in capped:
            self._look_everywhere(name)
        self.wake()

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
        self._refused.discard(job)
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

    # --- connections of silent hosts

    def _lend(self, now: float) -> None:
        """Let hosts that wait use the connections that others hold which have never answered.

        Nothing comes over those. When a host does answer, its job has a connection again, one too many for a
        moment.
        """
        while self._is_lending and self._silent[0].since + SILENCE <= now:
            job = self._silent.popleft()
            if job.connected and not self.hosts.get(job.host).proven:
                self._lent.setdefault(job.host, []).append(job)
                self.disconnect(job)

    @property
    def _is_lending(self) -> bool:
        """Whether the connection of a silent host would be of use to another one."""
        while self._silent and not self._silent[0].connected:
            self._silent.popleft()
        lent = sum(map(len, self._lent.values()))
        full = self.budget.used >= self.budget.total and lent < MOST_LENT
        return full and bool(self._silent) and any(flow.has_light and not flow.full for flow in self._flows)

    def _return(self, job: ScheduledJob[J], name: str) -> None:
        """Note that *job* ends, which may have lent its connection."""
        lent = self._lent.get(name)
        if lent and job in lent:
            lent.remove(job)
            if not lent:
                del self._lent[name]
                self._look_everywhere(name)

    # --- waits

    def _end_waits(self) -> None:
        now = self.clock()
        for run in self._runs:
            run.end_waits(now)
        while self._opening and self._opening[0][0] <= now:
            self._look_everywhere(heapq.heappop(self._opening)[1])
        self._lend(now)

    def _watch(self) -> None:
        """See to it that jobs start when waits end."""
        times = [run.due for run in self._runs]
        if self._opening:
            times.append(self._opening[0][0])
        if self._is_lending:
            times.append(self._silent[0].since + SILENCE)
        due = min(times, default=math.inf)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if due < math.inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, due - self.clock()), self.wake)
