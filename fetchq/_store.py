"""The sqlite3 edge: which jobs exist and how each ended, so that a run that is repeated asks for nothing twice.

Reads happen where they are asked for, in about ten microseconds. Writes gather and go to one thread in
batches: a kill costs the last half second of them, and their files are then found by asking the server again.
The database is in WAL mode: several runs may share it, and no kill can corrupt it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
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

Row: TypeAlias = tuple[Any, ...]

# "ftch" in ASCII: tells our files from other programs' (https://www.sqlite.org/pragma.html#pragma_application_id).
APPLICATION = 0x66746368
VERSION = 1
# WITHOUT ROWID: one look-up goes down one tree instead of two.
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
_ROW = "(?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, ?, ?, CAST(? AS TEXT), ?)"
# Rows of one statement: each one hands the interpreter to the loop's thread and takes it back, which costs more
# than a row does. SQLite before 3.32 takes 999 values.
ROWS = 99

# Each commit takes the interpreter from the transfers a hundred times; half a second of records is as much as
# a person would not miss, and so many of them are 2 MB.
BATCH = 2000
DELAY = 0.5
# At 1 KiB a row 20 MB, for a disk that has stopped: then it is time to say so.
MOST_PENDING = 20_000
# Keys of a run's own jobs that are remembered in memory, some 3 MB of them.
MOST_OURS = 20_000
# Another run's commit takes milliseconds. Reads stand in the loop's way, and WAL's readers seldom wait at all.
_WRITE_WAIT = 30.0
_READ_WAIT = 1.0


@dataclass(frozen=True, slots=True)
class Record:
    """What the store remembers of a job.

    :param key: :attr:`Job.key`, which tells nothing about the job.
    :param url: redacted.
    :param path: relative to the store's folder where the file lies below it, so that the folder may move.
    :param size: bytes of the finished file.
    :param mtime_ns: of the finished file, in nanoseconds; None when there is none.
    :param digests: algorithm to hex.
    :param status: ``done``, ``resumed``, ``skipped`` or ``failed``.
    :param kind: :attr:`FetchError.kind` of a failure.
    :param error: what happened, one sentence.
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
    """Remember jobs in the file *path*.

    :param create: make the file and its folder when missing.
    :param clock: seconds since the epoch.
    :raises DiskError: the file cannot be opened, is damaged, or belongs to another program.
    """

    def __init__(
        self, path: str | Path, *, create: bool = True, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = Path(path)
        self._folder = os.path.dirname(os.path.abspath(path))
        self._clock = clock
        self._pending: dict[str, Record] = {}
        self._writing: dict[str, Record] = {}
        self._task: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._error: BaseException | None = None
        self._broken = False
        # All that is in the file, while that is little and this run's own: then most look-ups need not read it.
        self._ours: set[str] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fetchq-store")
        if create:
            _make_folder(self._folder, self._path)
        elif not self._path.exists():
            raise DiskError(f"There is no store {printable(str(path))}: no queue has been run there.")
        with _translated(self._path):
            self._writer = _connect(self._path, _WRITE_WAIT)
            try:
                _prepare(self._writer, self._path)
                self._reader = _connect(self._path, _READ_WAIT)
                if self._reader.execute("SELECT 1 FROM jobs LIMIT 1").fetchone() is None:
                    self._ours = set()
            except BaseException:
                self._writer.close()
                raise

    def done(self, key: str) -> Record | None:
        """Give what is remembered of a job that ended well, else None."""
        record = self._pending.get(key) or self._writing.get(key)
        if record is None and (self._ours is None or key in self._ours):
            record = self._read(key)
        return record if record is not None and record.status != "failed" else None

    def still_there(self, record: Record) -> bool:
        """Tell whether the job's file is as it was left: same size, same time of change."""
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
        """Give the absolute path of the job's file, None where it has none."""
        return None if record.path is None else Path(self._folder, record.path)

    def record(self, key: str, result: Result) -> None:
        """Remember how a job ended. It is on disk within half a second; call it in a running loop.

        A skip brings no digests: those that are known of the file stay while it is as it was left.
        """
        if self._broken or self._knows_more(key, result):
            return
        self._pending[key] = self._record(key, result)
        if self._ours is not None:
            self._ours.add(key)
            if len(self._ours) > MOST_OURS:
                self._ours = None
        if len(self._pending) >= MOST_PENDING:
            self._fail(DiskError(f"The store {self._shown} does not take records any more; is its disk alive?"))
        elif len(self._pending) >= BATCH:
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY, self._start)

    async def flush(self) -> None:
        """Wait until all records are on disk.

        :raises DiskError: some could not be written, now or since the last call; later ones are dropped.
        """
        while self._pending or self._task is not None:
            self._start()
            if self._task is not None:
                await asyncio.wait({self._task})
        error, self._error = self._error, None
        if error is not None:
            raise error

    async def aclose(self) -> None:
        """Write what is left and close the file."""
        try:
            await self.flush()
        finally:
            self._reader.close()
            # The last connection to close folds the log into the database, which can take a while.
            await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.close)
            self._thread.shutdown(wait=False)

    def close(self) -> None:
        """Close the file, where nothing was recorded."""
        self._reader.close()
        self._writer.close()
        self._thread.shutdown(wait=False)

    def rows(self, *statuses: str) -> Iterator[Record]:
        """Yield what is remembered, oldest first, of jobs that ended with one of *statuses*; all without."""
        with _translated(self._path):
            for row in self._reader.execute("SELECT * FROM jobs ORDER BY finished_at"):
                record = _record(row)
                if not statuses or record.status in statuses:
                    yield record

    @property
    def _shown(self) -> str:
        return printable(str(self._path))

    def _read(self, key: str) -> Record | None:
        with _translated(self._path):
            row = self._reader.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
        return None if row is None else _record(row)

    def _knows_more(self, key: str, result: Result) -> bool:
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
                mtime_ns = None  # gone already: still_there() will say so
            path = path.removeprefix(os.path.join(self._folder, ""))
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

    def _start(self) -> None:
        """Hand what is pending to the thread, unless it is busy: then it goes when that is done."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None and self._pending:
            self._writing, self._pending = self._pending, {}
            rows = [_row(record) for record in self._writing.values()]
            self._task = asyncio.get_running_loop().run_in_executor(self._thread, self._write, rows)
            self._task.add_done_callback(self._written)

    def _write(self, rows: list[Row]) -> None:
        with _translated(self._path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                for some in _batched(rows, ROWS):
                    self._writer.execute(_insert(len(some)), [value for row in some for value in row])
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
            self._start()

    def _fail(self, error: BaseException) -> None:
        """Give up remembering; the run itself goes on, and flush() says so at its end."""
        self._error, self._broken = error, True
        self._pending = {}


def _batched(rows: list[Row], size: int) -> Iterator[list[Row]]:
    """Cut *rows* into lists of *size* and what is left."""
    return (rows[at : at + size] for at in range(0, len(rows), size))


@lru_cache(ROWS)
def _insert(rows: int) -> str:
    return f"INSERT OR REPLACE INTO jobs VALUES {', '.join([_ROW] * rows)}"  # noqa: S608 - places for values


def _row(record: Record) -> Row:
    """Give the values of _INSERT; text as bytes, since a path need not be UTF-8."""
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
    """Give JSON, whose encoder costs more than this for what holds letters, digits and dashes only."""
    return "{" + ", ".join(f'"{algorithm}": "{value}"' for algorithm, value in digests.items()) + "}"


def _record(row: tuple[Any, ...]) -> Record:
    key, url, path, size, mtime_ns, digests, *rest = row
    return Record(key, url, path, size, mtime_ns, json.loads(digests), *rest)


def _make_folder(folder: str, path: Path) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise DiskError(
            f"The folder of the store {printable(str(path))} cannot be made: {error.strerror}."
        ) from error


def _connect(path: Path, wait: float) -> sqlite3.Connection:
    # Autocommit: the writer says BEGIN itself. Its thread is not the one that opens it.
    connection = sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)
    connection.text_factory = os.fsdecode
    return connection


def _prepare(writer: sqlite3.Connection, path: Path) -> None:
    """Check that the file is ours or new, before anything in it is touched; then make it ready."""
    # One transaction, lest another run makes the store between two of the questions.
    writer.execute("BEGIN")
    application, version, tables = (
        writer.execute(question).fetchone()[0]
        for question in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
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
    # The log need not reach the disk at each commit: what power loss takes is asked for again.
    writer.execute("PRAGMA synchronous = NORMAL")
    if application != APPLICATION:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute(_SCHEMA)
        writer.execute(f"PRAGMA application_id = {APPLICATION}")
        writer.execute(f"PRAGMA user_version = {VERSION}")
        writer.execute("COMMIT")
    # Lasts in the file. Refused while another run opens it, and without it reads only wait for writes.
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
