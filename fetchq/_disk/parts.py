"""The parts of one run: names, locks and threads that they share."""

from __future__ import annotations

import asyncio
import math
import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, TypeVar, TypeVarTuple

from .._digests import Checksum
from .._naming import candidate, candidates
from .._ranges import total
from .._settings import Disk
from .complete import CompleteBody
from .context import DiskContext
from .existing import BusyNameError, Existing, ExistingPolicy, Unproven
from .files import DiskWarnings, Files, NameTakenError, UnnamedError, translate
from .folders import Folders
from .hashing import has_digests
from .journal import Identity, Journal, journal_of, load, part_of, side_files
from .lock import MAX_SIDES, LockedPart
from .names import NameRegistry
from .part import Part
from .pipe import FileObjectSink, Pipe
from .publish import Finished
from .record import FileRecord
from .room import Reserved, require_free
from .threads import Threads

__all__ = ["Parts"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Candidates among which an earlier run's part is looked for: each costs two system calls.
MAX_PEEKS = 100

# A body up to this many bytes is hashed and written in the time that a call into a thread takes.
SHORT = 64 * 1024


class Parts:
    """Locks the parts of a run, and stores complete bodies.

    :param threads: most file operations at once.
    :param files: the file system.
    :param clock: monotonic seconds, for checkpoints and for noticing a slow disk.
    :param warn: is called with a sentence, from any thread, where a file system lacks something.
    """

    def __init__(
        self,
        settings: Disk,
        *,
        threads: int,
        files: Files | None = None,
        clock: Callable[[], float] = time.monotonic,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._files = files or Files()
        self._files.warnings = DiskWarnings(warn)
        self._threads = Threads(threads, clock)
        self._folders = Folders(self._files, durable=settings.fsync, temp=settings.temp_dir)
        self._names = NameRegistry(settings, self._files, self._folders)
        reserved = Reserved(self._files, settings)
        self._context = DiskContext(settings, self._files, self._threads, clock, set(), reserved)
        self._room_checked_at = -math.inf
        # Until one folder of the run has none.
        self._unnamed = True
        self._some_disk_full = False

    async def peek(self, directory: Path, name: str, identity: Identity, ordinal: int = 0) -> str | None:
        """Return the candidate for *name* whose journal is this download's; None when there is none.

        :param ordinal: the candidate to look at first.
        """
        return await self._look(self._peek, directory, name, identity, ordinal)

    async def holds(
        self, directory: Path, name: str, checksum: Checksum, identity: Identity
    ) -> Existing | None:
        """Return the finished file of that *name* if, read once, it has the *checksum*.

        No other job of the run gets its name.
        """
        if not await self._look(self._has, directory, name):
            return None
        try:
            return await self._threads.run(self._holds, directory, name, checksum, identity.key)
        except OSError:
            return None  # the download itself meets the same error, and reports it

    async def trusted(self, directory: Path, name: str, identity: Identity) -> int:
        """Return how many bytes of this download an earlier run has left, without changing anything."""
        return await self._context.run(directory / name, self._trusted, directory, name, identity)

    async def stat(self, directory: Path, name: str) -> os.stat_result | None:
        """Return the stat of the file *name*; None where there is none.

        :raises DiskError: the file system refuses.
        """
        return await self._context.run(directory / name, self._files.stat, directory / name)

    async def _look(self, function: Callable[[Path, *Ts], T], directory: Path, *args: *Ts) -> T:
        """Call what makes a few short system calls; in the loop's own thread for a folder on a quick disk."""
        if self._folders.is_local(directory) and self._threads.is_quick():
            return function(directory, *args)
        return await self._threads.run(function, directory, *args)

    def _peek(self, directory: Path, name: str, identity: Identity, ordinal: int) -> str | None:
        if not self._folders.left_behind(directory):
            return None
        found = self._find_journal(directory, self._folders.fit(directory, name), identity, ordinal)
        return None if found is None else found[0]

    def _has(self, directory: Path, name: str) -> bool:
        return self._exists(os.path.join(directory, name))  # a Path takes five times as long

    def _has_alike(self, directory: Path, name: str) -> bool:
        """Whether *name* or a candidate for it may be there."""
        return self._has(directory, name) or self._folders.numbers(directory, name) != []

    def _trusted(self, directory: Path, name: str, identity: Identity) -> int:
        found = self._find_journal(directory, self._folders.fit(directory, name), identity)
        if found is None:
            return 0
        name, side, journal = found
        folder, stem = self._folders.parts_of(directory, name)
        part = self._files.stat(folder / part_of(stem, side))
        return 0 if part is None else total(journal.within(part.st_size).spans)

    def _find_journal(
        self, directory: Path, name: str, identity: Identity, ordinal: int = 0
    ) -> tuple[str, int, Journal] | None:
        """Return the candidate for *name* with this download's journal, and which of its side files that is."""
        own = [candidate(name, ordinal)] if ordinal else []
        for tried in chain(own, islice(candidates(name), MAX_PEEKS)):
            found, empty = self._own_journal(directory, tried, identity)
            if found is not None:
                # Without a part it vouches for no bytes, but may still prove a finished file to be this one.
                folder, stem = self._folders.parts_of(directory, tried)
                paths = (folder / part_of(stem, found[0]), directory / tried)
                return (tried, *found) if any(map(self._exists, paths)) else None
            if empty and tried not in own and not self._exists(directory / tried):
                return None
        return None

    def _own_journal(
        self, directory: Path, name: str, identity: Identity
    ) -> tuple[tuple[int, Journal] | None, bool]:
        """Return number and journal of this download's side files for *name*, and whether there are none."""
        folder, stem = self._folders.parts_of(directory, name)
        for side in range(MAX_SIDES):
            journal = load(self._files, folder / journal_of(stem, side))
            if journal is not None and journal.belongs_to(identity):
                return (side, journal), False
            beside = (folder / file for file in side_files(stem, side))
            if journal is not None or not any(map(self._exists, beside)):
                return None, journal is None
        return None, False

    async def recorded(
        self, directory: Path, name: str, identity: Identity
    ) -> tuple[Existing, FileRecord] | None:
        """Return the finished file of this download under *name* or a candidate, with the record on it.

        A file that was changed since it was finished does not count. No other job of the run gets its name.
        """
        name = self._folders.fit(directory, name)
        if not await self._look(self._has_alike, directory, name):
            return None
        try:
            return await self._threads.run(self._names.recorded, directory, name, identity.key)
        except OSError:
            return None  # the download itself meets the same error, and reports it

    def _exists(self, path: Path | str) -> bool:
        try:
            return self._files.stat(path) is not None
        except OSError:
            return False

    async def claim(
        self,
        directory: Path,
        name: str,
        policy: ExistingPolicy,
        *,
        length: int | None = None,
    ) -> Part | Existing | Unproven:
        """Lock the part of *name*, or of the next name that is free.

        Its content is left as it is until :meth:`Part.begin`.

        :param length: bytes of the whole, if known: they must fit on the disk.
        :raises DiskError: full, refused, a folder has the name, another process has the lock.
        """
        pending = _PendingPart()
        try:
            found = await self._context.run(
                directory / name, self._claim, pending, directory, name, policy, length
            )
        except asyncio.CancelledError:
            pending.cancel()
            raise
        return Part(found, self._context) if isinstance(found, LockedPart) else found

    async def require_free(self, directory: Path) -> None:
        """Check, once a disk of the run has been found full, whether that of *directory* has room.

        :raises DiskFullError: it has none.
        """
        if self._some_disk_full:
            await self._context.run(directory, self._require_free, directory)

    def note_full(self) -> None:
        """Look at the free space of a disk, from now on, before a download for it is asked for."""
        self._some_disk_full = True

    async def put(
        self,
        directory: Path,
        name: str,
        policy: ExistingPolicy,
        body: CompleteBody,
        *,
        aside: Callable[[], None] = lambda: None,
    ) -> Finished | Existing:
        """Store a complete body under its final name, in one step and without a journal.

        Takes what :meth:`claim` takes, and raises what :meth:`Part.finish` raises as well.

        :param aside: is called before this begins, so that others can use the network meanwhile.
        """
        policy = policy._replace(holds=partial(body.holds, self._files), head=body.head)
        aside()
        short = body.size <= SHORT and not self._settings.fsync and self._folders.is_local(directory)
        try:
            if short:
                with suppress(BusyNameError):
                    brief = policy._replace(waits=False)
                    return await self._threads.run_short(self._put, body, directory, name, brief)
            return await self._threads.run(self._put, body, directory, name, policy)
        except OSError as error:
            raise translate(error, directory / name) from error

    def look_again(self) -> None:
        """Look at the folders anew: another process has died, and left files and parts of jobs there."""
        self._names.look_again()

    async def ends(self, path: Path, size: int) -> tuple[bytes, bytes]:
        """Return the first and the last *size* bytes of a file; fewer where it became shorter.

        :raises DiskError: it cannot be read.
        """
        return await self._context.run(path, self._ends, path, size)

    def pipe(self, stream: BinaryIO) -> Pipe:
        """Return a sink for standard output, or what stands for it; it is not closed."""
        pipe = Pipe(stream, self._threads, overlap=self._settings.overlap)
        self._context.open.add(pipe)
        return pipe

    def file_object(self, file: BinaryIO) -> FileObjectSink:
        """Return a sink that writes to a file object of the caller's, which it does not close."""
        return FileObjectSink(file, self._threads, overlap=self._settings.overlap)

    async def aclose(self) -> None:
        """Save and close what is still open, and end the threads; bounded by their own time limits."""
        for sink in list(self._context.open):
            await sink.close()
        await self._threads.aclose()

    # --- in a thread

    def _ends(self, path: Path, size: int) -> tuple[bytes, bytes]:
        fd = self._files.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            ends = []
            for start in (0, max(0, self._files.fstat(fd).st_size - size)):
                buffer = bytearray(size)
                ends.append(bytes(buffer[: self._files.preadv(fd, [buffer], start)]))
        finally:
            self._files.close(fd)
        return ends[0], ends[1]

    def _require_free(self, directory: Path) -> None:
        for wanted in (directory, *([self._settings.temp_dir] if self._settings.temp_dir else [])):
            # The folder need not exist yet; its nearest parent is on the same disk.
            parents = self._files.resolved(wanted).parents
            folder = next(filter(self._exists, (wanted, *parents)), None)
            if folder is not None:
                require_free(self._files, folder, wanted, self._settings)

    def _holds(self, directory: Path, name: str, checksum: Checksum, owner: str) -> Existing | None:
        path = directory / name
        found = self._files.stat(path)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        if not has_digests(self._files, path, None, found.st_size, [checksum]):
            return None
        self._names.use(directory, name, owner)
        return Existing(path, "has the checksum", found.st_size)

    def _claim(
        self,
        pending: _PendingPart,
        directory: Path,
        name: str,
        policy: ExistingPolicy,
        length: int | None,
    ) -> LockedPart | Existing | Unproven:
        found = self._names.claim(directory, name, policy)
        if not isinstance(found, LockedPart):
            return found
        try:
            if length is not None:
                self._context.require_room(found, length)
        except BaseException:
            found.abandon()
            raise
        pending.deliver(found)
        return found

    def _put(
        self, body: CompleteBody, directory: Path, name: str, policy: ExistingPolicy
    ) -> Finished | Existing:
        # A journal of an earlier run would outlive its part: where there are any, a locked part is used.
        if self._unnamed and not self._folders.left_behind(directory):
            try:
                return self._store(body, directory, name, policy, unnamed=True)
            except NameTakenError:
                pass  # the file of that name is to be judged: it may be this very download
            except UnnamedError:
                self._unnamed = False
        return self._store(body, directory, name, policy, unnamed=False)

    def _store(
        self, body: CompleteBody, directory: Path, name: str, policy: ExistingPolicy, *, unnamed: bool
    ) -> Finished | Existing:
        found = self._names.claim(directory, name, policy, unnamed=unnamed)
        if isinstance(found, Existing):
            return found
        if isinstance(found, Unproven):
            raise TypeError("a complete body proves itself")
        try:
            if self._room_check_due(body.size):
                self._context.require_room(found, body.size)
            kept = body.store(found, self._context)
        except BaseException:
            found.abandon()
            raise
        found.close()
        return kept

    def _room_check_due(self, size: int) -> bool:
        """Whether to look at the disk's free space: always for a large body, else as often as checkpoints."""
        now = self._context.clock()
        due = size > SHORT or now - self._room_checked_at >= self._settings.checkpoint
        if due:
            self._room_checked_at = now
        return due


class _PendingPart:
    """A locked part on its way from a thread to a caller that may have been cancelled meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._part: LockedPart | None = None
        self._cancelled = False

    def deliver(self, part: LockedPart) -> None:
        """Keep *part* for the caller, or abandon it when there is none any more."""
        with self._lock:
            self._part = part
            if self._cancelled:
                part.abandon()

    def cancel(self) -> None:
        """Abandon the part, at once or when it comes."""
        with self._lock:
            self._cancelled = True
            if self._part is not None:
                self._part.abandon()
