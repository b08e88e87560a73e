"""One queue: its jobs are read ahead, worked on, and their results handed out."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from .._errors import FetchError
from .._models import Again
from .flow import Flow, ScheduledJob
from .spill import Spill, surplus

if TYPE_CHECKING:
    from .scheduler import Scheduler

__all__ = ["CANCEL_TIMEOUT", "Found", "Known", "ScheduledRun"]

J = TypeVar("J")
R = TypeVar("R")


class Found(NamedTuple, Generic[J, R]):
    """Numbered jobs that were looked up.

    :param rest: those that need an attempt.
    :param result: of the others together; None where there are none.
    :param jobs: their number.
    """

    rest: Sequence[tuple[int, J]]
    result: R | None = None
    jobs: int = 0


Known: TypeAlias = Callable[[Sequence[tuple[int, J]]], Awaitable[Found[J, R]]]

# Jobs read from a plain iterator before other tasks of the event loop run: few at first, so that the first one
# starts at once, then more each time. A slow iterator, which holds the event loop up, ends them after so many
# seconds.
FIRST_BATCH, BATCH = 8, 500
BATCH_SECONDS = 0.05
# Seconds in which a queue is read before hosts take all connections, and so many more while lines come quickly.
READING = 1.0
# Lines of a batch, and so within the seconds above, that are many.
MANY = 100
# Seconds without a job to do until the caller is told.
DRY = 1.0
# Maximum of results that the caller has not consumed; beyond it no job of the run is started.
MAX_RESULTS = 1000
# Seconds for cancelled jobs to save their state, which takes milliseconds unless the disk hangs.
CANCEL_TIMEOUT = 3.0


class ScheduledRun(Flow[J], Generic[J, R]):
    """The jobs of one queue, and their results in the order of ending."""

    def __init__(
        self,
        scheduler: Scheduler[J],
        jobs: AsyncIterator[J] | Iterator[J],
        fetch: Callable[[ScheduledJob[J]], Awaitable[R | Again]],
        find: Known[J, R] | None,
        dry: Callable[[], None],
        spill: Spill[J] | None,
    ) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._jobs = jobs
        self._fetch = fetch
        self._find = find
        self._dry = dry
        # The ends of long lines; None where all jobs stay in memory.
        self._spill = spill
        # Jobs that had been read when no line could be shortened.
        self._unspilled = 0
        self._read_so_far = 0
        # Jobs that wait for their next attempt: a heap ordered by the time of that attempt.
        self.waiting: list[tuple[float, int, ScheduledJob[J]]] = []
        # Jobs that wait for :meth:`resume`, by number. They count as read ahead, and keep none from starting.
        self._parked: dict[int, ScheduledJob[J]] = {}
        self._running = 0
        self._cancelled = 0
        # With the number of jobs whose results they are, and the sum of these numbers.
        self._results: deque[tuple[R, int]] = deque()
        self._held = 0
        self._read_all = False
        self._stopped = False
        self._most_at_once = max(1, scheduler.queue.lookahead // 2)
        self._size = min(FIRST_BATCH, self._most_at_once)
        # Jobs that were read and have not been sorted into those that need an attempt and those that do not.
        self._unsorted = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        # It has been read as far as it is read ahead, or long enough.
        self._far = False
        self._reading_until = 0.0
        self._state: Literal["new", "begun", "ended"] = "new"

    @property
    def left(self) -> int:
        """Number of jobs that were read and have no result."""
        aside = 0 if self._spill is None else self._spill.count
        return self._unsorted + self._ahead + aside + len(self.waiting) + self._running + self._cancelled

    @property
    def stopped(self) -> bool:
        """Whether the run ended before all its jobs did."""
        return self._stopped or self._error is not None

    @property
    def full(self) -> bool:
        """Whether too many jobs wait for their next attempt, or too many results for the caller."""
        return self._stopped or len(self.waiting) >= self._scheduler.queue.waiting or self._held >= MAX_RESULTS

    @property
    def eager(self) -> bool:  # type: ignore[override] # of other flows it is a constant
        """Whether the queue is being read, so that more hosts may come in sight any moment."""
        return not self._far and self._scheduler.clock() < self._reading_until

    @property
    def due(self) -> float:
        """When something is to be done without anything else happening; infinity for never."""
        reading = math.inf if self._far else self._reading_until
        return min(reading, self.waiting[0][0] if self.waiting else math.inf)

    def stop(self) -> None:
        """Start no more jobs; those that run are cancelled when the next result is asked for."""
        self._stopped = True
        self._changed.set()

    async def next(self) -> R | None:
        """Return the next result; None after the last.

        An exception of ``fetch`` or of the iterator of jobs is a bug: it ends the run and is raised here.
        """
        if self._state == "new":
            self._state = "begun"
            self._expect_hosts()
            self._scheduler.join(self)
            self._spawn(self._read())
        if not self._results or self.stopped:
            await self._wait_for_result()
        if not self._results:
            return None
        was_full = self._held >= MAX_RESULTS
        result, jobs = self._results.popleft()
        self._held -= jobs
        if was_full:
            self._scheduler.wake()
        self._room.set()
        return result

    async def _wait_for_result(self) -> None:
        while self._busy and not self._results:
            self._changed.clear()
            await (self._changed.wait() if self.left else self._wait_for_queue())
        if not self._busy:
            await self.cancel()
            if self._error is not None:
                raise self._error

    async def _wait_for_queue(self) -> None:
        """Wait for a result while there is no job, and tell the caller if that takes long."""
        try:
            async with asyncio.timeout(DRY):
                await self._changed.wait()
        except TimeoutError:
            if not self.left and not self._read_all:
                self._dry()
            await self._changed.wait()

    @property
    def _busy(self) -> bool:
        """Whether more results are to come."""
        return self._error is None and not self._stopped and not (self._read_all and not self.left)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._error = self._error or task.exception()
        self._changed.set()

    async def cancel(self) -> None:
        """Cancel all jobs and wait until they have saved their state, at most ``CANCEL_TIMEOUT``."""
        if self._state == "begun" and self._busy:
            self._stopped = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CANCEL_TIMEOUT)
        if self._state == "begun":
            self._scheduler.leave(self)
        if self._spill is not None:
            self._spill.close()
        self._state = "ended"

    # --- reading

    async def _read(self) -> None:
        """Read the jobs, as far ahead as the setting ``lookahead`` allows."""
        try:
            if isinstance(self._jobs, AsyncIterator):
                async for job in self._jobs:
                    await self._sort([job])
                    await self._wait_for_room(1)
            else:
                while batch := self._batch(self._jobs):
                    if len(batch) >= MANY:
                        self._expect_hosts()
                    await self._sort(batch)
                    await asyncio.sleep(0)
                    self._size = min(2 * self._size, BATCH, self._most_at_once)
                    await self._wait_for_room(self._size)
        finally:
            self._read_all = True
            self._in_sight()
            self._changed.set()

    def _batch(self, jobs: Iterator[J]) -> list[J]:
        """Return the next jobs; none at the end."""
        batch: list[J] = []
        clock = self._scheduler.clock
        until = clock() + BATCH_SECONDS
        for job in islice(jobs, self._size):
            batch.append(job)
            if clock() > until:
                break
        return batch

    async def _sort(self, jobs: Sequence[J]) -> None:
        """Hand out the results of *jobs* that need no attempt, and put the others in line."""
        numbers = self._scheduler.numbers
        numbered = [*zip(islice(numbers, len(jobs)), jobs, strict=True)]
        self._read_so_far += len(jobs)
        self._unsorted = len(numbered)
        found = Found[J, R](numbered) if self._find is None else await self._find(numbered)
        self._unsorted = 0
        if found.result is not None:
            self._hand_out(found.result, found.jobs)
        for number, job in found.rest:
            self._add(number, job)

    def _hand_out(self, result: R, jobs: int = 1) -> None:
        self._results.append((result, jobs))
        self._held += jobs
        self._changed.set()

    def _expect_hosts(self) -> None:
        """Let hosts leave connections for those that may come in sight a moment longer: many lines come."""
        self._reading_until = self._scheduler.clock() + READING

    def _in_sight(self) -> None:
        if not self._far:
            self._far = True
            self._scheduler.in_sight()

    @property
    def _ahead(self) -> int:
        return self.count + len(self._parked)

    async def _wait_for_room(self, jobs: int) -> None:
        """Wait until so many jobs more may be read."""
        lookahead = self._scheduler.queue.lookahead
        while (far := self._ahead + jobs > lookahead) or self._held + jobs > MAX_RESULTS:
            if far and self._shorten():
                self._far = False
                self._expect_hosts()
                await asyncio.sleep(0)
                continue
            if far:
                self._in_sight()
            self._room.clear()
            await self._room.wait()

    def _add(self, number: int, job: J) -> None:
        scheduler = self._scheduler
        host, priority = scheduler.describe(job)
        scheduler.push(self, ScheduledJob(-priority, number, job, host, self.start))
        if scheduler.running < scheduler.budget.total:
            scheduler.wake()

    def _removed(self, host: str) -> None:
        if self._spill is not None and self._spill.count:
            self._refill(host, self._spill)
        super()._removed(host)
        self._room.set()

    # --- lines that are too long for memory

    def _shorten(self) -> bool:
        """Move the end of the longest line out of memory, if a host that is not in sight would start now."""
        spill = self._spill
        if spill is None or self._read_so_far == self._unspilled or not self._scheduler.wants_hosts:
            return False
        found = surplus(self.ready)
        kept: set[int] = set()
        if found is not None:
            host, number = found
            line = self.ready[host]
            line.sort()
            end = line[-number:]
            # What an attempt has left in memory, as the lock of a part, stays.
            kept = spill.put(host, [(rank, at, job.job) for rank, at, job in end if job.again is None])
            line[-number:] = [entry for entry in end if entry[1] not in kept]
            self.count -= len(kept)
        if not kept:
            self._unspilled = self._read_so_far
        return bool(kept)

    def _refill(self, host: str, spill: Spill[J]) -> None:
        """Take back the jobs of *host* whose turn comes."""
        line = self.ready[host]
        try:
            back = spill.due(host, line[0][:2] if line else None)
        except FetchError as error:
            self._error = self._error or error
            self._changed.set()
            return
        for rank, number, job in back:
            heapq.heappush(line, (rank, number, ScheduledJob(rank, number, job, host, self.start)))
        self.count += len(back)

    def look_further(self) -> None:
        """Read on if that may be of use: a host that is not in sight would start now."""
        if self._spill is not None and not self._read_all:
            self._room.set()

    # --- working

    def start(self, job: ScheduledJob[J]) -> None:
        """Begin a task with *job*, which has its connection."""
        self._running += 1
        # A task that is cancelled before its first step never gives anything back.
        self._spawn(self._work(job)).add_done_callback(lambda _: self._scheduler.disconnect(job))

    async def _work(self, job: ScheduledJob[J]) -> None:
        """Make one attempt at *job*, then at the next ready jobs of the run as long as it is its turn."""
        current: ScheduledJob[J] | None = job
        while current is not None:
            try:
                self._ended(current, await self._scheduler.attempt(current, self._fetch))
            except asyncio.CancelledError:
                self._cancelled += 1
                raise
            finally:
                self._running -= 1
            current = None if self._stopped else self._scheduler.next_of(self)
            if current is not None:
                self._running += 1

    def _ended(self, job: ScheduledJob[J], outcome: R | Again) -> None:
        if isinstance(outcome, Again):
            job.take(outcome)
            if outcome.wait == math.inf:
                self._parked[job.number] = job
            elif outcome.in_line:
                self._scheduler.push(self, job)
            else:
                heapq.heappush(self.waiting, (self._scheduler.clock() + outcome.wait, job.number, job))
            self._scheduler.wake()
            return
        self._hand_out(outcome)

    def resume(self, number: int) -> None:
        """Put a job in line whose last attempt asked to wait for this."""
        job = self._parked.pop(number, None)
        if job is not None:
            self._scheduler.push(self, job)
            self._scheduler.wake()
            self._room.set()

    def end_waits(self, now: float) -> None:
        """Move the jobs whose next attempt is due from the waiting to the ready ones."""
        if not self._far and self._reading_until <= now:
            self._in_sight()
        while self.waiting and self.waiting[0][0] <= now:
            self._scheduler.push(self, heapq.heappop(self.waiting)[2])
