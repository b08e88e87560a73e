"""The SQLite file of a store: made, checked and opened; each error of the library translated once.

While a run has it open it is in WAL mode (https://www.sqlite.org/wal.html): several runs may share it, reads
do not wait for writes, and a kill does not corrupt it. The last to close it puts it back into DELETE mode, in
which users can read it who may not write in its folder. Where files cannot be mapped as shared memory, as on a
FUSE mount with ``direct_io``, it stays in DELETE mode all the time.
"""

from __future__ import annotations

import errno
import mmap
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .._errors import StoreError
from .._naming import printable
from .schema import APPLICATION, VERSION, columns_of, finished_of, migrate

__all__ = [
    "LOCKED_WAIT",
    "OPEN_TIMEOUT",
    "Database",
    "LockedStoreError",
    "UnwritableStoreError",
    "close",
    "is_missing",
]


# Seconds to wait for another program's lock. A commit of another run takes milliseconds; the read of a look-up
# blocks the event loop, and readers hardly ever wait.
OPEN_TIMEOUT = 3.0
# Seconds that a run waits for a lock that keeps it from sharing its queue, of which it tells.
LOCKED_WAIT = 30.0
WRITE_TIMEOUT = 5.0
READ_TIMEOUT = 1.0

# What a file system without shared memory, or whose locks do not work on it, answers in WAL mode.
_NO_SHARED_MEMORY = {
    sqlite3.SQLITE_IOERR_SHMMAP,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMLOCK,
    sqlite3.SQLITE_PROTOCOL,
}
# By the primary code (https://www.sqlite.org/rescode.html): what is so, and what to do; empty: another file.
_REASONS = {
    sqlite3.SQLITE_NOTADB: ("is not a database", ""),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "move it away"),
    sqlite3.SQLITE_BUSY: ("is locked by another program", "wait for that"),
    sqlite3.SQLITE_READONLY: ("cannot be written", ""),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", ""),
    sqlite3.SQLITE_PERM: ("cannot be opened", ""),
    sqlite3.SQLITE_FULL: ("has no space left on its disk", "free some"),
    sqlite3.SQLITE_IOERR: ("cannot be used on this file system", ""),
    # A statement that does not fit the tables.
    sqlite3.SQLITE_ERROR: ("has other tables than this fetchq makes", "move it away"),
}


def _code(error: sqlite3.Error) -> int:
    """Return the extended result code of *error*.

    Python itself finds text that is not UTF-8, which nothing of ours writes, and sets no code then.
    """
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)


class LockedStoreError(StoreError):
    """Another program has locked the store; a later attempt may succeed."""


class UnwritableStoreError(StoreError):
    """The store cannot be written; it may be readable."""


_KINDS = {
    sqlite3.SQLITE_BUSY: LockedStoreError,
    sqlite3.SQLITE_READONLY: UnwritableStoreError,
    sqlite3.SQLITE_CANTOPEN: UnwritableStoreError,
}


class Database:
    """The file *path*, which is a store or is going to be one.

    :param run: it is opened for a run, whose options can name another file or none.
    :ivar directory: its folder, absolute.
    :ivar columns: expressions that read a record; others for a store of an earlier version that is only read.
    :ivar finished: those that read what became of a finished job.
    """

    def __init__(self, path: str | Path, *, run: bool = True) -> None:
        self.path = Path(path)
        self.directory = os.path.dirname(os.path.abspath(path))
        self._elsewhere = "name another file with --store" if run else "name another file"
        self._remedy = ", or use --no-store" if run else ""
        self.columns, self.finished = columns_of(VERSION), finished_of(VERSION)
        self._name = f"The store {printable(str(path))}"
        self._written: tuple[int, int] | None = None

    def make_folder(self) -> None:
        """Make the folder of the file if it is missing.

        :raises StoreError: it cannot be made.
        """
        try:
            _make_folder(self.directory)
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise self.error(f"has no folder, and none can be made ({reason})") from error

    def writer(self, timeout: float = WRITE_TIMEOUT) -> sqlite3.Connection:
        """Return a connection that writes; the file is made if it is missing.

        :param timeout: seconds to wait for another program's lock.
        :raises LockedStoreError: it did not go away.
        :raises UnwritableStoreError: the file, or its folder, cannot be written.
        :raises StoreError: it is no store, or cannot be used here.
        """
        with self.translated():
            try:
                writer = self._writer(timeout, wal=_can_map(self.directory))
            except sqlite3.OperationalError as error:
                if _code(error) not in _NO_SHARED_MEMORY:
                    raise
                writer = self._writer(timeout, wal=False)
        self._written = self._found()
        return writer

    def was_replaced(self) -> bool:
        """Whether another file, or none, is now where the last writer found its own."""
        return self._written is not None and self._written != self._found()

    def _found(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def patient_writer(self, timeout: float) -> sqlite3.Connection:
        """Do as :meth:`writer`, and wait for locks for which SQLite does not, too.

        Such is that of a run that closes the store just now.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self.writer(timeout)
            except LockedStoreError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def reader(self) -> sqlite3.Connection:
        """Return a further connection beside the writer's."""
        with self.translated():
            return self._connect(READ_TIMEOUT)

    def read_only(self) -> sqlite3.Connection:
        """Return a connection that changes nothing: no file is made, and no right to write is needed.

        :raises StoreError: there is no store, or it cannot be read.
        """
        if is_missing(self.path):
            told = f"There is no store {printable(str(self.path))}"
            raise StoreError(f"{told}: no queue has been run there.", reason=told)
        with self.translated():
            try:
                return self._read_only("mode=ro")
            except sqlite3.OperationalError as error:
                # A store at rest that is in WAL mode needs files beside it, which nobody can make there; and as
                # nobody can write, it needs no locks. What a killed run left in the log would be overlooked.
                unreadable = _code(error) & 0xFF in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
                if (
                    not unreadable
                    or os.path.exists(f"{self._file()}-wal")
                    or not _on_read_only_medium(self.path)
                ):
                    raise
            return self._read_only("mode=ro&immutable=1")

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise the errors of sqlite3, and what comes of values that no store holds, as StoreError."""
        try:
            yield
        except sqlite3.Error as error:
            # The low byte is the primary code.
            code = _code(error) & 0xFF
            reason, advice = _REASONS.get(code, (f"cannot be used ({error})", ""))
            if code == sqlite3.SQLITE_CANTOPEN and not (is_missing(self.path) or os.access(self.path, os.R_OK)):
                reason = "cannot be read (permission denied)"
            raise self.error(reason, advice, _KINDS.get(code, StoreError)) from error
        except ValueError as error:
            raise self.error(*_REASONS[sqlite3.SQLITE_CORRUPT]) from error

    def error(self, reason: str, advice: str = "", kind: type[StoreError] = StoreError) -> StoreError:
        """Return an error about the store, such as "is damaged"."""
        told = f"{advice or self._elsewhere}{self._remedy}"
        return kind(f"{self._name} {reason}: {told}.", reason=f"{self._name} {reason}")

    def _file(self) -> str:
        """Return the path to open.

        :raises StoreError: it is a link out of its folder, which somebody else may have put there, or no file.
        """
        real, folder = os.path.realpath(self.path), os.path.realpath(self.directory)
        if not real.startswith(os.path.join(folder, "")):
            raise self.error("is a link out of its folder", "name the file itself")
        with suppress(OSError):
            if not stat.S_ISREG(os.stat(real).st_mode):
                raise self.error("is no regular file")
        return real

    def _writer(self, timeout: float, *, wal: bool) -> sqlite3.Connection:
        connection = self._connect(timeout)
        try:
            if not wal:
                _leave_wal(connection)
            self._prepare(connection)
            if wal:
                # It fails while another run has the file open in DELETE mode.
                with suppress(sqlite3.OperationalError):
                    connection.execute("PRAGMA journal_mode = WAL")
                # The first read asks for the shared memory.
                connection.execute("SELECT 1 FROM jobs LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, timeout: float, query: str = "mode=rwc") -> sqlite3.Connection:
        missing = not os.path.lexists(self.path)
        # isolation_level=None: autocommit, the writer executes BEGIN itself, in another thread than this one.
        connection = sqlite3.connect(
            f"{Path(self._file()).as_uri()}?{query}",
            uri=True,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        if missing and query == "mode=rwc":
            # SQLite makes the file, when it is first asked: to open and close it here would let go of all locks
            # that this process has on it (fcntl(2)), and another run would take the store for its own.
            try:
                connection.execute("PRAGMA application_id").fetchone()
            except BaseException:
                connection.close()
                raise
            # Its readers learn what was fetched from where; the files beside it get the same mode.
            with suppress(OSError):
                os.chmod(self.path, 0o600)
        return connection

    def _read_only(self, query: str) -> sqlite3.Connection:
        connection = self._connect(READ_TIMEOUT, query)
        try:
            connection.execute("BEGIN")
            version = self._version(connection)
            connection.execute("COMMIT")
            if not version:
                raise self.error("is empty", "no queue has been run there")
            self.columns, self.finished = columns_of(version), finished_of(version)
            connection.execute(f"SELECT {self.columns} FROM jobs LIMIT 1").fetchone()  # noqa: S608 - our names
        except BaseException:
            connection.close()
            raise
        return connection

    def _version(self, connection: sqlite3.Connection) -> int:
        """Return the version of the store; 0 if the file is empty. Within a transaction.

        :raises StoreError: it is another program's, or of a newer version.
        """
        application, version, tables = (
            connection.execute(query).fetchone()[0]
            for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if application != APPLICATION and tables:
            raise self.error("is another program's database")
        if version > VERSION:
            raise self.error("was written by a newer fetchq", "use that")
        return int(version) if application == APPLICATION else 0

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check that the file is ours or empty before it is changed, then create what is missing."""
        # No fsync at each commit: power loss may lose records; those jobs are checked with their server again.
        connection.execute("PRAGMA synchronous = NORMAL")
        # In one transaction: another run may create the store between two of the queries.
        connection.execute("BEGIN")
        version = self._version(connection)
        connection.execute("COMMIT")
        if version == VERSION:
            _require_writable(connection)
        else:
            migrate(connection, self._version)
        connection.execute(f"SELECT {self.columns} FROM jobs LIMIT 1").fetchone()  # noqa: S608 - our names


def is_missing(path: Path) -> bool:
    """Whether there is nothing at *path*; not where its folder may not be looked into."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno in {errno.ENOENT, errno.ENOTDIR}
    return False


def close(writer: sqlite3.Connection) -> None:
    """Close the writer; the last one of all runs puts the file into DELETE mode. May take a while."""
    with suppress(sqlite3.Error):
        writer.execute("PRAGMA journal_mode = DELETE")
    writer.close()


def _leave_wal(connection: sqlite3.Connection) -> None:
    """Put a file into DELETE mode without shared memory, which needs it alone for a moment."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    connection.execute("PRAGMA locking_mode = NORMAL")
    # The next read lets go of the lock.
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _require_writable(connection: sqlite3.Connection) -> None:
    """Raise an error if the file was opened for reading only, as SQLite does where it may not be written."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        # BEGIN alone begins to read where only that is possible.
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        # Another program writes it just now.
        if _code(error) & 0xFF != sqlite3.SQLITE_BUSY:
            raise


def _make_folder(path: str) -> None:
    """Make *path* with its parents; os.makedirs calls itself for each, which ends at a thousand."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        try:
            os.mkdir(folder)
        except FileExistsError:
            # Another run has just made it; or it is a file.
            if not os.path.isdir(folder):
                raise


def _can_map(folder: str) -> bool:
    """Whether files in *folder* can be mapped as shared memory, which WAL mode needs.

    It is tried: to ask SQLite would put the file into WAL mode while another run uses it in DELETE mode.
    """
    name = os.path.join(folder, f".fetchq-{os.urandom(8).hex()}.tmp")
    try:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return True  # nothing can be made here, which SQLite will say
    try:
        try:
            os.unlink(name)
            os.ftruncate(fd, mmap.PAGESIZE)
            mmap.mmap(fd, mmap.PAGESIZE).close()
        finally:
            os.close(fd)
    except OSError:
        return False
    return True


def _on_read_only_medium(path: Path) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False
