"""The one place that wires the parts together."""

from __future__ import annotations

import asyncio
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
from .._disk import Parts
from .._errors import DiskFullError, FetchError, UsageError
from .._events import Event, JobFinished, Observer, RunStarted
from .._http import HttpClient
from .._models import Again, Job, Preview, Result
from .._scheduler import Scheduler, Work
from .._settings import Settings
from .._throttle import Bucket
from .._transfer import RunContext, Transfer, preview
from .history import History
from .totals import Totals

if TYPE_CHECKING:
    import httpx

__all__ = ["Downloader"]

# A line of a queue: a job, its URL alone, or the reason why it could not be read.
Item: TypeAlias = "str | Job | FetchError"
Items: TypeAlias = "Iterable[Item] | AsyncIterable[Item]"
Hooks: TypeAlias = Mapping[str, list[Callable[..., Any]]]


class Downloader:
    """Fetches any number of jobs; an async context manager that owns its connections and threads.

    ::

        async with fetchq.Downloader(jobs=8, dir="data") as downloader:
            async for result in downloader.run(urls):
                print(result.path, result.error)

    Two Downloaders share nothing. A job that fails gives a result with its ``error``; only a caller's
    mistake raises.

    :param settings: all that can be set; the keywords after it replace single fields.
    :param dir: directory where files go; created when missing.
    :param jobs: connections in all.
    :param connections: connections per file.
    :param client: an ``httpx.AsyncClient`` of the caller's, used as it is and left open.
    :param auth: any ``httpx.Auth``, or a (user, password) pair, for each job's own origin.
    :param event_hooks: httpx's event hooks, ``{"request": [...], "response": [...]}``, all ``async def``.
    :param observers: callables that are handed every event, in the loop's thread.
    :param store: file that remembers finished jobs between runs; None remembers nothing.
    :param base_url: joined with jobs whose URL is relative.
    :param stdout: where a job with ``out="-"`` goes; default: the process's own.
    :raises UsageError: on entering, for settings that cannot work.
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
        stdout: BinaryIO | None = None,
    ) -> None:
        settings = settings or Settings()
        disk, queue, network = settings.disk, settings.queue, settings.network
        if isinstance(auth, tuple):
            network, auth = replace(network, user=auth), None
        self.settings = replace(
            settings,
            network=network,
            disk=disk if dir is None else replace(disk, dir=Path(dir)),
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
        self._observers = tuple(observers)
        self._store_path = None if store is None else Path(store)
        self._base_url = base_url
        self._stdout = stdout
        self._wired: _Wired | None = None
        self._scheduler: Scheduler[Job | FetchError, Result] | None = None

    async def __aenter__(self) -> Self:
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
        tools = RunContext(
            http=http,
            parts=Parts(settings.disk, threads=_threads(settings)),
            settings=settings,
            budget=budget,
            bucket=None if settings.queue.limit_rate is None else Bucket(settings.queue.limit_rate),
            observe=self._observe,
            # Closed, or replaced by a stream of text alone, as notebooks do.
            stdout=self._stdout or getattr(sys.stdout, "buffer", None),
            clock=asyncio.get_running_loop().time,
            now=time.time,
            sleep=asyncio.sleep,
            random=random.random,
        )
        self._wired = _Wired(tools, History(self._store_path), set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wired, self._wired = self._wired, None
        if wired is not None:
            await wired.close()

    async def run(self, jobs: Items) -> AsyncGenerator[Result, None]:
        """Fetch *jobs* and give each result as it ends, in the order of ending.

        The iterable is read lazily, a bounded number of jobs ahead. A :class:`FetchError` in it is a line
        that could not be read, and becomes a failed result.

        :raises UsageError: a run of this Downloader is under way.
        """
        wired = self._at_work()
        if self._scheduler is not None:
            raise UsageError("This Downloader is running already: use a second one for a second run.")
        self._scheduler = scheduler = Scheduler(
            self._fetch,
            self._describe,
            wired.tools.budget,
            self.settings.queue,
            fatal=lambda result: isinstance(result.error, DiskFullError),
            clock=wired.tools.clock,
        )
        sums = Totals(wired.tools.clock())
        known = len(jobs) if isinstance(jobs, Sized) else None
        self._observe(RunStarted(known, str(self.settings.disk.dir)))
        try:
            async with aclosing(scheduler.run(_items(jobs))) as results:
                async for result in results:
                    sums.add(result)
                    yield result
        finally:
            self._scheduler = None
            sums.received += sum(transfer.received for transfer in wired.open)
            try:
                await wired.save()
            finally:
                # A store that cannot be written must not cost the report as well.
                self._observe(sums.finished(wired.tools.clock(), scheduler))

    def stop(self) -> None:
        """End the run that is under way: parts and journals are saved, the iterator ends soon after."""
        if self._scheduler is not None:
            self._scheduler.stop()

    async def preview(self, jobs: Items) -> AsyncIterator[Preview]:
        """Say what :meth:`run` would do about each job, in the order of the queue; nothing is written."""
        tools = self._at_work().tools
        items = _items(jobs)
        async for item in items if isinstance(items, AsyncIterator) else _slowly(items):
            if isinstance(item, FetchError):
                yield Preview(Job(""), "", "failed", error=item)
            else:
                yield await preview(item, tools)

    # --- one job

    async def _fetch(self, work: Work[Job | FetchError]) -> Result | Again:
        wired = self._at_work()
        if isinstance(work.job, FetchError):
            return self._ended(work.number, Result(Job(""), "failed", error=work.job), "")
        transfer = work.again.state if work.again is not None else None
        key = ""  # asked for once, and only of a job without mistakes
        if not isinstance(transfer, Transfer):
            key = work.job.key if wired.memory and wired.sound(work.job) else ""
            remembered = wired.memory.recall(key, work.job) if key else None
            if remembered is not None:
                return self._ended(work.number, remembered, "")
            transfer = Transfer(work.job, work.number, wired.tools)
            wired.open.add(transfer)
        outcome = await transfer.run(work.received)
        if isinstance(outcome, Again):
            return outcome
        wired.open.discard(transfer)
        wired.memory.keep(outcome, key)
        return self._ended(work.number, outcome, transfer.name)

    def _ended(self, number: int, result: Result, name: str) -> Result:
        shown = name or (result.path.name if result.path is not None else "")
        self._observe(JobFinished(number, _naming.printable(shown), result))
        return result

    def _describe(self, job: Job | FetchError) -> tuple[str, int]:
        if isinstance(job, FetchError):
            return "", 0
        try:
            return self._at_work().tools.http.host_of(job), job.priority
        except UsageError:
            # Its own attempt will say what is wrong with it.
            return "", job.priority

    def _observe(self, event: Event) -> None:
        for observer in self._observers:
            observer(event)

    def _at_work(self) -> _Wired:
        if self._wired is None:
            raise UsageError("A Downloader works inside `async with Downloader(...) as downloader:` only.")
        return self._wired


@dataclass(slots=True)
class _Wired:
    """What a Downloader holds while it is entered."""

    tools: RunContext
    memory: History
    open: set[Transfer]

    def sound(self, job: Job) -> bool:
        """Tell whether *job* is free of mistakes; if it is not, its own attempt says what is wrong with it."""
        try:
            self.tools.http.check(job)
            _naming.place(Path(), None if job.out == "-" else job.out)
            if job.checksum is not None:
                _digests.parse(job.checksum)
        except UsageError:
            return False
        return True

    async def save(self) -> None:
        """Let go of the parts of jobs that did not end, and write down those that did."""
        for transfer in list(self.open):
            await transfer.close()
        self.open.clear()
        await self.memory.save()

    async def close(self) -> None:
        await self.save()
        await self.tools.http.aclose()
        await self.tools.parts.aclose()
        await self.memory.aclose()


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


def _threads(settings: Settings) -> int:
    # One for each connection that may write at the same moment; past eight they only queue for the disk.
    return min(8, settings.queue.jobs + 1)


def _job(item: Item) -> Job | FetchError:
    return Job(item) if isinstance(item, str) else item


def _items(jobs: Items) -> AsyncIterator[Job | FetchError] | Iterator[Job | FetchError]:
    if isinstance(jobs, AsyncIterable):
        return (_job(item) async for item in jobs)
    if isinstance(jobs, str):
        raise UsageError("run() takes many jobs: put the one URL into a list.")
    return (_job(item) for item in jobs)


async def _slowly(items: Iterator[Job | FetchError]) -> AsyncIterator[Job | FetchError]:
    for item in items:
        yield item
