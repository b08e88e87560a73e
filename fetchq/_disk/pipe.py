"""Standard output in a part's place: what was written is gone, so nothing is ever written twice."""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from .._digests import Hasher
from .._errors import ChangedError, DiskError, StoppedError
from .._models import Buffer, Resource, Span
from .files import translate
from .journal import Journal
from .publish import Finished
from .threads import Threads

__all__ = ["Pipe", "PipeClosedError"]

# A pipe that poll(2) calls writable takes this much at once without waiting (pipe(7), PIPE_BUF).
PIECE = select.PIPE_BUF
# How soon a writer whose reader is slow notices that it is to stop.
WATCH_MILLISECONDS = 100


class PipeClosedError(DiskError):
    """The program that reads standard output has ended: not worth a word to the user."""


class Pipe:
    """Writes a download to a stream, from the first byte to the last.

    :param stream: binary; it is not closed.
    :param overlap: how many of the last bytes to remember, for comparing when a transfer resumes.
    """

    name = "-"
    path = Path("-")
    journal: Journal | None = None

    def __init__(self, stream: BinaryIO, threads: Threads, *, overlap: int) -> None:
        self._stream = stream
        self._threads = threads
        self._fd = _descriptor(stream)
        self._overlap = overlap
        self._position = 0
        self._tail = b""
        self._algorithms: tuple[str, ...] = ()
        self._hasher = Hasher(())
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @property
    def spans(self) -> tuple[Span, ...]:
        """What was written."""
        return (Span(0, self._position),) if self._position else ()

    @property
    def restartable(self) -> bool:
        """True until the first byte is out."""
        return self._position == 0

    async def begin(self, resource: Resource, algorithms: Sequence[str]) -> None:  # noqa: ARG002 - a Sink's
        """Choose the digests; once bytes are out, the choice stands."""
        if self._position == 0:
            self._algorithms = tuple(algorithms)
            self._hasher = Hasher(algorithms)

    async def write(self, offset: int, chunks: Sequence[Buffer]) -> None:
        """Write *chunks*, which must continue what is out already.

        :raises PipeClosedError: nobody reads any more.
        :raises StoppedError: :meth:`close` was called while the reader was slow.
        """
        if offset != self._position:
            raise ChangedError(
                f"Byte {offset} cannot be written to standard output, where {self._position} are out.",
                transient=False,
            )
        try:
            await self._threads.run(self._write, chunks)
        except BrokenPipeError as error:
            raise PipeClosedError("The program that reads standard output has ended.") from error
        except OSError as error:
            raise translate(error, Path("standard output")) from error

    async def write_all(self, batches: deque[tuple[int, list[Buffer]]], wrote: Callable[[int], None]) -> None:
        """Write *batches* one after the other; what is added meanwhile too."""
        while batches:
            offset, chunks = batches[0]
            await self.write(offset, chunks)
            batches.popleft()
            wrote(sum(map(len, chunks)))

    async def read(self, span: Span) -> bytes:
        """Give *span* again, which must lie within the last bytes that are remembered."""
        first = self._position - len(self._tail)
        if not first <= span.start <= span.stop <= self._position:
            raise ChangedError("What went to standard output cannot be read back.", transient=False)
        return self._tail[span.start - first : span.stop - first]

    async def reset(self) -> None:
        """Refuse, unless nothing is out."""
        if self._position:
            raise ChangedError(
                f"The file changed on the server after {self._position} bytes of it went to standard output;"
                " start again, and discard these.",
                transient=False,
            )

    async def finish(
        self,
        *,
        size: int,
        mtime: float | None,  # noqa: ARG002 - a Sink's
        check: Callable[[Mapping[str, str]], None],
    ) -> Finished:
        """Check that *size* bytes are out, and their digests."""
        if self._position != size:
            raise DiskError(f"Standard output got {self._position} of {size} bytes.")
        digests = self._hasher.hexdigests()
        check(digests)
        return Finished(self.path, size, digests)

    async def spoil(self) -> Path:
        """Refuse, unless nothing is out."""
        await self.reset()
        return self.path

    async def close(self) -> None:
        """Make a write that waits for its reader give up."""
        self._stopped.set()

    def _write(self, chunks: Sequence[Buffer]) -> None:
        with self._lock:
            for chunk in chunks:
                start = self._position
                try:
                    self._send(memoryview(chunk))
                finally:
                    # What is out can never be taken back, so it counts also when the rest failed.
                    self._note(memoryview(chunk)[: self._position - start])

    def _send(self, left: memoryview) -> None:
        if self._fd is None:
            self._stream.write(left)
            self._stream.flush()
            self._position += len(left)
        else:
            self._drain(left, self._fd)

    def _drain(self, left: memoryview, fd: int) -> None:
        """Write in pieces that the reader has room for: a blocked write could not be stopped."""
        whole = stat.S_ISREG(os.fstat(fd).st_mode)
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        while left:
            if not whole and not poll.poll(WATCH_MILLISECONDS):
                self._stop_if_asked()
                continue
            self._stop_if_asked()
            count = os.write(fd, left if whole else left[:PIECE])
            self._position += count
            left = left[count:]

    def _stop_if_asked(self) -> None:
        if self._stopped.is_set():
            raise StoppedError(f"Stopped after {self._position} bytes went to standard output.")

    def _note(self, written: memoryview) -> None:
        self._hasher.update(written)
        if self._overlap:
            self._tail = (self._tail + bytes(written[-self._overlap :]))[-self._overlap :]


def _descriptor(stream: BinaryIO) -> int | None:
    """Give the stream's descriptor, past its buffer; None for one that is only in memory."""
    stream.flush()
    try:
        return stream.fileno()
    except (OSError, AttributeError):
        return None
