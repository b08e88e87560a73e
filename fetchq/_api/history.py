"""Results of earlier runs, so that finished jobs are skipped."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import _errors
from .._digests import ChecksumPolicy, matches
from .._disk import Existing
from .._errors import FetchError, StoreError, UsageError
from .._models import Job, Result, redact
from .._transfer import Kept
from .intake import QueuedJob
from .recent import trim

if TYPE_CHECKING:
    from .._store import FinishedFiles, FinishedJob, Record, Store

__all__ = ["History"]

# Files of skipped jobs that are remembered, about 3 MB: jobs with one target stand near each other in a queue.
MOST_SKIPPED = 20_000


class History:
    """The store of a Downloader, created with the first job: an empty queue leaves no file.

    :param path: of the store; None for no store.
    :param directory: of the run.
    :param checksums: what is known of the files besides their jobs' own checksums.
    :param secrets: keep what may be a secret of jobs that failed.
    :param trusted: finished files are unchanged, without a look at each.
    :param required: whether a store that cannot be used is an error.
    :param warn: called with a sentence in the event loop's thread.
    :param orphaned: called before a job is done that a run has begun which died beside this one.
    """

    def __init__(
        self,
        path: Path | None,
        directory: Path,
        checksums: ChecksumPolicy,
        *,
        required: bool,
        secrets: bool,
        trusted: bool,
        warn: Callable[[str], None],
        orphaned: Callable[[], None],
    ) -> None:
        self._path = path
        self._dir = directory
        # The same from the root, once there is a store: the current folder may be gone, and not be needed.
        self._prefix = ""
        self._checksums = checksums
        self._required = required
        self._secrets = secrets
        self._trusted = trusted
        self._warn = warn
        self._orphaned = orphaned
        self._store: Store | None = None
        # Its files: results may be looked at after it was closed.
        self._files: FinishedFiles | None = None
        self._opening: asyncio.Task[None] | None = None
        self._closed = False
        # Files of jobs that were skipped in this run, as the store has them, with these jobs' keys.
        self._skipped: dict[bytes, str] = {}

    async def done(self, jobs: Sequence[tuple[str, Job]]) -> list[FinishedJob | None]:
        """Return what is on record of each job that an earlier run finished and whose file is unchanged.

        Of the others None. :meth:`result` makes a result of it.

        :param jobs: with their keys.
        :raises StoreError: the store is required and cannot be opened.
        """
        store = await self._opened()
        if store is None:
            return [None] * len(jobs)
        found = store.all_done(jobs)
        if not self._trusted:
            found = await _unchanged(store, found)
        for at, (finished, (key, job)) in enumerate(zip(found, jobs, strict=True)):
            if finished is None:
                continue
            if job.out == "-" or not self._matches(store, finished, job):
                found[at] = None
            elif finished.path is not None:
                self._skipped[finished.path] = key
        trim(self._skipped, MOST_SKIPPED)
        return found

    def result(self, finished: FinishedJob, job: Job) -> Result:
        """Return the ``skipped`` result of a job that :meth:`done` has found."""
        return Result(
            job,
            "skipped",
            self._path_of(finished),
            finished.size,
            digests=finished.decoded(),
            reason="done in an earlier run",
            etag=finished.etag,
            last_modified=finished.last_modified,
        )

    def _path_of(self, record: Record | FinishedJob) -> Path | None:
        """Return the path of a job's file as the run that made it did: below the directory as it was given."""
        file = None if self._files is None else self._files.text_of(record)
        if file is None or not file.startswith(self._prefix):
            return None if file is None else Path(file)
        return self._dir / file[len(self._prefix) :]

    async def begin(
        self, key: str, job: Job, *, since: float, update: bool, again: bool
    ) -> Result | Literal["held"] | None:
        """Take a job in hand that :meth:`done` has not found; return None if it is to be done.

        Else return ``held`` if another run of the same queue has it just now, or how that has ended it
        meanwhile: a ``skipped`` result, or a failure, which is this run's too and not tried twice.

        :param key: the job's, in the store.
        :param since: when the run has begun, in seconds since the epoch.
        :param update: do it though it was finished before that.
        :param again: this run may have finished it since :meth:`done` has looked.
        :raises StoreError: the store is required and cannot be opened.
        """
        store = await self._opened()
        if store is None:
            return None
        if not await store.claim(key):
            return "held"
        if not (again or store.leases.shared or store.missed):
            return None
        record = store.find(key)
        if record is None or (update and record.finished_at < since):
            return None
        [finished] = await self.done([(key, job)])
        found = None if finished is None else self.result(finished, job)
        by = record.run.get("by", store.leases.owner)
        if record.status == "failed" and by != store.leases.owner and record.finished_at >= since:
            found = Result(job, "failed", error=_failure(record))
        if found is not None:
            self.release(key)
        return found

    async def kept(self, key: str, job: Job) -> Kept | None:
        """Return the unchanged file of a job that an earlier run has finished; None where there is none."""
        store = await self._opened()
        record = store.done(key, job) if store is not None else None
        if store is None or record is None or not store.files.still_there(record):
            return None
        reason = "not modified on the server"
        return Kept(
            Existing(self._path_of(record) or Path(), reason, record.size), (record.etag, record.last_modified)
        )

    def owned(self, path: Path, key: str, url: str) -> bool | None:
        """Whether *path* was finished for the job of this *key* and *url*, or for another job.

        None where that is not on record.

        A row of the same URL with another query says nothing: signed URLs differ each time that they are made.
        Called from any thread.
        """
        if self._store is None:
            return None
        skipped = self._skipped.get(os.fsencode(self._store.files.relative(os.path.abspath(path))))
        if skipped is not None:
            return skipped == key
        row = self._store.owner(path)
        if row is None:
            return None
        owner, finished = row
        same_url = finished.partition("?")[0] == redact(url).partition("?")[0]
        if key != owner and same_url:
            return None
        # An id keeps its row when its URL changes.
        return key == owner and same_url

    def record(self, result: Result, queued: QueuedJob) -> Result:
        """Record how a job ended; return that with the digests on record of a file that is unchanged.

        Usage errors are not recorded: they concern no file.
        """
        if self._store is None or isinstance(result.error, UsageError):
            self.release(queued.key)
            return result
        run = self._run_of(result, queued) if result.error is not None else {}
        known = self._store.record(queued.key, result, **run)
        return result if known is None else replace(result, digests=known.digests)

    def _run_of(self, result: Result, queued: QueuedJob) -> dict[str, Any]:
        """Return what else it takes to ask for a failed job again, and to know why it failed."""
        folder, name, ordinal, copy = queued.placement
        base = os.path.abspath(self._dir)
        facts = {
            "status": getattr(result.error, "status", 0),
            # The directory of a store may be moved, with all in it.
            "dir": "" if self._path is None or base == os.path.dirname(os.path.abspath(self._path)) else base,
            "folder": "" if folder is None else str(folder),
            "name": name,
            "ordinal": ordinal,
            "copy": copy,
            "outside": not queued.job.confined,
        }
        return {name: value for name, value in facts.items() if value}

    def release(self, key: str) -> None:
        """Let go of a job that did not end: another run may do it."""
        if self._store is not None:
            self._store.leases.release([key])

    @property
    def shared(self) -> bool:
        """Whether other runs use the store too."""
        return self._store is not None and self._store.leases.shared

    @property
    def is_open(self) -> bool:
        """Whether the store is open, so that a look-up makes none."""
        return self._store is not None

    def __bool__(self) -> bool:
        return self._path is not None

    async def save(self) -> None:
        """Wait until all records are on disk, or a warning says that they are not."""
        if self._store is not None:
            await self._store.flush()

    async def aclose(self) -> None:
        """Save, and close the store; other runs, and a lock, are not waited for any more."""
        self._closed = True
        if self._opening is not None:
            if self._store is not None:
                self._opening.cancel()
            await asyncio.wait({self._opening})
            self._opening = None
        store, self._store = self._store, None
        if store is not None:
            await store.aclose()

    def _matches(self, store: Store, finished: FinishedJob, job: Job) -> bool:
        """Whether the recorded digests include the job's checksum, which may have been added since that run."""
        if job.checksum is None and self._checksums.is_empty:
            return True
        name = (store.files.text_of(finished) or "").rpartition("/")[2]
        try:
            asked = self._checksums.find(job, name)
            if asked is None:
                self._checksums.unknown(name)
        except UsageError:
            return False  # the job's own attempt says why
        return asked is None or matches(asked, finished.decoded())

    async def _opened(self) -> Store | None:
        """Return the store, opened when it is first asked for; None where there is none."""
        if self._store is None:
            if self._opening is None:
                self._opening = asyncio.create_task(self._open())
            await asyncio.shield(self._opening)
        return self._store

    async def _open(self) -> None:
        if self._path is None:
            return
        from .._store import Store  # a run without a store does not import sqlite3

        try:
            self._store = await asyncio.to_thread(Store, self._path, secrets=self._secrets, warn=self._warn)
            self._use(self._store)
            if not self._closed:
                await self._store.join()
        except StoreError as error:
            if self._required:
                raise
            self._warn(f"{error.reason}: this run goes on without a store.")

    def _use(self, store: Store) -> None:
        self._files = store.files
        self._prefix = os.path.join(os.path.abspath(self._dir), "")
        store.leases.orphaned = self._orphaned


def _failure(record: Record) -> FetchError:
    """Return the error of a job that another run has had, by its class and words."""
    classes = {name.removesuffix("Error").lower(): getattr(_errors, name) for name in _errors.__all__}
    status = {"status": record.run["status"]} if "status" in record.run else {}
    error: FetchError = classes[record.kind](record.error, **status)
    error.url = record.url
    return error


async def _unchanged(store: Store, found: Sequence[FinishedJob | None]) -> list[FinishedJob | None]:
    """Return those of *found* whose files are unchanged, None for the others.

    Several are looked at in a thread, since a disk may take milliseconds for each.
    """

    def look() -> list[FinishedJob | None]:
        there = store.files.still_there
        return [finished if finished is not None and there(finished) else None for finished in found]

    several = len(found) - found.count(None) > 1
    return await asyncio.to_thread(look) if several else look()
