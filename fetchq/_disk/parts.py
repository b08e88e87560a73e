"""The parts of one run: names, locks and threads that they share."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from .._models import Buffer
from .._naming import candidates
from .._ranges import total
from .._settings import Disk
from .complete import CompleteBody
from .files import Files, NameTakenError, UnnamedError, translate
from .folders import Folders
from .journal import Identity, journal_of, load, part_of
from .names import Existing, ExistingPolicy, LockedPart, NameRegistry, Same, require_room
from .part import DiskContext, Part
from .pipe import Pipe
from .publish import Finished
from .threads import Threads

__all__ = ["Parts"]

# Looking for an earlier run's part stops here: each name costs two calls on the event loop.
MAX_PEEKS = 100

# Bytes that are hashed and written in the time that handing them to a thread takes.
SHORT = 64 * 1024

# The kernel stamps files with its own coarse clock, up to one tick (1/100 s) behind the one we read.
TICK = 0.01


class Parts:
    """Gives out parts, and brings whole bodies to disk.

    :param threads: most file operations at once.
    :param files: the file system.
    :param clock: steady seconds, for checkpoints and for noticing a slow disk.
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
        self._claims = NameRegistry(settings, self._files, self._folders)
        self._around = DiskContext(settings, self._threads, clock, now() - TICK, set())
        self._looked_at = -math.inf
        # Linux has files without a name, most file systems have, and /proc names them.
        self._unnamed = hasattr(os, "O_TMPFILE")

    def left_behind(self, directory: Path) -> bool:
        """Whether an earlier run may have left parts in *directory*; looked up once for each folder."""
        return self._folders.left_behind(directory)

    def peek(self, directory: Path, name: str, identity: Identity) -> str | None:
        """Give the candidate for *name* whose journal is this download's; None when there is none.

        Costs two failing calls where nothing is there, so that it need not leave the event loop.
        """
        for candidate in islice(candidates(name), MAX_PEEKS):
            journal = load(self._files, directory / journal_of(candidate))
            if journal is not None and journal.belongs_to(identity):
                # Without a part it vouches for no bytes, but may still prove a finished file to be this one.
                paths = (directory / part_of(candidate), directory / candidate)
                return candidate if any(map(self._taken, paths)) else None
            if journal is None and not self._taken(directory / candidate):
                return None
        return None

    def trusted(self, directory: Path, name: str, identity: Identity) -> int:
        """Give how many bytes of this download an earlier run has left, without touching them."""
        found = self.peek(directory, name, identity)
        if found is None:
            return 0
        journal = load(self._files, directory / journal_of(found))
        part = self._files.stat(directory / part_of(found))
        return total(journal.within(part.st_size).spans) if journal is not None and part is not None else 0

    def _taken(self, path: Path) -> bool:
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
        digests: Mapping[str, str] | None = None,
        length: int | None = None,
    ) -> Part | Existing:
        """Lock the part of *name*, or of the next name that is free.

        What lies there is left alone until :meth:`Part.begin`.

        :param same: tells from its stat whether a finished file is this very download.
        :param digests: algorithm to hex that such a file must have besides; it is read for them.
        :param length: bytes of the whole, if known: they must fit on the disk.
        :raises DiskError: full, refused, a folder has the name, another process has the lock.
        """
        handover = _Handover()
        try:
            wish = ExistingPolicy(identity, same, digests or {})
            found = await self._threads.run(self._claim, handover, directory, name, wish, length)
        except asyncio.CancelledError:
            handover.refuse()
            raise
        except OSError as error:
            raise translate(error, directory / name) from error
        if isinstance(found, Existing):
            return found
        return Part(found, identity, self._around)

    async def put(
        self,
        directory: Path,
        name: str,
        identity: Identity,
        *,
        same: Same,
        digests: Mapping[str, str] | None = None,
        chunks: Sequence[Buffer],
        algorithms: Sequence[str],
        mtime: float | None,
        check: Callable[[Mapping[str, str]], None],
        aside: Callable[[], None] = lambda: None,
    ) -> Finished | Existing:
        """Bring a body that has arrived whole to disk under its final name, in one step, without a journal.

        Takes what :meth:`claim` and :meth:`Part.finish` take. Wrong bytes are kept as ``NAME.part.bad``.

        :param aside: is called before this begins, so that others can use the network meanwhile.
        """
        whole, wish = (
            CompleteBody(chunks, algorithms, mtime, check),
            ExistingPolicy(identity, same, digests or {}),
        )
        try:
            aside()
            short = whole.size <= SHORT and not self._settings.fsync and self._folders.is_local(directory)
            run = self._threads.run_short if short else self._threads.run
            return await run(self._put, whole, directory, name, wish)
        except OSError as error:
            raise translate(error, directory / name) from error

    def pipe(self, stream: BinaryIO) -> Pipe:
        """Give a sink that writes to *stream*, which it does not close."""
        pipe = Pipe(stream, self._threads, overlap=self._settings.overlap)
        self._around.open.add(pipe)
        return pipe

    async def aclose(self) -> None:
        """Save and close what is still open, and end the threads; bounded."""
        for sink in list(self._around.open):
            await sink.close()
        await self._threads.aclose()

    # --- in a thread

    def _claim(
        self,
        handover: _Handover,
        directory: Path,
        name: str,
        wish: ExistingPolicy,
        length: int | None,
    ) -> LockedPart | Existing:
        found = self._claims.take(directory, name, wish)
        if isinstance(found, Existing):
            return found
        try:
            if length is not None:
                require_room(found, length, self._settings.min_free)
        except BaseException:
            found.abandon()
            raise
        handover.give(found)
        return found

    def _put(
        self, whole: CompleteBody, directory: Path, name: str, wish: ExistingPolicy
    ) -> Finished | Existing:
        # An older journal would outlive its part: where there are any, a part's way tidies up.
        if self._unnamed and not self.left_behind(directory):
            try:
                return self._store(whole, directory, name, wish, unnamed=True)
            except NameTakenError:
                pass  # what has the name is to be judged: it may be this very file
            except UnnamedError:
                self._unnamed = False
        return self._store(whole, directory, name, wish, unnamed=False)

    def _store(
        self, whole: CompleteBody, directory: Path, name: str, wish: ExistingPolicy, *, unnamed: bool
    ) -> Finished | Existing:
        found = self._claims.take(directory, name, wish, unnamed=unnamed)
        if isinstance(found, Existing):
            return found
        try:
            if self._room_is_due(whole.size):
                require_room(found, whole.size, self._settings.min_free)
            kept = whole.store(found, self._settings, self._around.began)
        except BaseException:
            found.abandon()
            raise
        found.close()
        return kept

    def _room_is_due(self, size: int) -> bool:
        """Tell whether to look at the disk's free space: small bodies are looked at as often as large ones."""
        now = self._around.clock()
        due = size > SHORT or now - self._looked_at >= self._settings.checkpoint
        if due:
            self._looked_at = now
        return due


class _Handover:
    """A claim on its way from a thread to a caller who may no longer be there to close it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claim: LockedPart | None = None
        self._refused = False

    def give(self, claim: LockedPart) -> None:
        with self._lock:
            self._claim = claim
            if self._refused:
                claim.abandon()

    def refuse(self) -> None:
        with self._lock:
            self._refused = True
            if self._claim is not None:
                self._claim.abandon()
