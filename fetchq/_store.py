"""The sqlite3 edge: which jobs exist and how each ended, so that a repeated run requests nothing twice.

Reads happen in the caller's thread and take about 10 us. Writes are collected and written in batches by one
thread: a kill loses at most the last half second of records, whose jobs are then checked with the server again.
The database is in WAL mode (https://www.sqlite.org/wal.html): several runs may share it, and a kill does not
corrupt it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from ._errors import DiskError, DiskFullError
from ._models import Result, redact
from ._naming import printable

__all__ = ["Record", "Store"]

SqlValues: TypeAlias = tuple[Any, ...]

# "ftch" in ASCII: marks the file as ours (https://www.sqlite.org/pragma.html#pragma_application_id).
APPLICATION = 0x66746368
VERSION = 1
# WITHOUT ROWID: a look-up by key searches one B-tree instead of two (https://www.sqlite.org/withoutrowid.html).
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    key TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    path TEXT,
    size INTEGER NOT NULL,
    mtime_ns INTEGER,
    digests TEXT NOT NULL,
    status TEXT NOT NULL,
    kind TEXT NOT NULL,
    error TEXT NOT NULL,
    finished_at REAL NOT NULL
) WITHOUT ROWID
"""
# For asking whose a file is; it costs 1 us a row.
_INDEX = "CREATE INDEX IF NOT EXISTS jobs_by_path ON jobs (path)"
_OWNER = """
SELECT key, url FROM jobs WHERE path = CAST(? AS TEXT) AND status != 'failed' ORDER BY finished_at DESC LIMIT 1
"""
# Signed URLs of one file differ in their queries only.
_CONTESTED = """
SELECT path, MIN(url), MAX(url) FROM jobs WHERE path IS NOT NULL AND status != 'failed'
GROUP BY path HAVING COUNT(DISTINCT substr(url, 1, instr(url || '?', '?') - 1)) > 1
"""
_PLACEHOLDERS = "(?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, ?, ?, CAST(? AS TEXT), ?)"
# Rows per INSERT: each statement releases and reacquires the GIL, which costs more than a row.
# SQLite before 3.32 accepts 999 values (https://www.sqlite.org/limits.html#max_variable_number).
ROWS_PER_INSERT = 99

# Commits contend with the transfers for the GIL, so records wait for up to DELAY seconds or BATCH rows (2 MB).
BATCH = 2000
DELAY = 0.5
# Rows that wait while the disk does not respond, 20 MB at 1 KiB a row; more are an error.
MAX_PENDING = 20_000
# Keys kept in memory, about 3 MB.
MAX_KEYS = 20_000
# Seconds to wait for another run's lock. A commit takes milliseconds; a read blocks the event loop, and WAL
# readers hardly ever wait.
_WRITE_TIMEOUT = 30.0
_READ_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True)
class Record:
    """How one job ended.

    :param key: :attr:`Job.key`, a hash.
    :param url: redacted.
    :param path: relative to the store's directory if the file is below it, so that the directory may be moved.
    :param size: bytes of the finished file.
    :param mtime_ns: modification time of the finished file in nanoseconds; None if there is no file.
    :param digests: algorithm to hex.
    :param status: ``done``, ``resumed``, ``skipped`` or ``failed``.
    :param kind: :attr:`FetchError.kind` of a failure.
    :param error: the failure's message, one sentence.
    :param finished_at: seconds since the epoch.
    """

    key: str
    url: str
    path: str | None
    size: int
    mtime_ns: int | None
    digests: Mapping[str, str] = field(default_factory=dict)
    status: str = "done"
    kind: str = ""
    error: str = ""
    finished_at: float = 0.0


class Store:
    """Records of jobs in the SQLite file *path*.

    :param create: create the file and its directory if missing.
    :param clock: returns seconds since the epoch.
    :raises DiskError: the file cannot be opened, is damaged, or belongs to another program.
    """

    def __init__(
        self, path: str | Path, *, create: bool = True, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = Path(path)
        self._directory = os.path.dirname(os.path.abspath(path))
        self._clock = clock
        self._pending: dict[str, Record] = {}
        self._writing: dict[str, Record] = {}
        self._task: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._error: BaseException | None = None
        self._broken = False
        # All keys in the database, known while this run is its only writer; then most look-ups need no query.
        self._keys: set[str] | None = None
        self._owner_reader: sqlite3.Connection | None = None
        self._owner_lock = threading.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fetchq-store")
        if create:
            _make_directory(self._directory, self._path)
        elif not self._path.exists():
            raise DiskError(f"There is no store {printable(str(path))}: no queue has been run there.")
        with _translated(self._path):
            self._writer = _connect(self._path, _WRITE_TIMEOUT)
            try:
                _prepare(self._writer, self._path)
                self._reader = _connect(self._path, _READ_TIMEOUT)
                if self._reader.execute("SELECT 1 FROM jobs LIMIT 1").fetchone() is None:
                    self._keys = set()
            except BaseException:
                self._writer.close()
                raise

    def done(self, key: str) -> Record | None:
        """Return the record of a job that did not fail, else None."""
        record = self._pending.get(key) or self._writing.get(key)
        if record is None and (self._keys is None or key in self._keys):
            record = self._read(key)
        return record if record is not None and record.status != "failed" else None

    def owner(self, path: Path) -> tuple[str, str] | None:
        """Return key and URL of the job that *path* was finished for; None where that is not on record.

        May be called from any thread. A store that cannot be read owns nothing: the file's bytes are compared.
        """
        relative = os.path.abspath(path).removeprefix(os.path.join(self._directory, ""))
        with self._owner_lock, suppress(sqlite3.Error):
            if self._owner_reader is None:
                self._owner_reader = _connect(self._path, _READ_TIMEOUT)
            row = self._owner_reader.execute(_OWNER, (os.fsencode(relative),)).fetchone()
            return None if row is None else (str(row[0]), str(row[1]))
        return None

    def still_there(self, record: Record) -> bool:
        """Whether the job's file is unchanged: a regular file of the same size and modification time."""
        path = self.path_of(record)
        try:
            found = os.stat(path) if path is not None else None
        except OSError:
            return False
        return (
            found is not None
            and stat.S_ISREG(found.st_mode)
            and (found.st_size, found.st_mtime_ns) == (record.size, record.mtime_ns)
        )

    def path_of(self, record: Record) -> Path | None:
        """Return the absolute path of the job's file, None if it has none."""
        return None if record.path is None else Path(self._directory, record.path)

    def record(self, key: str, result: Result) -> None:
        """Record how a job ended; it is on disk within ``DELAY`` seconds. Needs a running event loop.

        A skipped job has no digests, so an existing record with digests of the unchanged file is kept.
        """
        if self._broken or self._has_digests(key, result):
            return
        self._pending[key] = self._record(key, result)
        if self._keys is not None:
            self._keys.add(key)
            if len(self._keys) > MAX_KEYS:
                self._keys = None
        if len(self._pending) >= MAX_PENDING:
            self._fail(DiskError(f"The store {self._shown} does not take records any more; is its disk alive?"))
        elif len(self._pending) >= BATCH:
            self._start_writing()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY, self._start_writing)

    async def flush(self) -> None:
        """Wait until all records are on disk.

        :raises DiskError: records could not be written, now or since the last call; all later ones are dropped.
        """
        while self._pending or self._task is not None:
            self._start_writing()
            if self._task is not None:
                await asyncio.wait({self._task})
        error, self._error = self._error, None
        if error is not None:
            raise error

    async def aclose(self) -> None:
        """Write pending records and close the file.

        :raises DiskError: as :meth:`flush`.
        """
        try:
            await self.flush()
        finally:
            self._reader.close()
            if self._owner_reader is not None:
                self._owner_reader.close()
            # The last connection to close copies the write-ahead log into the database, which can take a while.
            await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.close)
            self._thread.shutdown(wait=False)

    def close(self) -> None:
        """Close the file after reading; :meth:`aclose` is for a store that was written."""
        self._reader.close()
        if self._owner_reader is not None:
            self._owner_reader.close()
        self._writer.close()
        self._thread.shutdown(wait=False)

    def rows(self, *statuses: str) -> Iterator[Record]:
        """Yield records, oldest first: those with one of *statuses*, or all if none is given."""
        with _translated(self._path):
            for row in self._reader.execute("SELECT * FROM jobs ORDER BY finished_at"):
                record = _record(row)
                if not statuses or record.status in statuses:
                    yield record

    def contested(self) -> Iterator[tuple[Path, str, str]]:
        """Yield each path that jobs of different URLs were finished as, with two of these URLs."""
        with _translated(self._path):
            for path, first, last in self._reader.execute(_CONTESTED):
                yield Path(self._directory, path), first, last

    @property
    def _shown(self) -> str:
        return printable(str(self._path))

    def _read(self, key: str) -> Record | None:
        with _translated(self._path):
            row = self._reader.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
        return None if row is None else _record(row)

    def _has_digests(self, key: str, result: Result) -> bool:
        """Whether *result* is a skip without digests of a file whose digests are on record."""
        if result.status != "skipped" or result.digests or result.path is None:
            return False
        known = self.done(key)
        if known is None or not known.digests or self.path_of(known) != Path(os.path.abspath(result.path)):
            return False
        return self.still_there(known)

    def _record(self, key: str, result: Result) -> Record:
        path, size, mtime_ns = None, result.size, None
        if result.path is not None:
            path = str(result.path)
            if not path.startswith("/") or "/.." in path:
                path = os.path.abspath(path)
            try:
                found = os.stat(path)
                size, mtime_ns = found.st_size, found.st_mtime_ns
            except OSError:
                mtime_ns = None  # removed meanwhile: still_there() returns False for it
            path = path.removeprefix(os.path.join(self._directory, ""))
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
        )

    def _start_writing(self) -> None:
        """Pass the pending records to the thread; while it is busy they stay, and _written passes them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None and self._pending:
            self._writing, self._pending = self._pending, {}
            rows = [_sql_values(record) for record in self._writing.values()]
            self._task = asyncio.get_running_loop().run_in_executor(self._thread, self._write, rows)
            self._task.add_done_callback(self._written)

    def _write(self, rows: list[SqlValues]) -> None:
        with _translated(self._path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                for batch in _batched(rows, ROWS_PER_INSERT):
                    self._writer.execute(_insert(len(batch)), [value for row in batch for value in row])
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _written(self, task: asyncio.Future[None]) -> None:
        self._task, self._writing = None, {}
        error = task.exception()
        if error is not None:
            self._fail(error)
        elif self._pending:
            self._start_writing()

    def _fail(self, error: BaseException) -> None:
        """Stop recording without ending the run; flush() raises *error*."""
        self._error, self._broken = error, True
        self._pending = {}


def _batched(rows: list[SqlValues], size: int) -> Iterator[list[SqlValues]]:
    """Yield *rows* in lists of at most *size* (itertools.batched is new in Python 3.12)."""
    return (rows[at : at + size] for at in range(0, len(rows), size))


@lru_cache(ROWS_PER_INSERT)
def _insert(rows: int) -> str:
    return f"INSERT OR REPLACE INTO jobs VALUES {', '.join([_PLACEHOLDERS] * rows)}"  # noqa: S608 - no values


def _sql_values(record: Record) -> SqlValues:
    """Return the values of one row; text as bytes, which the placeholders cast: a path need not be UTF-8."""
    return (
        record.key,
        record.url.encode("utf-8", "replace"),
        None if record.path is None else os.fsencode(record.path),
        record.size,
        record.mtime_ns,
        _json(record.digests),
        record.status,
        record.kind,
        record.error.encode("utf-8", "replace"),
        record.finished_at,
    )


def _json(digests: Mapping[str, str]) -> str:
    """Return a JSON object. Names and values need no escaping, and the encoder costs more than this."""
    return "{" + ", ".join(f'"{algorithm}": "{value}"' for algorithm, value in digests.items()) + "}"


def _record(row: SqlValues) -> Record:
    key, url, path, size, mtime_ns, digests, *rest = row
    return Record(key, url, path, size, mtime_ns, json.loads(digests), *rest)


def _make_directory(directory: str, path: Path) -> None:
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise DiskError(
            f"The folder of the store {printable(str(path))} cannot be made: {error.strerror}."
        ) from error


def _connect(path: Path, timeout: float) -> sqlite3.Connection:
    # isolation_level=None: autocommit, the writer executes BEGIN itself, in another thread than this one.
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    connection.text_factory = os.fsdecode
    return connection


def _prepare(writer: sqlite3.Connection, path: Path) -> None:
    """Check that the file is ours or empty before it is changed, then create what is missing.

    :raises DiskError: it is another program's, or of a newer version.
    """
    # One transaction: another run may create the store between two of the queries.
    writer.execute("BEGIN")
    application, version, tables = (
        writer.execute(query).fetchone()[0]
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    writer.execute("COMMIT")
    if application != APPLICATION and tables:
        raise DiskError(
            f"{printable(str(path))} is another program's database: name another file with --store."
        )
    if version > VERSION:
        raise DiskError(
            f"The store {printable(str(path))} was written by a newer fetchq: use that, or --no-store."
        )
    # No fsync at each commit: power loss may lose records, and those jobs are checked with their server again.
    writer.execute("PRAGMA synchronous = NORMAL")
    if application != APPLICATION:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute(_SCHEMA)
        writer.execute(_INDEX)
        writer.execute(f"PRAGMA application_id = {APPLICATION}")
        writer.execute(f"PRAGMA user_version = {VERSION}")
        writer.execute("COMMIT")
    # Persistent. It fails while another run has the file open, and without it reads only wait for writes.
    with suppress(sqlite3.OperationalError):
        writer.execute("PRAGMA journal_mode = WAL")


_ADVICE = {
    sqlite3.SQLITE_NOTADB: "it is not a database; move it away, or use --no-store",
    sqlite3.SQLITE_CORRUPT: "it is damaged; move it away, or use --no-store",
    sqlite3.SQLITE_BUSY: "another program holds it; try again, or use --no-store",
    sqlite3.SQLITE_READONLY: "it is read-only; choose another file with --store, or use --no-store",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; choose another file with --store, or use --no-store",
    sqlite3.SQLITE_FULL: "no space is left on the disk",
}


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the primary code (https://www.sqlite.org/rescode.html).
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        kind = DiskFullError if code == sqlite3.SQLITE_FULL else DiskError
        raise kind(f"The store {printable(str(path))} cannot be used: {_ADVICE.get(code, error)}.") from error
