"""What an open Downloader shares among all its runs and single downloads."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Literal, TypeAlias, TypeVar

from .. import _digests
from .._disk import Overflow
from .._errors import DiskFullError, FetchError, LockedError, StoppedError, UsageError, forget_frames
from .._events import JobStarted, Observer, QueueWaiting, RunStarted, Warned
from .._http import HttpClient
from .._models import Again, Job, Result, redact
from .._scheduler import Found, ScheduledJob, ScheduledRun, Scheduler, Spill
from .._transfer import RunContext, Transfer, place
from .equals import EqualJobs
from .history import History
from .intake import Intake, QueuedJob, alone, no_job
from .observers import Observers
from .packing import pack, unpack
from .settled import Settled, SettledJob, finished_event
from .totals import Totals

__all__ = ["Adapt", "QueueRun", "Session"]

T = TypeVar("T")
# Returns a context with something changed.
Adapt: TypeAlias = Callable[[RunContext], RunContext]

# Seconds after which a job looks again whether another run has let go of it.
HELD_WAIT = 0.5
# The same for one whose part another process has, though no run says that it has the job in hand: to find that
# out may have cost a request. A run that lives says so within the time for which it is believed to.
LOCKED_WAIT, LOCKED_PATIENCE = 2.0, 30.0


class Session:
    """The resources of an open Downloader.

    :param observers: the caller's; each run and each single download calls them for itself.
    :param observe: calls them with what concerns no single run.
    :ivar loop: the event loop that everything here belongs to, in the process of that id.
    """

    def __init__(
        self, http: HttpClient, context: RunContext, history: History, observers: Sequence[Observer]
    ) -> None:
        self.http = http
        self.context = context
        self.history = history
        self.observers = observers
        self.observe = Observers(observers, self.stop)
        self.loop = asyncio.get_running_loop()
        self.process = os.getpid()
        self.scheduler = Scheduler(
            self._describe, context.budget, context.settings.queue, context.hosts, clock=context.clock
        )
        self._runs: set[QueueRun] = set()
        self._workers: set[_Worker] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._warnings: Sequence[str] = http.warnings

    def stop(self) -> None:
        """Stop all runs and single downloads; partial files and their journals are saved."""
        # One that has only announced its start has not joined the scheduler yet.
        for run in self._runs:
            run.stop()
        self.scheduler.stop()

    def run(self, items: Intake, known: int | None, context: Adapt = lambda same: same) -> QueueRun:
        """Return a run of *items*, which begins when its first result is asked for.

        :param known: their number, if it is known.
        :param context: returns the context with what is different for this run.
        """
        return QueueRun(self, items, known, context)

    async def fetch(self, job: Job, context: Adapt = lambda same: same) -> Result:
        """Download one job.

        :param context: returns the context with what is different for this job.
        :raises StoppedError: :meth:`stop` was called.
        """
        await self.begin()

        def stop() -> None:
            task.cancel()

        observe = Observers(self.observers, stop)
        worker = _Worker(self, context(self.context._replace(observe=observe)), observe, looked=False)
        resolved = self.http.resolved
        task = self.scheduler.start(alone(job if resolved is None else resolved(job)), worker.attempt)
        self._workers.add(worker)
        self.announce(observe)
        try:
            result = await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            observe.end()
            self.observe.end()
            raise worker.stopped(job) from None
        finally:
            await worker.close()
            self._workers.discard(worker)
        observe.end()
        return result

    async def begin(self) -> None:
        """Wait until the runs that were abandoned have let go of their parts."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        if not (self._runs or self._workers):
            self.observe.begin()

    def announce(self, observe: Observer) -> None:
        """Announce once what is odd about the settings."""
        messages, self._warnings = self._warnings, ()
        for message in messages:
            observe(Warned(0, message))

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin *work* as a task that :meth:`close` waits for."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def join(self, run: QueueRun) -> None:
        """Note a run that has begun."""
        self._runs.add(run)

    def leave(self, run: QueueRun) -> None:
        """Forget a run that has ended."""
        self._runs.discard(run)

    @property
    def is_open(self) -> bool:
        """Whether :meth:`close` has not been called."""
        return self._closing is None

    async def close(self) -> None:
        """Stop what runs, save it, and let go of connections, threads and files; may be called again.

        A caller that is cancelled only stops waiting.
        """
        if self._closing is None:
            self._closing = self.loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        # Each step is made, whatever becomes of the others.
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self.history.aclose)
            closing.push_async_callback(self.context.parts.aclose)
            closing.push_async_callback(self.http.aclose)
            await self.scheduler.aclose()
            await asyncio.gather(*(run.close() for run in list(self._runs)), return_exceptions=True)
            for worker in list(self._workers):
                await worker.close()
            await self.begin()

    def is_valid(self, job: Job) -> bool:
        """Whether the fields of *job* can be used; if not, its attempt reports the reason."""
        if (job.is_plain or _is_plain(job)) and self.http.names_server(job):
            return True  # as nearly all lines of a long list; the rest of the URL costs much more
        try:
            self.http.check(job)
            place(job, self.context.settings.disk.dir)
            if job.checksum is not None:
                _digests.parse(job.checksum)
        except UsageError:
            return False
        return True

    def _describe(self, queued: QueuedJob | FetchError) -> tuple[str, int]:
        if isinstance(queued, FetchError):
            return "", 0
        job = queued.job
        try:
            return self.http.host_of(job), job.priority
        except UsageError:
            # The job's attempt will raise the same error and report it.
            return "", job.priority


def _is_plain(job: Job) -> bool:
    """Whether the job asks for a URL, and for nothing that may be wrong besides."""
    named = job.out is None and job.dir is None and job.checksum is None
    body = job.json is not None or job.content is not None or job.form or job.files
    more = job.headers or job.cookies or job.mirrors or job.params or job.proxy or job.tls or job.bearer
    return named and job.method == "GET" and not (body or more)


class _Worker:
    """Makes the attempts at the jobs of one run, or at a single one.

    :param looked: each job was looked up by :meth:`known` before its first attempt.
    :ivar resume: called with the number of a job that waits no longer for the one that it is equal to.
    :ivar transfers: those of jobs that have not ended, with the jobs' keys; each holds the lock on its part.
    """

    def __init__(self, session: Session, context: RunContext, observe: Observers, *, looked: bool) -> None:
        self._session = session
        self._context = context
        self._observe = observe
        self._looked = looked
        self._since = context.now()
        self._equals = EqualJobs()
        self.resume: Callable[[int], None] = lambda _: None
        self.transfers: dict[Transfer, str] = {}
        # When which jobs first met a part that another process has, by their numbers.
        self._locked: dict[int, float] = {}

    async def known(
        self, numbered: Sequence[tuple[int, QueuedJob | FetchError]]
    ) -> Found[QueuedJob | FetchError, Result | Settled]:
        """Sort jobs into those that an earlier run has done, and the others."""
        history = self._session.history
        if not history or self._context.settings.queue.update:
            return Found(numbered)
        sought = [self._sought(queued) for _, queued in numbered]
        # A queue without a job that can be tried leaves no store.
        keys = [(queued.key, queued.job) for queued in sought if queued is not None]
        found = iter(await history.done(keys) if keys else ())
        rest: list[tuple[int, QueuedJob | FetchError]] = []
        settled: list[SettledJob] = []
        for each, queued in zip(numbered, sought, strict=True):
            finished = next(found) if queued is not None else None
            if queued is None:
                rest.append(each)
            elif finished is None or (rest and self._equals.knows(queued.equal)):
                rest.append(each)
                self._equals.expect(queued.equal)
            else:
                settled.append((each[0], queued.job, finished))
        if not settled:
            return Found(rest)
        results = Settled(settled, history.result)
        self._observe.settled(results)
        return Found(rest, results, len(results))

    def _sought(self, queued: QueuedJob | FetchError) -> QueuedJob | None:
        """Return a job of which the store may know; None for one that its attempt must end."""
        if isinstance(queued, FetchError) or self._equals.knows(queued.equal):
            return None
        # Of a plain job that cannot be asked for there is no record: to look it up costs less than to tell.
        plainly = queued.job.is_plain and self._session.history.is_open
        return queued if plainly or self._session.is_valid(queued.job) else None

    async def attempt(self, scheduled: ScheduledJob[QueuedJob | FetchError]) -> Result | Again:
        """Make one attempt at a job."""
        session, queued, number = self._session, scheduled.job, scheduled.number
        if isinstance(queued, FetchError):
            return self._ended(number, Result(no_job(queued), "failed", error=queued))
        transfer = scheduled.again.state if scheduled.again is not None else None
        if not isinstance(transfer, Transfer):
            found = await self._found(queued, number)
            if found is not None:
                return found
            transfer = await self._started(queued, number)
        if scheduled.refused is not None:
            outcome = await transfer.refuse(scheduled.refused)
        else:
            outcome = await transfer.run(scheduled.received)
        if isinstance(outcome, Again):
            return outcome
        self.transfers.pop(transfer, None)
        if isinstance(outcome.error, LockedError) and session.history.shared:
            now = session.context.clock()
            if now - self._locked.setdefault(number, now) < LOCKED_PATIENCE:
                # The other run had begun it before it could write that down.
                session.history.release(queued.key)
                return Again(LOCKED_WAIT, None)
        if isinstance(outcome.error, DiskFullError):
            session.context.parts.note_full()
        outcome = session.history.record(outcome, queued)
        self._end_equals(queued, outcome)
        return self._ended(number, outcome, transfer.name)

    async def _found(self, queued: QueuedJob, number: int) -> Result | Again | None:
        """Return what is known of a job without asking for it: of an equal one, or from an earlier run."""
        session, job = self._session, queued.job
        state = self._equals.begin("" if job.out == "-" else queued.equal, number)
        if state == "runs":
            return Again(math.inf, None)
        if state == "ended":
            return self._ended(number, self._equals.result(queued.equal, job))
        if not session.history or not session.is_valid(job):
            return None
        earlier: Result | Literal["held"] | None = None
        update = session.context.settings.queue.update
        if not (self._looked or update):
            [finished] = await session.history.done([(queued.key, job)])
            earlier = None if finished is None else session.history.result(finished, job)
        if earlier is None:
            earlier = await session.history.begin(
                queued.key, job, since=self._since, update=update, again=self._equals.forgot
            )
        if earlier is None:
            return None
        if earlier == "held":
            return Again(HELD_WAIT, None)
        self._end_equals(queued, earlier)
        return self._ended(number, earlier)

    def _end_equals(self, queued: QueuedJob, result: Result) -> None:
        for number in self._equals.end(queued.equal, result):
            self.resume(number)

    async def _started(self, queued: QueuedJob, number: int) -> Transfer:
        job = queued.job
        history, update = self._session.history, self._context.settings.queue.update
        earlier = await history.kept(queued.key, job) if history and update and job.out != "-" else None
        transfer = Transfer(job, number, self._context, queued.key, queued.placement, earlier)
        self.transfers[transfer] = queued.key
        self._observe(JobStarted(number, job.id, redact(job.url), job.source))
        return transfer

    def _ended(self, number: int, result: Result, name: str = "") -> Result:
        forget_frames(result.error)
        self._observe(finished_event(number, result, name))
        return result

    def stopped(self, job: Job) -> StoppedError:
        """Return the error of *job*, whose attempts have been stopped."""
        error = StoppedError("Stopped before the download ended; what is there is kept.")
        error.url = redact(job.url)
        for transfer in self.transfers:
            transfer.note_request(error)
        return error

    def forget_failures(self) -> None:
        """Ask again for jobs that are equal to failed ones, if they come from now on."""
        self._equals.forget_failures()

    @property
    def received(self) -> int:
        """Body bytes that came for jobs that have not ended."""
        return sum(transfer.received for transfer in self.transfers)

    async def close(self) -> None:
        """Let go of the parts of jobs that did not end; what is in them stays."""
        while self.transfers:
            transfer, key = self.transfers.popitem()
            await transfer.close()
            self._session.history.release(key)


class QueueRun:
    """One run of a queue."""

    def __init__(
        self,
        session: Session,
        items: Intake,
        known: int | None,
        context: Adapt,
    ) -> None:
        self._session = session
        self._known = known
        self._observe = Observers(session.observers, self.stop)
        own = context(session.context._replace(observe=self._observe))
        self._worker = _Worker(session, own, self._observe, looked=True)
        aside = Overflow(session.context.settings.disk.temp_dir)
        self._run: ScheduledRun[QueuedJob | FetchError, Result | Settled] = session.scheduler.run(
            items, self._worker.attempt, self._worker.known, self._tell_dry, Spill(aside, pack, unpack)
        )
        self._worker.resume = self._run.resume
        self._totals = Totals(0.0)
        self._begun = False
        self._closing: asyncio.Task[None] | None = None

    def _tell_dry(self) -> None:
        # A line that somebody appends after this asks for what failed before.
        self._worker.forget_failures()
        self._observe(QueueWaiting(self._totals.ended))

    def stop(self) -> None:
        """Start no more jobs, and end."""
        self._run.stop()

    async def next(self) -> Result | Settled | None:
        """Return the next result, or those of several jobs that needed no attempt; None after the last."""
        try:
            if not self._begun and self._closing is None:
                await self._begin()
            result = None if self._closing is not None else await self._run.next()
        except BaseException:
            await self.close()
            raise
        if result is None:
            await self.close()
        elif isinstance(result, Settled):
            self._totals.add_skipped(len(result), result.size)
        else:
            self._totals.add(result)
            if result.error is not None:
                self._stop_at_failures()
        return result

    def _stop_at_failures(self) -> None:
        """End the run at the failure that is one too many."""
        most = self._session.context.settings.queue.max_failures
        if self._totals.failed == most:
            self._observe(Warned(0, f"Stopping: {most} failed, as many as --max-failures allows."))
            self.stop()

    async def _begin(self) -> None:
        session = self._session
        await session.begin()
        self._begun = True
        session.join(self)
        self._totals = Totals(session.context.clock())
        self._observe(RunStarted(self._known, str(session.context.settings.disk.dir)))
        session.announce(self._observe)

    async def close(self) -> None:
        """Stop the run if it has not ended, and save what is there.

        :raises Exception: what an observer raised.
        """
        if self._closing is None:
            self._closing = self._session.spawn(self._close())
        await asyncio.shield(self._closing)

    def abandon(self) -> None:
        """Close a run whose results are not wanted any more; may be called in any thread."""
        loop = self._session.loop
        if not self._begun or self._closing is not None or loop.is_closed():
            return
        try:
            here = asyncio.get_running_loop() is loop
        except RuntimeError:
            here = False
        if here:
            self._closing = self._session.spawn(self._close())
        else:
            loop.call_soon_threadsafe(self.abandon)

    async def _close(self) -> None:
        session = self._session
        await self._run.cancel()
        if not self._begun:
            return
        self._totals.received += self._worker.received
        try:
            await self._worker.close()
            await session.history.save()
        finally:
            session.leave(self)
            now = session.context.clock()
            self._observe(self._totals.finished(now, left=self._run.left, stopped=self._run.stopped))
            self._observe.end()
            session.observe.end()
