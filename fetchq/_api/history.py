"""Results of earlier runs, so that finished jobs are skipped."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from .._digests import ChecksumPolicy, matches
from .._errors import UsageError
from .._models import Job, Result, redact

if TYPE_CHECKING:
    from .._store import Record, Store

__all__ = ["History"]

# Files of skipped jobs that are remembered, about 3 MB: jobs with one target stand near each other in a queue.
MOST_SKIPPED = 20_000


class History:
    """The store of a Downloader, created with the first job: an empty queue leaves no file.

    :param path: of the store; None for no store.
    :param checksums: what is known of the files besides their jobs' own checksums.
    """

    def __init__(self, path: Path | None, checksums: ChecksumPolicy) -> None:
        self._path = path
        self._checksums = checksums
        self._store: Store | None = None
        # Files of jobs that were skipped in this run, with these jobs' keys.
        self._skipped: OrderedDict[str, str] = OrderedDict()

    def find(self, key: str, job: Job) -> Result | None:
        """Return a ``skipped`` result if an earlier run finished *job* and its file is unchanged, else None.

        :param key: ``job.key``.
        :raises DiskError: the store cannot be opened or read.
        """
        store = self._open()
        record = store.done(key) if store is not None and job.out != "-" else None
        if store is None or record is None or not store.still_there(record):
            return None
        path = store.path_of(record)
        if not self._matches(record, job, "" if path is None else path.name):
            return None
        reason = "done in an earlier run"
        self._skipped[os.path.abspath(path or "")] = key
        if len(self._skipped) > MOST_SKIPPED:
            self._skipped.popitem(last=False)
        return Result(job, "skipped", path, record.size, digests=record.digests, reason=reason)

    def path(self, key: str) -> Path | None:
        """Return where an earlier run has put the file of a job; None where that is not on record."""
        store = self._open()
        record = store.done(key) if store is not None else None
        return None if store is None or record is None else store.path_of(record)

    def owned(self, path: Path, key: str, url: str) -> bool | None:
        """Whether *path* was finished for the job of this *key* and *url*, or for another job.

        None where that is not on record.

        A row of the same URL with another query says nothing: signed URLs differ each time that they are made.
        Called from any thread.
        """
        if self._store is None:
            return None
        skipped = self._skipped.get(os.path.abspath(path))
        if skipped is not None:
            return skipped == key
        row = self._store.owner(path)
        if row is None:
            return None
        owner, finished = row
        if key != owner and finished.partition("?")[0] == redact(url).partition("?")[0]:
            return None
        return key == owner

    def record(self, result: Result, key: str = "") -> None:
        """Record how a job ended. Usage errors are not recorded: they concern no file.

        :param key: ``result.job.key``, if it was computed already.
        """
        if self._store is not None and not isinstance(result.error, UsageError):
            self._store.record(key or result.job.key, result)

    def __bool__(self) -> bool:
        return self._path is not None

    async def save(self) -> None:
        """Wait until all records are on disk.

        :raises DiskError: some could not be written.
        """
        if self._store is not None:
            await self._store.flush()

    async def aclose(self) -> None:
        """Save, and close the store."""
        store, self._store = self._store, None
        if store is not None:
            await store.aclose()

    def _matches(self, record: Record, job: Job, name: str) -> bool:
        """Whether the recorded digests include the job's checksum, which may have been added since that run."""
        try:
            asked = self._checksums.find(job, name)
            if asked is None:
                self._checksums.unknown(name)
        except UsageError:
            return False  # the job's own attempt says why
        return asked is None or matches(asked, record.digests)

    def _open(self) -> Store | None:
        if self._store is None and self._path is not None:
            from .._store import Store  # a run without a store does not import sqlite3

            self._store = Store(self._path)
        return self._store
