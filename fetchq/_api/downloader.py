"""Downloader: builds the parts of the package from settings and runs jobs through them."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Sized,
)
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeAlias

from .. import _digests, _naming
from .._connections import Budget
from .._digests import ChecksumPolicy, Manifest
from .._disk import Parts
from .._errors import DiskFullError, FetchError, UsageError
from .._events import JobFinished, JobStarted, Observer, RunStarted, Warned
from .._http import HttpClient
from .._models import Again, Job, Preview, Result, redact
from .._outages import Outages
from .._scheduler import ScheduledJob, Scheduler
from .._settings import Settings
from .._throttle import Bucket
from .._transfer import RangeRefusals, RunContext, Transfer, Warnings, place, preview
from .history import History
from .observers import Observers
from .totals import Totals

if TYPE_CHECKING:
    import httpx

__all__ = ["Downloader"]

# One entry of a queue: a job, a URL, or the error of a line that could not be read.
QueueItem: TypeAlias = "str | Job | FetchError"
QueueItems: TypeAlias = "Iterable[QueueItem] | AsyncIterable[QueueItem]"
Hooks: TypeAlias = Mapping[str, list[Callable[..., Any]]]


class Downloader:
    """Downloads any number of jobs; an async context manager that owns its connections and threads.

    ::

        async with fetchq.Downloader(jobs=8, dir="data") as downloader:
            async for result in downloader.run(urls):
                print(result.path, result.error)

    Two Downloaders share no state. A job that fails has a result with its ``error``; only misuse of this class
    raises.

    :param settings: all settings; the keywords after it replace single fields.
    :param dir: directory for the files; created if missing; ``~`` is the home folder.
    :param jobs: connections in all.
    :param connections: connections per file.
    :param client: an ``httpx.AsyncClient`` to send requests with; it is not closed.
    :param auth: any ``httpx.Auth``, or a (user, password) pair; sent to each job's own origin only.
    :param event_hooks: httpx's event hooks, ``{"request": [...], "response": [...]}``, all ``async def``.
    :param observers: called with every event, in the event loop's thread. An exception of one cancels the run
        and comes out of :meth:`run`; parts are kept.
    :param store: SQLite file of the jobs that ended, so that a later run skips finished ones; None for no file.
    :param base_url: joined with jobs whose URL is relative.
    :param manifest: checksums, found by file name, for jobs without one of their own.
    :param stdout: binary stream for a job with ``out="-"``; default: the process's standard output.
    :raises UsageError: on construction for invalid settings, on entering for ones that cannot be applied.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        dir: str | Path | None = None,
        jobs: int | None = None,
        connections: int | None = None,
        client: httpx.AsyncClient | None = None,
        auth: httpx.Auth | tuple[str, str] | None = None,
        event_hooks: Hooks | None = None,
        observers: Sequence[Observer] = (),
        store: str | Path | None = None,
        base_url: str | None = None,
        manifest: Manifest | None = None,
        stdout: BinaryIO | None = None,
    ) -> None:
        settings = settings or Settings()
        disk, queue, network = settings.disk, settings.queue, settings.network
        if isinstance(auth, tuple):
            network, auth = replace(network, user=auth), None
        self.settings = replace(
            settings,
            network=network,
            disk=replace(disk, dir=_expanded(disk.dir if dir is None else dir)),
            queue=replace(
                queue,
                jobs=queue.jobs if jobs is None else jobs,
                connections=queue.connections if connections is None else connections,
            ),
        )
        _check(self.settings)
        self._client = client
        self._auth = auth
        self._hooks = event_hooks
        self._observe = Observers(observers, self.stop)
        self._store_path = None if store is None else _expanded(store)
        self._base_url = base_url
        disk = self.settings.disk
        self._checksums = ChecksumPolicy(manifest, disk.require_checksum, disk.allow_unlisted)
        self._stdout = stdout
        self._session: _Session | None = None
        self._scheduler: Scheduler[Job | FetchError, Result] | None = None
        self._warnings: tuple[str, ...] = ()

    async def __aenter__(self) -> Self:
        loop = _running_loop()
        settings = self.settings
        budget = Budget(settings.queue.jobs, settings.queue.per_host or settings.queue.jobs)
        http = HttpClient(
            settings.network,
            connections=settings.queue.jobs,
            client=self._client,
            auth=self._auth,
            event_hooks=self._hooks,
            base_url=self._base_url,
        )

        def warn(message: str) -> None:
            """Announce it to the observers, in the loop's thread."""
            loop.call_soon_threadsafe(self._observe, Warned(0, message))

        history = History(self._store_path, self._checksums)
        context = RunContext(
            fetcher=http,
            parts=Parts(settings.disk, threads=_threads(settings), warn=warn),
            settings=settings,
            checksums=self._checksums,
            budget=budget,
            outages=Outages(),
            bucket=None if settings.queue.limit_rate is None else Bucket(settings.queue.limit_rate),
            owned=history.owned,
            observe=self._observe,
            warnings=Warnings(self._observe),
            refusals=RangeRefusals(),
            # sys.stdout may be None, or without a buffer, as in notebooks.
            stdout=self._stdout or getattr(sys.stdout, "buffer", None),
            clock=loop.time,
            now=time.time,
            sleep=asyncio.sleep,
            random=random.random,
        )
        self._warnings = http.warnings
        self._session = _Session(http, context, history, set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def run(self, jobs: QueueItems) -> AsyncGenerator[Result, None]:
        """Download *jobs* and yield each result, in the order of ending.

        The iterable is read lazily, a bounded number of jobs ahead. A :class:`FetchError` in it stands for a
        line that could not be read, and becomes a failed result.

        :raises UsageError: the Downloader was not entered, or another run of it has not ended.
        """
        session = self._entered()
        if self._scheduler is not None:
            raise UsageError("This Downloader is running already: use a second one for a second run.")
        self._scheduler = scheduler = Scheduler(
            self._fetch,
            self._describe,
            session.context.budget,
            self.settings.queue,
            clock=session.context.clock,
        )
        self._observe.begin()
        totals = Totals(session.context.clock())
        known = len(jobs) if isinstance(jobs, Sized) else None
        self._observe(RunStarted(known, str(self.settings.disk.dir)))
        for message in self._warnings:
            self._observe(Warned(0, message))
        try:
            async with aclosing(scheduler.run(_items(jobs))) as results:
                async for result in results:
                    totals.add(result)
                    yield result
        finally:
            self._scheduler = None
            totals.received += sum(transfer.received for transfer in session.transfers)
            try:
                await session.save()
            finally:
                # The run has ended even if the store could not be written.
                self._observe(
                    totals.finished(session.context.clock(), left=scheduler.left, stopped=scheduler.stopped)
                )
                self._observe.end()

    def stop(self) -> None:
        """Stop the current run: partial files and their journals are saved, then the iterator ends."""
        if self._scheduler is not None:
            self._scheduler.stop()

    async def preview(self, jobs: QueueItems) -> AsyncIterator[Preview]:
        """Yield what :meth:`run` would do about each job, in the order of the queue; nothing is written."""
        context = self._entered().context
        items = _items(jobs)
        async for item in items if isinstance(items, AsyncIterator) else _async(items):
            if isinstance(item, FetchError):
                yield Preview(Job(""), "", "failed", error=item)
            else:
                yield await preview(item, context)

    # --- one job

    async def _fetch(self, scheduled: ScheduledJob[Job | FetchError]) -> Result | Again:
        session, job, number = self._entered(), scheduled.job, scheduled.number
        if isinstance(job, FetchError):
            return self._ended(number, Result(Job(""), "failed", error=job))
        transfer = scheduled.again.state if scheduled.again is not None else None
        key = ""
        if not isinstance(transfer, Transfer):
            key = job.key if session.history and session.is_valid(job) else ""
            earlier = session.history.find(key, job) if key else None
            if earlier is not None:
                return self._ended(number, earlier)
            transfer = Transfer(job, number, session.context)
            session.transfers.add(transfer)
            self._observe(JobStarted(number, job.id, redact(job.url), job.source))
        outcome = await transfer.run(scheduled.received)
        if isinstance(outcome, Again):
            return outcome
        session.transfers.discard(transfer)
        if isinstance(outcome.error, DiskFullError):
            session.context.parts.note_full()
        session.history.record(outcome, key)
        return self._ended(number, outcome, transfer.name)

    def _ended(self, number: int, result: Result, name: str = "") -> Result:
        shown = name if result.path is None else result.path.name
        self._observe(JobFinished(number, _naming.printable(shown), result))
        return result

    def _describe(self, job: Job | FetchError) -> tuple[str, int]:
        if isinstance(job, FetchError):
            return "", 0
        try:
            return self._entered().http.host_of(job), job.priority
        except UsageError:
            # The job's attempt will raise the same error and report it.
            return "", job.priority

    def _entered(self) -> _Session:
        if self._session is None:
            raise UsageError("A Downloader works inside `async with Downloader(...) as downloader:` only.")
        return self._session


@dataclass(slots=True)
class _Session:
    """The resources of an entered Downloader.

    :param transfers: the transfers of jobs that have not ended; each holds the lock on its part.
    """

    http: HttpClient
    context: RunContext
    history: History
    transfers: set[Transfer]

    def is_valid(self, job: Job) -> bool:
        """Whether the fields of *job* can be used; if not, its attempt reports the reason."""
        try:
            self.http.check(job)
            place(job, self.context.settings.disk.dir)
            if job.checksum is not None:
                _digests.parse(job.checksum)
        except UsageError:
            return False
        return True

    async def save(self) -> None:
        """Close the transfers of jobs that did not end, and write the records of those that did."""
        for transfer in list(self.transfers):
            await transfer.close()
        self.transfers.clear()
        await self.history.save()

    async def close(self) -> None:
        await self.save()
        await self.http.aclose()
        await self.context.parts.aclose()
        await self.history.aclose()


def _expanded(path: str | Path) -> Path:
    """Return *path* with the home folder in place of a leading ``~``."""
    return Path(_naming.home_expanded(os.fspath(path)))


def _check(settings: Settings) -> None:
    queue = settings.queue
    for name in ("jobs", "connections", "per_host"):
        number = getattr(queue, name)
        if number is not None and number < 1:
            raise UsageError(f"{name} must be at least 1, not {number}.")
    if queue.limit_rate is not None and queue.limit_rate <= 0:
        raise UsageError("limit_rate must be more than 0; leave it out for no limit.")
    if settings.disk.dir.exists() and not settings.disk.dir.is_dir():
        raise UsageError(f"{settings.disk.dir} is a file: give a directory.")


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "fetchq runs in an event loop of asyncio's: under trio or gevent, call download() in a thread."
        ) from None


def _threads(settings: Settings) -> int:
    # One for each connection that may write at the same time; more than eight only wait for the disk.
    return min(8, settings.queue.jobs + 1)


def _job(item: QueueItem) -> Job | FetchError:
    return Job(item) if isinstance(item, str) else item


def _items(jobs: QueueItems) -> AsyncIterator[Job | FetchError] | Iterator[Job | FetchError]:
    if isinstance(jobs, AsyncIterable):
        return (_job(item) async for item in jobs)
    if isinstance(jobs, str):
        raise UsageError("run() takes many jobs: put the one URL into a list.")
    return (_job(item) for item in jobs)


async def _async(items: Iterator[Job | FetchError]) -> AsyncIterator[Job | FetchError]:
    for item in items:
        yield item
