"""Downloader: builds the parts of the package from settings and runs jobs through them."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeAlias

from .. import _naming
from .._arguments import URL, AnyPath, check_media_type, path, text
from .._connections import Budget
from .._digests import ChecksumPolicy, Manifest
from .._disk import Parts, require_usable
from .._errors import FetchError, UsageError
from .._events import Event, Observer, Warned
from .._hosts import Hosts
from .._http import HttpClient
from .._models import Job, Preview, Result
from .._settings import Disk, Settings
from .._templates import TREE, NameTemplate
from .._throttle import Bucket
from .._transfer import RangeRefusals, RunContext, Warnings, preview
from .blocking import LoopThread, call, iterate, refuse_in_loop
from .history import History
from .intake import Intake, QueuedJob, QueueItem, QueueItems, intake, iterable, no_job
from .observers import checked
from .refresh import Refresh, Refresher
from .results import Results
from .session import Adapt, Session
from .streams import Stream, StreamSink
from .targets import MAX_MEMORY, directed, job_of

if TYPE_CHECKING:
    import httpx

__all__ = ["Downloader"]

Hooks: TypeAlias = Mapping[str, list[Callable[..., Any]]]


class Downloader:
    """Downloads any number of jobs; an async context manager that owns its connections and threads.

    ::

        async with fetchq.Downloader(jobs=8, dir="data") as downloader:
            async for result in downloader.run(urls):
                print(result.path, result.error)
            result = await downloader.fetch(url)

    One Downloader can be shared by all coroutines of an event loop: its bounds on connections and its rate are
    for all of them together. Two Downloaders share no state. A job of :meth:`run` that fails has a result with
    its ``error``; :meth:`fetch` raises it.

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
    :param store_required: a store that cannot be used raises :class:`StoreError` with the first job; else the
        run goes on without it, after a warning. One that fails later never ends a run.
    :param base_url: joined with jobs whose URL is relative.
    :param manifest: checksums, found by file name, for jobs without one of their own.
    :param refresh: called as ``refresh(job, error)`` where a job would fail with 401, 403, 404 or 410; returns
        a new URL of the same bytes, or a :class:`Job` with ``url`` and ``headers``, or None; may be ``async``.
        The download goes on where it is, once length and an overlap show that the bytes are the same.
    :param stdout: binary stream for a job with ``out="-"``; default: the process's standard output.
    :raises UsageError: on construction for invalid settings, on entering for ones that cannot be applied.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        dir: AnyPath | None = None,
        jobs: int | None = None,
        connections: int | None = None,
        client: httpx.AsyncClient | None = None,
        auth: httpx.Auth | tuple[str, str] | None = None,
        event_hooks: Hooks | None = None,
        observers: Sequence[Observer] = (),
        store: AnyPath | None = None,
        store_required: bool = True,
        base_url: str | URL | None = None,
        manifest: Manifest | None = None,
        stdout: BinaryIO | None = None,
        refresh: Refresh | None = None,
    ) -> None:
        settings = Settings() if settings is None else settings
        if not isinstance(settings, Settings):
            raise UsageError("settings must be a fetchq.Settings.")
        disk, queue, network = settings.disk, settings.queue, settings.network
        if isinstance(auth, tuple):
            network, auth = replace(network, user=auth), None
        self.settings = replace(
            settings,
            network=network,
            disk=replace(
                disk,
                dir=_expanded(disk.dir if dir is None else dir, "dir"),
                temp_dir=None if disk.temp_dir is None else _expanded(disk.temp_dir, "temp_dir"),
            ),
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
        self._observers = checked(observers)
        self._store_path = None if store is None else _expanded(store, "store")
        self._store_required = store_required
        self._base_url = None if base_url is None else text(base_url, name="base_url")
        disk = self.settings.disk
        if manifest is not None and not isinstance(manifest, Manifest):
            raise UsageError("manifest must be a fetchq.Manifest.")
        self._checksums = ChecksumPolicy(manifest, disk.require_checksum, disk.allow_unlisted)
        self._stdout = stdout
        self._template = _template(disk)
        self._refresh = None if refresh is None else Refresher(refresh)
        self._session: Session | None = None
        self._depth = 0
        self._thread: LoopThread | None = None
        self._opening = threading.Lock()

    async def __aenter__(self) -> Self:
        self._opened()
        self._depth += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth <= 0:
            await self.aclose()

    def __enter__(self) -> Self:
        refuse_in_loop("`with` would block the running event loop: use `async with fetchq.Downloader(...)`.")
        with self._opening:
            thread = self._thread or LoopThread()
            try:
                call(self.__aenter__(), thread.loop)
            except BaseException:
                if self._thread is None:
                    thread.close()
                raise
            self._thread = thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opening:
            thread, session = self._thread, self._session
            if session is not None and session.process != os.getpid():
                # The thread stayed behind in the process that this one was forked from.
                self._thread = self._session = thread = None
            if thread is not None:
                try:
                    call(self.__aexit__(kind, error, trace), thread.loop)
                finally:
                    if self._session is None:
                        self._thread = None
                        thread.close()

    async def aclose(self) -> None:
        """Stop what runs, save it, and close connections, threads and files.

        ``async with`` does so at its end, the outermost one where several are nested. May be called again, also
        while it is under way. The Downloader can be used again afterwards.
        """
        session = self._left_open()
        if session is not None:
            try:
                await session.close()
            finally:
                if self._session is session:
                    self._session, self._depth = None, 0

    def run(self, jobs: QueueItems) -> Results:
        """Download *jobs*, and return an async iterator over their results, in the order of ending.

        The iterable is read lazily, a bounded number of jobs ahead. A :class:`FetchError` in it stands for a
        line that could not be read, and becomes a failed result. Several runs may be under way at once, beside
        any number of :meth:`fetch`: they take turns for the same connections.

        :raises UsageError: the Downloader belongs to another event loop, or *jobs* is no iterable.
        """
        return self._run(jobs, lambda same: same)

    def _run(self, jobs: QueueItems, context: Adapt) -> Results:
        known = len(jobs) if isinstance(jobs, Sized) else None
        return Results(self._opened().run(self._intake(jobs), known, context))

    async def fetch(self, url: str | URL | Job, out: AnyPath | BinaryIO | None = None) -> Result:
        """Download one URL; any number of coroutines may call it at once, and share the connections.

        Cancelling it, as ``asyncio.timeout`` does, saves what is there.

        :param url: http or https, or a whole :class:`Job`.
        :param out: target path, or a binary file object, which is written from where it stands and not closed;
            default: the job's, or a name from the response.
        :returns: the result, with the file's path.
        :raises FetchError: the download failed.
        """
        job, context = directed(url, out)
        return (await self._opened().fetch(job, context)).unwrap()

    async def fetch_bytes(self, url: str | URL | Job, *, max_size: int = MAX_MEMORY) -> bytes:
        """Download one URL into memory.

        :param max_size: most bytes, after decoding.
        :raises TooLargeError: there are more.
        :raises FetchError: the download failed.
        """
        memory = BytesIO()
        job, context = directed(url, memory)

        def bounded(run: RunContext) -> RunContext:
            disk = replace(run.settings.disk, max_size=max_size, sha256=False)
            return context(run)._replace(settings=replace(run.settings, disk=disk))

        (await self._opened().fetch(job, bounded)).unwrap()
        return memory.getvalue()

    def stream(self, url: str | URL | Job) -> Stream:
        """Return the bytes of one URL as an async context manager; nothing goes to the disk.

        ::

            async with downloader.stream(url) as chunks:
                print(chunks.resource.length)
                async for chunk in chunks:
                    ...

        A connection of the Downloader is in use until it is left; a caller who is slow makes the server wait.
        """
        job = replace(job_of(url), out="-")

        async def fetch(sink: StreamSink) -> Result:
            return await self._opened().fetch(
                job, lambda run: run._replace(pipe=lambda: sink, answered=sink.answered)
            )

        return Stream(fetch, overlap=self.settings.disk.overlap)

    def run_sync(self, jobs: Iterable[QueueItem]) -> Iterator[Result]:
        """Do as :meth:`run` for a program without an event loop, and iterate over the results in this thread.

        ::

            with fetchq.Downloader(dir="data") as downloader:
                for result in downloader.run_sync(urls):
                    print(result.path, result.error)

        Works in any thread, in several at once, and for a Downloader that is open in another thread's loop.
        *jobs* is read in the calling thread; downloads go on while that does something else.

        :raises UsageError: an event loop is running in this thread, or the Downloader is not open.
        """
        loop = self._loop_of("run_sync", "async for result in downloader.run(jobs)")
        return iterate(self.run, iterable(jobs), loop)

    def fetch_sync(self, url: str | URL | Job, out: AnyPath | BinaryIO | None = None) -> Result:
        """Do as :meth:`fetch` for a program without an event loop; works where :meth:`run_sync` does.

        :raises UsageError: an event loop is running in this thread, or the Downloader is not open.
        :raises FetchError: the download failed.
        """
        loop = self._loop_of("fetch_sync", "await downloader.fetch(url)")
        return call(self.fetch(url, out), loop)

    def _loop_of(self, name: str, instead: str) -> asyncio.AbstractEventLoop:
        refuse_in_loop(f"{name}() would block the running event loop: use `{instead}`.")
        if self._session is None:
            raise UsageError(f"{name}() works inside `with fetchq.Downloader(...) as downloader:` only.")
        if self._session.process != os.getpid():
            raise UsageError("This Downloader was opened in another process: open one in each.")
        return self._session.loop

    def stop(self) -> None:
        """Stop everything under way: partial files and their journals are saved, and the iterators end.

        :meth:`fetch` raises :class:`StoppedError`. The Downloader stays open. May be called in any thread.
        """
        session = self._session
        if session is None:
            return
        try:
            here = asyncio.get_running_loop() is session.loop
        except RuntimeError:
            here = False
        if here:
            session.stop()
        else:
            session.loop.call_soon_threadsafe(session.stop)

    async def preview(self, jobs: QueueItems) -> AsyncIterator[Preview]:
        """Yield what :meth:`run` would do about each job, in the order of the queue; nothing is written."""
        context = self._opened().context
        items = self._intake(jobs)
        async for item in items if isinstance(items, AsyncIterator) else _async(items):
            if isinstance(item, FetchError):
                yield Preview(no_job(item), "", "failed", error=item)
            else:
                yield await preview(item.job, context, item.placement)

    def _intake(self, jobs: QueueItems) -> Intake:
        duplicates = self.settings.queue.allow_duplicates
        resolved = self._opened().http.resolved
        return intake(jobs, self._template, allow_duplicates=duplicates, resolved=resolved)

    def _opened(self) -> Session:
        """Return the session, which is opened when it is first asked for."""
        loop = _running_loop()
        session = self._left_open()
        if session is None:
            session = self._session = self._open(loop)
        if session.loop is not loop:
            raise UsageError("This Downloader was opened in another event loop: use one for each loop.")
        if not session.is_open:
            raise UsageError("This Downloader is being closed.")
        return session

    def _left_open(self) -> Session | None:
        """Return the session, unless its event loop has ended: then the garbage collector has it."""
        if self._session is not None and self._session.loop.is_closed():
            self._session, self._depth = None, 0
            words = "A fetchq.Downloader was not closed before its event loop ended."
            warnings.warn(words, ResourceWarning, stacklevel=3)
        return self._session

    def _open(self, loop: asyncio.AbstractEventLoop) -> Session:
        settings = self.settings
        http = HttpClient(
            settings.network,
            connections=settings.queue.jobs,
            client=self._client,
            auth=self._auth,
            event_hooks=self._hooks,
            base_url=self._base_url,
        )

        def observe(event: Event) -> None:
            session.observe(event)

        def warn(message: str) -> None:
            """Announce it to the observers, in the loop's thread."""
            loop.call_soon_threadsafe(observe, Warned(0, message))

        parts = Parts(settings.disk, threads=_threads(settings), warn=warn)
        history = self._history(observe, parts.look_again)
        context = RunContext(
            fetcher=http,
            parts=parts,
            settings=settings,
            checksums=self._checksums,
            budget=Budget(settings.queue.jobs, settings.queue.per_host or settings.queue.jobs),
            hosts=Hosts(settings.retry, wait=settings.queue.wait, random=random.random),
            bucket=None if settings.queue.limit_rate is None else Bucket(settings.queue.limit_rate),
            owned=history.owned,
            observe=observe,
            warnings=Warnings(observe),
            refusals=RangeRefusals(),
            pipe=lambda: parts.pipe(self._standard_output()),
            clock=loop.time,
            now=time.time,
            sleep=asyncio.sleep,
            random=random.random,
            refresh=self._refresh,
        )
        session = Session(http, context, history, self._observers)
        return session

    def _history(self, observe: Observer, orphaned: Callable[[], None]) -> History:
        def warn(message: str) -> None:
            observe(Warned(0, message))

        return History(
            self._store_path,
            self.settings.disk.dir,
            self._checksums,
            required=self._store_required,
            secrets=self.settings.queue.store_secrets,
            trusted=self.settings.queue.trust_store,
            warn=warn,
            orphaned=orphaned,
        )

    def _standard_output(self) -> BinaryIO:
        # sys.stdout may be None, or without a buffer, as in notebooks.
        stream = self._stdout or getattr(sys.stdout, "buffer", None)
        if stream is None:
            raise UsageError("Standard output takes no bytes here: give the target a name.")
        return stream


def _expanded(given: AnyPath, name: str) -> Path:
    """Return a path with the home folder in place of a leading ``~``."""
    return Path(_naming.home_expanded(str(path(given, name=name))))


def _check(settings: Settings) -> None:
    queue = settings.queue
    for name in ("jobs", "connections", "per_host"):
        number = getattr(queue, name)
        if number is not None and number < 1:
            raise UsageError(f"{name} must be at least 1, not {number}.")
    if queue.limit_rate is not None and queue.limit_rate <= 0:
        raise UsageError("limit_rate must be more than 0; leave it out for no limit.")
    if settings.network.expect_type is not None:
        check_media_type(settings.network.expect_type, name="--expect-type")
    # The current folder is not needed for standard output, or for targets elsewhere.
    if settings.disk.dir != Path():
        require_usable(settings.disk.dir)
    if settings.disk.temp_dir is not None:
        require_usable(settings.disk.temp_dir)


def _template(disk: Disk) -> NameTemplate | None:
    if disk.tree and disk.name_template is not None:
        raise UsageError("--tree is a name template of its own: give it or --name-template.")
    text = TREE if disk.tree else disk.name_template
    return None if text is None else NameTemplate(text)


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


async def _async(items: Iterator[QueuedJob | FetchError]) -> AsyncIterator[QueuedJob | FetchError]:
    for item in items:
        yield item
