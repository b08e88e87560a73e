"""What earlier runs have done, as far as a job of this run may rest on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .. import _digests
from .._errors import UsageError
from .._models import Job, Result

if TYPE_CHECKING:
    from .._store import Record, Store

__all__ = ["History"]


class History:
    """The store of a run, made when the first job comes: a queue without any leaves nothing behind.

    :param path: of the store; None remembers nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._store: Store | None = None

    def recall(self, key: str, job: Job) -> Result | None:
        """Give the result of an earlier run, where its file is still as it was left.

        :param key: the job's.
        :raises DiskError: the store cannot be opened or read.
        """
        store = self._opened()
        record = store.done(key) if store is not None and job.out != "-" else None
        if store is None or record is None or not _vouches(record, job) or not store.still_there(record):
            return None
        reason = "done in an earlier run"
        return Result(job, "skipped", store.path_of(record), record.size, digests=record.digests, reason=reason)

    def keep(self, result: Result, key: str = "") -> None:
        """Remember how a job ended, unless it was a mistake: that says nothing of any file.

        :param key: the job's, where it is known.
        """
        if self._store is not None and not isinstance(result.error, UsageError):
            self._store.record(key or result.job.key, result)

    def __bool__(self) -> bool:
        return self._path is not None

    async def save(self) -> None:
        """Wait until everything is on disk."""
        if self._store is not None:
            await self._store.flush()

    async def aclose(self) -> None:
        """Save, and close the store."""
        store, self._store = self._store, None
        if store is not None:
            await store.aclose()

    def _opened(self) -> Store | None:
        if self._store is None and self._path is not None:
            from .._store import Store  # a run that remembers nothing needs no sqlite3

            self._store = Store(self._path)
        return self._store


def _vouches(record: Record, job: Job) -> bool:
    """Tell whether what is on record is all that *job* asks for: its checksum may have come later."""
    if job.checksum is None:
        return True
    asked = _digests.parse(job.checksum)
    return record.digests.get(asked.algorithm) == asked.hex
