"""The unfinished file: bytes first, then the journal that vouches for them, then the name."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar, TypeVarTuple

from .._errors import DiskError, DiskFullError, LockedError
from .._models import Buffer, Resource, Span
from .._naming import printable
from .._ranges import add, covers, total
from .._settings import Disk
from .._units import size as shown
from .files import translate, write_all
from .hashing import PrefixHasher
from .journal import Identity, Journal, forget, save
from .names import Existing, LockedPart, open_part, require_room
from .publish import Finished, publish, require_own_name, twin
from .sink import Sink
from .threads import Threads

__all__ = ["DiskContext", "Part"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A healthy disk ends a write long before; a hung network file system may never.
IDLE_SECONDS = 10.0


class DiskContext(NamedTuple):
    """What all parts of a run share.

    :param clock: steady seconds.
    :param began: when the run began, in seconds since the epoch.
    :param open: what is to be closed when the run ends.
    """

    settings: Disk
    threads: Threads
    clock: Callable[[], float]
    began: float
    open: set[Sink]


class Part:
    """A locked, unfinished file. Several writes at different offsets may be under way at once.

    :ivar journal: what the journal says: an earlier run's words until :meth:`begin`, then ours.
    :ivar spans: which bytes are on disk and trusted, merged.
    """

    restartable = True

    def __init__(self, claim: LockedPart, identity: Identity, around: DiskContext) -> None:
        self.name = claim.name
        self.path = claim.path
        self.journal: Journal | None = claim.journal
        self.spans: tuple[Span, ...] = claim.journal.spans if claim.journal else ()
        self._claim = claim
        self._identity = identity
        self._around = around
        self._settings = around.settings
        self._files = claim.files
        self._prefix: PrefixHasher | None = None
        self._saved: tuple[Span, ...] = self.spans
        self._saved_at = around.clock()
        self._saving = threading.Lock()
        # Guards the bookkeeping; held throughout by what must be alone.
        self._idle = threading.Condition(threading.RLock())
        self._busy = 0
        self._closed = False
        around.open.add(self)

    async def begin(self, resource: Resource, algorithms: Sequence[str]) -> None:
        """Note in the journal what is being fetched; comes before each attempt's first write.

        :param algorithms: digests to compute, canonical names.
        :raises DiskFullError: the resource does not fit.
        """
        await self._hop(self._begin, resource, algorithms)

    async def write(self, offset: int, chunks: Sequence[Buffer]) -> None:
        """Write *chunks* one behind the other at *offset*, hash them, and note them when that is due."""
        await self._hop(self._write, offset, chunks)

    async def write_all(self, batches: deque[tuple[int, list[Buffer]]], wrote: Callable[[int], None]) -> None:
        """Write *batches*, each an offset and its chunks, in one hop until none is left.

        More may be added meanwhile. A batch stays in the queue until it is on disk.

        :param wrote: is called in the loop's thread with the bytes of each batch that is.
        """
        loop = asyncio.get_running_loop()
        await self._hop(self._write_all, batches, lambda size: loop.call_soon_threadsafe(wrote, size))

    async def read(self, span: Span) -> bytes:
        """Read *span* back; shorter where the part ends."""
        return await self._hop(self._read, span)

    async def reset(self) -> None:
        """Start over at the first byte of the same part, under the same lock."""
        await self._hop(self._reset)

    async def finish(
        self, *, size: int, mtime: float | None, check: Callable[[Mapping[str, str]], None]
    ) -> Finished | Existing:
        """Verify the part and give it its final name; it is closed then.

        :param size: bytes that the resource has; the part must hold each of them.
        :param mtime: modification time to set, in seconds since the epoch.
        :param check: is handed algorithm to hex, and raises if these are wrong; the part is kept then.
        """
        return await self._hop(self._finish, size, mtime, check)

    async def spoil(self) -> Path:
        """Keep wrong bytes as ``NAME.part.bad``, and start over with an empty part.

        :raises LockedError: another process was quicker to take the name.
        """
        return await self._hop(self._spoil)

    async def close(self) -> None:
        """Note what was written and let go; a part without a byte is removed. Safe to call again."""
        if self._prefix is not None:
            self._prefix.stop()
        await self._hop(self._close)

    async def _hop(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            return await self._around.threads.run(function, *args)
        except OSError as error:
            raise translate(error, self.path) from error

    # --- in a thread

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """Use the descriptor beside others; nobody closes it or starts over meanwhile."""
        with self._idle:
            if self._closed:
                raise ValueError(f"{self.name} is closed")
            self._busy += 1
        try:
            yield
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Use the part when nobody else does: a cancelled write goes on in its thread until it ends."""
        if not self._idle.acquire(timeout=IDLE_SECONDS):
            raise DiskError(f"{printable(str(self.path))}: the disk does not answer.")
        try:
            if not self._idle.wait_for(lambda: self._busy == 0, IDLE_SECONDS):
                raise DiskError(f"{printable(str(self.path))}: the disk does not answer.")
            yield
        finally:
            self._idle.release()

    def _begin(self, resource: Resource, algorithms: Sequence[str]) -> None:
        with self._alone():
            if resource.length is not None:
                require_room(self._claim, resource.length, self._settings.min_free)
            if self._prefix is None or self._prefix.algorithms != tuple(algorithms):
                self._prefix = PrefixHasher(self._files, self._claim.fd, algorithms)
            self.journal = Journal.of(self._identity, resource, self.spans)
            # The journal first: it must not vouch for bytes of another resource for a moment.
            self._save()
            if not self.spans:
                self._empty()

    def _write_all(self, batches: deque[tuple[int, list[Buffer]]], wrote: Callable[[int], object]) -> None:
        while batches:
            offset, chunks = batches[0]
            self._write(offset, chunks)
            batches.popleft()
            wrote(sum(map(len, chunks)))

    def _write(self, offset: int, chunks: Sequence[Buffer]) -> None:
        with self._shared():
            prefix = self._begun()
            if offset < prefix.position:
                prefix.restart()
            count = write_all(self._files, self._claim.fd, chunks, offset)
            if count == 0:
                return
            with self._idle:
                self.spans = add(self.spans, Span(offset, offset + count))
            prefix.follow(offset, chunks, self._prefix_end)
            if self._due():
                self._checkpoint()

    def _begun(self) -> PrefixHasher:
        if self._prefix is None:
            raise ValueError("begin() comes first")
        return self._prefix

    def _prefix_end(self) -> int:
        spans = self.spans
        return spans[0].stop if spans and spans[0].start == 0 else 0

    def _due(self) -> bool:
        """Tell whether it is time for a checkpoint, and that it is this caller's to make."""
        with self._idle:
            now = self._around.clock()
            if now - self._saved_at < self._settings.checkpoint:
                return False
            self._saved_at = now
            return True

    def _checkpoint(self) -> None:
        if not self._saving.acquire(blocking=False):
            return
        try:
            self._save()
        finally:
            self._saving.release()
        # Other jobs, and other programs, fill the disk as well.
        free = self._files.free(self._claim.fd)
        if free is not None and free < self._settings.min_free:
            raise DiskFullError(
                f"{printable(str(self.path))}: only {shown(free)} are free on its disk, less than the"
                f" {shown(self._settings.min_free)} that --min-free keeps."
            )

    def _save(self) -> None:
        """Write the journal; the bytes that it vouches for are on disk before it is."""
        spans = self.spans
        if self.journal is None:
            return
        if self._settings.fsync:
            self._files.fdatasync(self._claim.fd)
        self.journal = self.journal._replace(spans=spans)
        save(self._files, self.name, self._claim.dir_fd, self.journal, durable=self._settings.fsync)
        self._saved = spans

    def _read(self, span: Span) -> bytes:
        with self._shared():
            buffer = memoryview(bytearray(len(span)))
            have = 0
            while have < len(span):
                count = self._files.preadv(self._claim.fd, [buffer[have:]], span.start + have)
                if count == 0:
                    break
                have += count
            return bytes(buffer[:have])

    def _reset(self) -> None:
        with self._alone():
            self._forget_bytes()
            self._empty()

    def _empty(self) -> None:
        # A file that was ever cut to nothing is flushed by ext4 when it is closed: 0.1 s for 512 MiB.
        if self._files.fstat(self._claim.fd).st_size:
            self._files.truncate(self._claim.fd, 0)

    def _forget_bytes(self) -> None:
        """Make the journal vouch for nothing, before the bytes go."""
        self.spans, self.journal, self._prefix = (), None, None
        forget(self._files, self.name, self._claim.dir_fd, durable=self._settings.fsync)

    def _finish(
        self, size: int, mtime: float | None, check: Callable[[Mapping[str, str]], None]
    ) -> Finished | Existing:
        with self._alone():
            self._require_whole(size)
            digests = self._begun().digests(size)
            check(digests)
            if mtime is not None:
                self._files.touch(self._claim.fd, mtime)
            kept = twin(self._claim, self._settings, size, self._around.began) or publish(
                self._claim, self._settings, size
            )
            self._let_go()
            return kept if isinstance(kept, Existing) else Finished(kept, size, digests)

    def _require_whole(self, size: int) -> None:
        """Check that the part is all there, and cut off what lies behind its end."""
        found = require_own_name(self._claim)
        if found.st_size < size or not covers(self.spans, size):
            have = min(found.st_size, total(self.spans))
            raise DiskError(
                f"{printable(str(self.path))} holds {have} of {size} bytes; start it again to go on."
            )
        if found.st_size > size:
            self._files.truncate(self._claim.fd, size)

    def _spoil(self) -> Path:
        claim = self._claim
        with self._alone():
            self._forget_bytes()
            aside = claim.put_aside()
            opened = open_part(self._files, self.name, claim.dir_fd, self._lost)
            if opened is None:
                raise self._lost()
            self._files.close(claim.fd)
            claim.fd = opened[0]
            return claim.directory / aside

    def _lost(self) -> LockedError:
        return LockedError(f"{printable(str(self.path))} was taken by another process; start it again.")

    def _close(self) -> None:
        # A disk that does not answer keeps its descriptor: closed under a writer, the number could come to
        # mean another file.
        with suppress(DiskError), self._alone():
            if self._closed:
                return
            # What could not be noted is fetched again; the job's own error is the one to be told.
            with suppress(OSError):
                empty = self.spans == () and self._claim.drop_if_empty()
                if not empty and self._prefix is not None and self.spans != self._saved:
                    self._save()
            self._let_go()

    def _let_go(self) -> None:
        self._closed = True
        self._around.open.discard(self)
        self._claim.close()
