"""The unfinished file: bytes first, then the journal that vouches for them, then the name."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from .._errors import DiskError, LockedError
from .._models import Buffer, Resource, Span
from .._naming import printable
from .._ranges import add, covers, total
from .context import DiskContext
from .existing import Existing
from .fallbacks import sync_data
from .files import write_all
from .hashing import Digests, PrefixHasher
from .journal import Journal
from .lock import LockedPart, OpenedPart, open_part
from .publish import Finished, Finishing, publish
from .room import require_free

__all__ = ["Part"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Bound on waiting for writes under way: a disk ends them by then, a file server may never.
IDLE_SECONDS = 10.0


class Part:
    """A locked, unfinished file. Several writes at different offsets may be under way at once.

    :ivar journal: an earlier run's until :meth:`begin`, then this run's.
    :ivar spans: which bytes are on disk and trusted, merged.
    """

    restartable = True
    has_reader = False

    def __init__(self, locked: LockedPart, context: DiskContext) -> None:
        self.name = self.noun = locked.entry.name
        self.path = locked.path
        self.journal: Journal | None = locked.journal
        self.spans: tuple[Span, ...] = locked.journal.spans if locked.journal else ()
        self._locked = locked
        self._entry = locked.entry
        self._files = context.files
        self._identity = locked.identity
        self._context = context
        self._settings = context.settings
        self._hasher: PrefixHasher | None = None
        self._saved: tuple[Span, ...] = self.spans
        self._saved_at = context.clock()
        self._saving = threading.Lock()
        # Guards the fields above; held throughout by work that must be the only one.
        self._idle = threading.Condition(threading.RLock())
        self._busy = 0
        self._closed = False
        context.open.add(self)

    async def begin(self, resource: Resource, algorithms: Sequence[str]) -> None:
        """Note in the journal what is being fetched; comes before each attempt's first write.

        :param algorithms: digests to compute, canonical names.
        :raises DiskFullError: the resource does not fit.
        """
        await self._run(self._begin, resource, algorithms)

    async def write_all(self, batches: deque[tuple[int, list[Buffer]]], wrote: Callable[[int], None]) -> None:
        """Write *batches*, each an offset and its chunks, in one thread until none is left.

        More may be added meanwhile. A batch stays in the queue until it is on disk.

        :param wrote: is called in the loop's thread with the bytes of each batch that is.
        """
        loop = asyncio.get_running_loop()
        await self._run(self._write_all, batches, lambda size: loop.call_soon_threadsafe(wrote, size))

    async def read(self, span: Span) -> bytes:
        """Read *span* back; shorter where the part ends."""
        return await self._run(self._read, span)

    async def reset(self) -> None:
        """Start over at the first byte of the same part, under the same lock."""
        await self._run(self._reset)

    async def finish(
        self, *, size: int, mtime: float | None, check: Callable[[Mapping[str, str]], None]
    ) -> Finished | Existing:
        """Verify the part and give it its final name; it is closed then.

        :param size: bytes of the resource; the part must hold each of them.
        :param mtime: modification time to set, in seconds since the epoch.
        :param check: is handed algorithm to hex, and raises if these are wrong; the part is kept then.
        """
        return await self._run(self._finish, size, mtime, check)

    async def spoil(self) -> Path:
        """Keep wrong bytes as ``NAME.part.bad``, return its path, and start over with an empty part.

        :raises LockedError: another process has taken the name meanwhile.
        """
        return await self._run(self._spoil)

    async def close(self) -> None:
        """Save the journal and release the lock; a part without a byte is removed. Safe to call again."""
        self._locked.stopping = True
        if self._hasher is not None:
            self._hasher.stop()
        await self._run(self._close)

    async def _run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        return await self._context.run(self.path, function, *args)

    # --- in a thread

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """Use the descriptor beside others, while it is neither closed nor started over."""
        with self._idle:
            if self._closed:
                raise RuntimeError(f"{self.name} is closed")
            self._busy += 1
        try:
            yield
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Wait for the writes under way: one whose caller was cancelled goes on in its thread until it ends."""
        if not self._idle.acquire(timeout=IDLE_SECONDS):
            raise DiskError(f"{printable(str(self.path))}: the disk does not answer.")
        try:
            if not self._idle.wait_for(lambda: self._busy == 0, IDLE_SECONDS):
                raise DiskError(f"{printable(str(self.path))}: the disk does not answer.")
            yield
        finally:
            self._idle.release()

    def _begin(self, resource: Resource, algorithms: Sequence[str]) -> None:
        with self._exclusive():
            if resource.length is not None:
                self._context.require_room(self._locked, resource.length, reserve=True)
            if self._hasher is None or self._hasher.algorithms != tuple(algorithms):
                self._hasher = PrefixHasher(self._files, self._locked.fd, algorithms)
            self.journal = Journal.of(self._identity, resource, self.spans)
            # Before the bytes go: otherwise the old journal would vouch for bytes of the new resource.
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
            hasher = self._begun()
            if offset < hasher.position:
                hasher.restart()
            count = write_all(self._files, self._locked.fd, chunks, offset)
            if count == 0:
                return
            with self._idle:
                self.spans = add(self.spans, Span(offset, offset + count))
            hasher.follow(offset, chunks, self._prefix_end)
            if self._due():
                self._checkpoint()

    def _begun(self) -> PrefixHasher:
        if self._hasher is None:
            raise RuntimeError("begin() comes first")
        return self._hasher

    def _prefix_end(self) -> int:
        spans = self.spans
        return spans[0].stop if spans and spans[0].start == 0 else 0

    def _due(self) -> bool:
        """Whether it is time for a checkpoint; True for one caller each time."""
        with self._idle:
            now = self._context.clock()
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
        require_free(self._files, self._locked.fd, self.path, self._settings)

    def _save(self) -> None:
        """Write the journal; the bytes that it vouches for are on disk before it is."""
        spans = self.spans
        if self.journal is None:
            return
        if self._settings.fsync:
            sync_data(self._files, self._locked.fd)
        self.journal = self.journal._replace(spans=spans)
        self._entry.save(self.journal, durable=self._settings.fsync)
        self._saved = spans

    def _read(self, span: Span) -> bytes:
        with self._shared():
            buffer = memoryview(bytearray(len(span)))
            have = 0
            while have < len(span):
                count = self._files.preadv(self._locked.fd, [buffer[have:]], span.start + have)
                if count == 0:
                    break
                have += count
            return bytes(buffer[:have])

    def _reset(self) -> None:
        with self._exclusive():
            self._trust_nothing()
            self._empty()

    def _empty(self) -> None:
        # ext4 flushes a file that was ever truncated to nothing when it is closed: 0.1 s for 512 MiB.
        if self._files.fstat(self._locked.fd).st_size:
            self._files.truncate(self._locked.fd, 0)

    def _trust_nothing(self) -> None:
        """Make the journal vouch for nothing, before the bytes go."""
        self.spans, self.journal, self._hasher = (), None, None
        self._entry.save(Journal.new(self._identity), durable=self._settings.fsync)

    def _finish(
        self, size: int, mtime: float | None, check: Callable[[Mapping[str, str]], None]
    ) -> Finished | Existing:
        with self._exclusive():
            self._require_complete(size)
            digests = self._begun().digests(size)
            check(Digests(digests, lambda name: self._digest(name, size)))
            journal = self.journal or Journal.new(self._identity)
            kept = publish(
                self._locked,
                self._context,
                Finishing(size, digests, mtime, journal.etag, journal.last_modified),
            )
            self._release()
            return kept

    def _digest(self, algorithm: str, size: int) -> str:
        """Hash the part again, by another algorithm."""
        self._hasher = PrefixHasher(self._files, self._locked.fd, [algorithm])
        return self._hasher.digests(size)[algorithm]

    def _require_complete(self, size: int) -> None:
        """Check that the part holds all *size* bytes, and cut off what lies behind them."""
        found = self._locked.require_own_name()
        if found.st_size < size or not covers(self.spans, size):
            have = min(found.st_size, total(self.spans))
            raise DiskError(
                f"{printable(str(self.path))} holds {have} of {size} bytes; start it again to go on."
            )
        if found.st_size > size:
            self._files.truncate(self._locked.fd, size)

    def _spoil(self) -> Path:
        with self._exclusive():
            self._trust_nothing()
            aside = self._locked.put_aside()
            opened = open_part(self._entry, self._identity, take_over=True)
            if not isinstance(opened, OpenedPart):
                raise LockedError(f"{printable(str(self.path))} was taken by another process; start it again.")
            self._context.reserved.release(self._locked.fd)
            self._files.close(self._locked.fd)
            self._locked.fd = opened.fd
            self._locked.entry = self._entry = opened.entry
            return aside

    def _close(self) -> None:
        # On a disk that does not answer the descriptor stays open: if it were closed under a writer, its number
        # could come to mean another file.
        with suppress(DiskError), self._exclusive():
            if self._closed:
                return
            # Bytes that could not be noted are fetched again; the job's own error is the one to report.
            with suppress(OSError):
                if not self._locked.drop_if_empty() and self.spans != self._saved:
                    self._save()
            self._release()

    def _release(self) -> None:
        self._closed = True
        self._context.open.discard(self)
        self._context.release_room(self._locked)
        self._locked.close()
