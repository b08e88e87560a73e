"""Records of jobs, looked up in the caller's thread and written by one of its own.

A look-up takes about 10 us. Records are collected and written in batches: a kill loses at most the last half
second of them, mostly much less, whose jobs are then checked with the server again. A store that fails never
fails a job: a warning is given once, and the run goes on without it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from .._errors import StoreError
from .._models import Job, Result, redact
from .database import LOCKED_WAIT, OPEN_TIMEOUT, Database, LockedStoreError, UnwritableStoreError, close
from .files import FinishedFiles
from .leases import Leases
from .records import (
    ROWS_PER_INSERT,
    FinishedJob,
    HostCount,
    Record,
    SqlValues,
    batched,
    finished_of,
    host_count_of,
    insert,
    job_text,
    record_of,
    span_of,
    sql_values,
)
from .schema import CONTESTED, COUNTS, OWNER, SPAN

__all__ = ["Store"]

T = TypeVar("T")
R = TypeVar("R", Record, FinishedJob)

# Commits contend with the transfers for the GIL, so records wait for up to DELAY seconds or BATCH rows (2 MB),
# but no longer than makes writing take one part in SHARE of the time.
BATCH, SHARE = 2000, 50
DELAY, LEAST_DELAY = 0.5, 0.05
# Rows that wait while the disk does not respond, 20 MB at 1 KiB a row; more are an error.
MAX_PENDING = 20_000
# Keys kept in memory, about 3 MB.
MAX_KEYS = 20_000
# Seconds for one attempt to open a store that is locked: a run that is stopped meanwhile waits for it.
OPEN_POLL = 0.5
# Seconds without look-ups after one that met another program's lock: each would block the event loop.
READ_PAUSE = 5.0


class Store:
    """Records of jobs in the SQLite file *path*.

    Opening it waits a short while for another program's lock. One that stays locked is opened as soon as that
    program lets it go.

    :param secrets: keep what may be a secret of jobs that failed.
    :param read_only: only look: nothing is made or changed, and no right to write is needed.
    :param run: for a run, whose options an error may name.
    :param clock: returns seconds since the epoch.
    :param warn: called with a sentence, in the event loop's thread, when a record cannot be read or written.
    :ivar missed: the run has begun while it was locked, and looked jobs up in vain.
    :ivar files: the finished files.
    :raises StoreError: the file cannot be opened, is damaged, or belongs to another program.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        secrets: bool = False,
        read_only: bool = False,
        run: bool = True,
        clock: Callable[[], float] = time.time,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._database = Database(path, run=run and not read_only)
        self.files = FinishedFiles(self._database.directory)
        self._secrets = secrets
        self._read_only = read_only
        self._clock = clock
        self._warn = warn
        self._pending: dict[str, Record] = {}
        self._writing: dict[str, Record] = {}
        self._task: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._delay = min(LEAST_DELAY, DELAY)
        self._broken = False
        # Another program's lock that the last attempt met, and until when no record is looked up for it.
        self._locked: LockedStoreError | None = None
        self._told_locked = False
        self._unread_until = 0.0
        self.missed = False
        # All keys in the database, known while this run is its only writer; then most look-ups need no query.
        self._keys: set[str] | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._owner_reader: sqlite3.Connection | None = None
        self._owner_lock = threading.Lock()
        self.leases = Leases(self._transact, clock, warn)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fetchq-store")
        if read_only:
            self._reader = self._database.read_only()
        else:
            self._open(OPEN_TIMEOUT)

    def _open(self, timeout: float) -> bool:
        """Return whether the store is open; False for one that stays locked."""
        database = self._database
        database.make_folder()
        try:
            self._writer, self._locked = database.patient_writer(timeout), None
        except UnwritableStoreError:
            if not os.path.lexists(database.path):
                raise
            self._reader, self._read_only, self._locked = database.read_only(), True, None
            return True
        except LockedStoreError as error:
            self._locked = error
            return False
        if self._secrets:
            with suppress(OSError):
                database.path.chmod(0o600)
        self._reader = database.reader()
        with suppress(LockedStoreError), database.translated():
            if self._reader.execute("SELECT 1 FROM jobs LIMIT 1").fetchone() is None:
                self._keys = set()
        return True

    async def join(self) -> None:
        """Begin a run, perhaps beside others; a store that was locked when it was opened is waited for."""
        if self._locked is not None:
            self._warn(f"{self._locked.reason}: it is waited for, {LOCKED_WAIT:.0f} seconds at most.")
            loop, deadline = asyncio.get_running_loop(), time.monotonic() + LOCKED_WAIT
            while not await loop.run_in_executor(self._thread, self._open, OPEN_POLL):
                if time.monotonic() > deadline:
                    self.missed = True
                    self._tell_locked(self._locked)
                    self.leases.join_later()
                    return
        if self._writer is not None:
            await self.leases.join()

    async def claim(self, key: str) -> bool:
        """Take a job in hand; False if another run of the same queue has it: it is worth another look later.

        True also where that cannot be known. A job that another run has finished meanwhile is on record then.
        """
        claimed = await self.leases.claim(key)
        if self.leases.shared:
            self._keys = None
        return claimed

    def done(self, key: str, job: Job) -> Record | None:
        """Return the record of a job that did not fail, else None; None as well where that cannot be read.

        :param job: its URL, method, body and target must be those of the record, whatever its ``id``.
        """
        return _if_done(self.find(key), job)

    def all_done(self, jobs: Sequence[tuple[str, Job]]) -> list[FinishedJob | None]:
        """Look for jobs as :meth:`done` does, at most 999 at once, which costs a quarter of one by one."""
        keys = [key for key, _ in jobs]
        fresh = self._fresh(keys)
        found = {row.key: row for row in self._read(keys, fresh, finished_of, self._database.finished)}
        found |= {key: FinishedJob.of(record) for key, record in fresh.items()}
        return [_if_done(found.get(key), job) for key, job in jobs]

    def find(self, key: str) -> Record | None:
        """Return the record of a job, else None; None as well where that cannot be read."""
        fresh = self._fresh([key])
        return fresh.get(key) or next(iter(self._read([key], fresh, record_of, self._database.columns)), None)

    def _fresh(self, keys: Iterable[str]) -> dict[str, Record]:
        """Return the records that the table does not have yet."""
        if not (self._pending or self._writing):
            return {}
        found = ((key, self._pending.get(key) or self._writing.get(key)) for key in keys)
        return {key: record for key, record in found if record is not None}

    def owner(self, path: Path) -> tuple[str, str] | None:
        """Return key and URL of the job that *path* was finished for; None where that is not on record.

        May be called from any thread. A store that cannot be read owns nothing: the file's bytes are compared.
        """
        relative = self.files.relative(os.path.abspath(path))
        with self._owner_lock, suppress(sqlite3.Error, StoreError):
            if self._owner_reader is None:
                database = self._database
                self._owner_reader = database.read_only() if self._read_only else database.reader()
            row = self._owner_reader.execute(OWNER, (os.fsencode(relative),)).fetchone()
            return None if row is None else (str(row[0]), str(row[1]))
        return None

    def record(self, key: str, result: Result, **run: Any) -> Record | None:
        """Record how a job ended; it is on disk within ``DELAY`` seconds. Needs a running event loop.

        A skipped job has no digests, so an existing record with digests of the unchanged file is kept.

        :param run: :attr:`Record.run` of a job that failed.
        :return: that record; None where there is none.
        """
        known = self._hashed(key, result)
        if self._broken or (known is not None and not self.leases.shared):
            self.leases.release([key])
            return known
        if self._read_only:
            self._give_up(self._database.error("cannot be written"), "what this run fetches is not recorded")
            return known
        self._pending[key] = known or self._record(key, result, run)
        if self._keys is not None:
            self._keys.add(key)
            if len(self._keys) > MAX_KEYS:
                self._keys = None
        if len(self._pending) >= MAX_PENDING:
            self._give_up(self._locked or self._database.error("does not take records any more"))
        else:
            self._write_later()
        return known

    async def flush(self) -> None:
        """Wait until all records are on disk, or cannot be written, of which a warning is given."""
        while self._pending or self._task is not None:
            self._start_writing()
            if self._task is not None:
                await asyncio.wait({self._task})
            if self._locked is not None:
                self._drop(self._locked)
        if self._database.was_replaced():
            error = self._database.error("was removed or replaced in the middle of a run")
            self._give_up(error, "what was recorded is lost")

    async def aclose(self) -> None:
        """Write pending records and close the file."""
        try:
            await self.flush()
            await self.leases.leave()
        finally:
            # This copies the write-ahead log into the database, which can take a while.
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
            self._thread.shutdown(wait=False)

    def close(self) -> None:
        """Close the file after reading; :meth:`aclose` is for a store that was written."""
        self._close()
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        for reader in (self._reader, self._owner_reader):
            if reader is not None:
                reader.close()
        if self._writer is not None:
            close(self._writer)

    def rows(self, *statuses: str) -> Iterator[Record]:
        """Yield records, oldest first: those with one of *statuses*, or all if none is given.

        :raises StoreError: they cannot be read.
        """
        condition = f"WHERE status IN ({', '.join('?' * len(statuses))})" if statuses else ""
        with self._database.translated():
            for row in self._select(f"{condition} ORDER BY finished_at", *statuses):
                yield record_of(row)

    def counts(self) -> Iterator[HostCount]:
        """Yield how the jobs of each host ended.

        :raises StoreError: the records cannot be read.
        """
        with self._database.translated():
            for row in self._query(COUNTS):
                yield host_count_of(row)

    def span(self, since: float) -> tuple[float, float, int, int]:
        """Return when the first and the last file were finished, and the bytes of all and of those *since*.

        :raises StoreError: the records cannot be read.
        """
        with self._database.translated():
            return next(map(span_of, self._query(SPAN, since)), (0.0, 0.0, 0, 0))

    def forget(self, keys: Iterable[str]) -> int:
        """Delete records, and return how many there were. Files stay as they are.

        :raises StoreError: they cannot be deleted.
        """
        if self._writer is None:
            raise self._locked or self._database.error("cannot be written")
        with self._database.translated():
            before = self._writer.total_changes
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.executemany("DELETE FROM jobs WHERE key = ?", ((key,) for key in keys))
            self._writer.execute("COMMIT")
            return self._writer.total_changes - before

    def contested(self) -> Iterator[tuple[Path, str, str]]:
        """Yield each path that jobs of different URLs were finished as, with two of these URLs.

        :raises StoreError: they cannot be read.
        """
        with self._database.translated():
            for path, first, last in self._query(CONTESTED):
                yield Path(self.files.absolute(os.fsdecode(path))), first, last

    def _select(self, condition: str, *values: object) -> Iterator[SqlValues]:
        """Return the records of this *condition*; none while the file is locked."""
        return self._query(f"SELECT {self._database.columns} FROM jobs {condition}", *values)  # noqa: S608 - our names

    def _query(self, query: str, *values: object) -> Iterator[SqlValues]:
        return iter(()) if self._reader is None else self._reader.execute(query, values)

    def _read(
        self,
        keys: Sequence[str],
        fresh: Mapping[str, object],
        read: Callable[[SqlValues], T],
        columns: str,
    ) -> list[T]:
        """Return the rows of *keys*, each *read*; those that cannot be are as if they were not there.

        :param fresh: those of the keys that are not to be looked up.
        """
        known = self._keys
        if fresh or known is not None:
            keys = [key for key in keys if key not in fresh and (known is None or key in known)]
        if not keys or self._broken or self._reader is None or time.monotonic() < self._unread_until:
            return []
        try:
            try:
                marks = ", ".join("?" * len(keys))
                query = f"SELECT {columns} FROM jobs WHERE key IN ({marks})"  # noqa: S608 - our names
                return [*map(read, self._reader.execute(query, keys))]
            except (sqlite3.Error, ValueError):
                with self._database.translated():  # which costs as much as the rest, where nothing fails
                    raise
        except LockedStoreError as error:
            self._unread_until = time.monotonic() + READ_PAUSE
            self._tell_locked(error)
        except StoreError as error:
            self._give_up(error)
        return []

    def _hashed(self, key: str, result: Result) -> Record | None:
        """Return the record with digests of an unchanged file that *result* has skipped without; else None.

        Its time is now, which tells other runs that this one has just done it.
        """
        if result.status != "skipped" or result.digests or result.path is None:
            return None
        known = self.done(key, result.job)
        if known is None or not known.digests or self.files.text_of(known) != os.path.abspath(result.path):
            return None
        there = self.files.still_there(known)
        return known._replace(status="skipped", finished_at=self._clock()) if there else None

    def _record(self, key: str, result: Result, run: dict[str, Any]) -> Record:
        path, size, mtime_ns = None, result.size, None
        if result.path is not None:
            path = str(result.path)
            if not path.startswith("/") or "/.." in path:
                path = os.path.abspath(path)
            try:
                found = os.stat(path)
                size, mtime_ns = found.st_size, found.st_mtime_ns
            except OSError:
                mtime_ns = None  # removed meanwhile: FinishedFiles.still_there() returns False for it
            path = self.files.relative(path)
        return Record(
            key,
            redact(result.job.url),
            path,
            size,
            mtime_ns,
            result.digests,
            result.status,
            result.error.kind if result.error else "",
            str(result.error or ""),
            self._clock(),
            _fingerprint(result.job),
            result.etag,
            result.last_modified,
            result.job.source,
            job_text(result.job, {"by": self.leases.owner, **run}, secrets=self._secrets)
            if result.error
            else "",
        )

    def _write_later(self) -> None:
        if len(self._pending) >= BATCH:
            self._start_writing()
        elif self._timer is None and self._task is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self._start_writing)

    def _start_writing(self) -> None:
        """Pass the pending records to the thread; while it is busy they stay, and _written passes them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None and self._pending:
            self._writing, self._pending = self._pending, {}
            rows = [sql_values(record) for record in self._writing.values()]
            self._task = asyncio.get_running_loop().run_in_executor(self._thread, self._write, rows)
            self._task.add_done_callback(self._written)

    def _write(self, rows: list[SqlValues]) -> None:
        """Write *rows* in one transaction, in the thread."""

        def work(writer: sqlite3.Connection) -> None:
            for batch in batched(rows, ROWS_PER_INSERT):
                writer.execute(insert(len(batch)), [value for row in batch for value in row])

        began = time.monotonic()
        self._do(work)
        self._delay = min(max(LEAST_DELAY, SHARE * (time.monotonic() - began)), DELAY)

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do *work* in one transaction, in the thread."""
        if self._writer is None:
            self._writer = self._database.writer()
            self._reader = self._database.reader()
        writer = self._writer
        with self._database.translated():
            writer.execute("BEGIN IMMEDIATE")
            try:
                done = work(writer)
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
        return done

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)

    def _written(self, task: asyncio.Future[None]) -> None:
        self._task, written, self._writing = None, self._writing, {}
        try:
            task.result()
        except LockedStoreError as error:
            self._locked = error
            self._tell_locked(error)
            self._pending = {**written, **self._pending}
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(DELAY, self._start_writing)
        except StoreError as error:
            self._locked = None
            self._give_up(error)
        else:
            self._locked = None
            self.leases.release(written)
            if self._pending:
                self._write_later()

    def _tell_locked(self, error: LockedStoreError) -> None:
        if not self._told_locked:
            self._told_locked = True
            self._warn(f"{error.reason}: this run goes on, and records its results when that lets it go.")

    def _drop(self, error: LockedStoreError) -> None:
        """Forget what cannot be written."""
        count, self._pending, self._locked = len(self._pending), {}, None
        self._warn(f"{error.reason}: {count} result{'s are' if count != 1 else ' is'} not recorded.")

    def _give_up(self, error: StoreError, what: str = "this run goes on without it") -> None:
        """Read and write no more records."""
        if not self._broken:
            self._broken, self._pending = True, {}
            self._warn(f"{error.reason}: {what}.")


def _if_done(record: R | None, job: Job) -> R | None:
    if record is None or record.status == "failed" or record.fingerprint != _fingerprint(job):
        return None
    return record


def _fingerprint(job: Job) -> str:
    """Return what must agree besides the key; nothing for a job without an ``id``."""
    return "" if job.id is None else job.fingerprint
