"""The parts of one run: names, locks and threads that they share."""

from __future__ import annotations

import asyncio
import math
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from .._digests import Checksum
from .._naming import candidates
from .._ranges import total
from .._settings import Disk
from .complete import CompleteBody
from .context import DiskContext
from .files import Files, NameTakenError, UnnamedError, translate
from .folders import Folders
from .hashing import has_digests
from .journal import Identity, journal_of, load, part_of
from .lock import LockedPart, require_room
from .names import Existing, ExistingPolicy, NameRegistry, Same
from .part import Part
from .pipe import Pipe
from .publish import Finished
from .threads import Threads

__all__ = ["Parts"]

# Candidates among which an earlier run's part is looked for: each costs two system calls on the event loop.
MAX_PEEKS = 100

# A body up to this many bytes is hashed and written in the time that a call into a thread takes.
SHORT = 64 * 1024

# The kernel stamps files with a coarse clock of its own, at most one tick (1/100 s) behind time.time().
TICK = 0.01


class Parts:
    """Locks the parts of a run, and stores complete bodies.

    :param threads: most file operations at once.
    :param files: the file system.
    :param clock: monotonic seconds, for checkpoints and for noticing a slow disk.
    :param now: seconds since the epoch, read once.
    """

    def __init__(
        self,
        settings: Disk,
        *,
        threads: int,
        files: Files | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._files = files or Files()
        self._threads = Threads(threads, clock)
        self._folders = Folders(self._files, durable=settings.fsync)
        self._names = NameRegistry(settings, self._files, self._folders)
        self._context = DiskContext(settings, self._files, self._threads, clock, now() - TICK, set())
        self._room_checked_at = -math.inf
        # Linux has files without a name, most file systems have, and /proc names them.
        self._unnamed = hasattr(os, "O_TMPFILE")

    def left_behind(self, directory: Path) -> bool:
        """Whether an earlier run may have left parts in *directory*; looked up once for each folder."""
        return self._folders.left_behind(directory)

    def peek(self, directory: Path, name: str, identity: Identity) -> str | None:
        """Return the candidate for *name* whose journal is this download's; None when there is none.

        Fit for the event loop: two failing system calls where nothing is there.
        """
        for candidate in islice(candidates(name), MAX_PEEKS):
            journal = load(self._files, directory / journal_of(candidate))
            if journal is not None and journal.belongs_to(identity):
                # Without a part it vouches for no bytes, but may still prove a finished file to be this one.
                paths = (directory / part_of(candidate), directory / candidate)
                return candidate if any(map(self._exists, paths)) else None
            if journal is None and not self._exists(directory / candidate):
                return None
        return None

    async def holds(self, directory: Path, name: str, checksum: Checksum) -> Existing | None:
        """Return the finished file of that *name* if, read once, it has the *checksum*."""
        path = directory / name
        if not self._exists(path):
            return None
        try:
            return await self._threads.run(self._holds, path, checksum)
        except OSError:
            return None  # the download itself meets the same error, and reports it

    def trusted(self, directory: Path, name: str, identity: Identity) -> int:
        """Return how many bytes of this download an earlier run has left, without changing anything."""
        found = self.peek(directory, name, identity)
        if found is None:
            return 0
        journal = load(self._files, directory / journal_of(found))
        part = self._files.stat(directory / part_of(found))
        return total(journal.within(part.st_size).spans) if journal is not None and part is not None else 0

    def _exists(self, path: Path) -> bool:
        try:
            return self._files.stat(path) is not None
        except OSError:
            return False

    async def claim(
        self,
        directory: Path,
        name: str,
        identity: Identity,
        *,
        same: Same,
        checksums: Sequence[Checksum] = (),
        confined: bool = False,
        length: int | None = None,
    ) -> Part | Existing:
        """Lock the part of *name*, or of the next name that is free.

        Its content is left as it is until :meth:`Part.begin`.

        :param same: whether a finished file of this stat is the download.
        :param checksums: what such a file must hash to besides; it is read for them.
        :param confined: *directory* must be in the run's, symbolic links followed.
        :param length: bytes of the whole, if known: they must fit on the disk.
        :raises DiskError: full, refused, a folder has the name, another process has the lock.
        """
        policy = ExistingPolicy(identity, same, checksums, confined)
        pending = _PendingPart()
        try:
            found = await self._threads.run(self._claim, pending, directory, name, policy, length)
        except asyncio.CancelledError:
            pending.cancel()
            raise
        except OSError as error:
            raise translate(error, directory / name) from error
        return found if isinstance(found, Existing) else Part(found, identity, self._context)

    async def put(
        self,
        directory: Path,
        name: str,
        identity: Identity,
        body: CompleteBody,
        *,
        same: Same,
        checksums: Sequence[Checksum] = (),
        confined: bool = False,
        aside: Callable[[], None] = lambda: None,
    ) -> Finished | Existing:
        """Store a complete body under its final name, in one step and without a journal.

        Takes what :meth:`claim` takes, and raises what :meth:`Part.finish` raises as well.

        :param aside: is called before this begins, so that others can use the network meanwhile.
        """
        policy = ExistingPolicy(identity, same, checksums, confined)
        aside()
        short = body.size <= SHORT and not self._settings.fsync and self._folders.is_local(directory)
        run = self._threads.run_short if short else self._threads.run
        try:
            return await run(self._put, body, directory, name, policy)
        except OSError as error:
            raise translate(error, directory / name) from error

    def pipe(self, stream: BinaryIO) -> Pipe:
        """Return a sink that writes to *stream*, which it does not close."""
        pipe = Pipe(stream, self._threads, overlap=self._settings.overlap)
        self._context.open.add(pipe)
        return pipe

    async def aclose(self) -> None:
        """Save and close what is still open, and end the threads; bounded by their own time limits."""
        for sink in list(self._context.open):
            await sink.close()
        await self._threads.aclose()

    # --- in a thread

    def _holds(self, path: Path, checksum: Checksum) -> Existing | None:
        found = self._files.stat(path)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        right = has_digests(self._files, path, None, found.st_size, [checksum])
        return Existing(path, "has the checksum", found.st_size) if right else None

    def _claim(
        self,
        pending: _PendingPart,
        directory: Path,
        name: str,
        policy: ExistingPolicy,
        length: int | None,
    ) -> LockedPart | Existing:
        found = self._names.claim(directory, name, policy)
        if isinstance(found, Existing):
            return found
        try:
            if length is not None:
                require_room(found, length, self._settings.min_free)
        except BaseException:
            found.abandon()
            raise
        pending.deliver(found)
        return found

    def _put(
        self, body: CompleteBody, directory: Path, name: str, policy: ExistingPolicy
    ) -> Finished | Existing:
        # A journal of an earlier run would outlive its part: where there are any, a locked part is used.
        if self._unnamed and not self.left_behind(directory):
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
        try:
            if self._room_check_due(body.size):
                require_room(found, body.size, self._settings.min_free)
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
