"""Standard output, or a file object, in the place of a part: what was written may not be taken back."""

from __future__ import annotations

import os
import select
import stat
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from .._digests import Hasher
from .._errors import ChangedError, DiskError, StoppedError, UsageError
from .._models import Buffer, Resource, Span
from .files import translate
from .journal import Journal
from .publish import Finished
from .threads import Threads

__all__ = ["FileObjectSink", "Pipe", "PipeClosedError", "SequentialSink"]

T = TypeVar("T")

# Bytes that a pipe which poll(2) reports as writable takes without waiting (pipe(7), PIPE_BUF).
PIECE = select.PIPE_BUF
# How often a writer whose reader is slow looks whether it is to stop.
WATCH_MILLISECONDS = 100


class PipeClosedError(DiskError):
    """The program that reads standard output has ended; not reported, as with any command in a pipeline."""


class SequentialSink(ABC):
    """A destination in a part's place that takes the bytes from the first to the last, and keeps the last ones.

    :param noun: what messages call it, such as ``standard output``.
    :param overlap: how many of the last bytes to remember, to be compared when a transfer resumes.
    """

    name = "-"
    has_reader = True
    path = Path("-")
    journal: Journal | None = None

    def __init__(self, noun: str, *, overlap: int) -> None:
        self.noun = noun
        self._overlap = overlap
        self._position = 0
        self._tail = b""
        self._algorithms: tuple[str, ...] = ()
        self._hasher = Hasher(())

    @property
    def spans(self) -> tuple[Span, ...]:
        """The bytes written."""
        return (Span(0, self._position),) if self._position else ()

    @property
    def restartable(self) -> bool:
        """Whether nothing has been written."""
        return self._position == 0

    async def begin(self, resource: Resource, algorithms: Sequence[str]) -> None:  # noqa: ARG002 - a Sink's
        """Choose the digests to compute; ignored once bytes were written."""
        if self._position == 0:
            self._algorithms = tuple(algorithms)
            self._hasher = Hasher(algorithms)

    async def write_all(self, batches: deque[tuple[int, list[Buffer]]], wrote: Callable[[int], None]) -> None:
        """Write *batches* in turn, also those that are added meanwhile; each must continue the one before."""
        while batches:
            offset, chunks = batches[0]
            if offset != self._position:
                raise ChangedError(
                    f"Byte {offset} cannot be written to {self.noun}, where {self._position} are out.",
                    transient=False,
                )
            await self._take(chunks)
            batches.popleft()
            wrote(sum(map(len, chunks)))

    @abstractmethod
    async def _take(self, chunks: Sequence[Buffer]) -> None:
        """Write *chunks*, and :meth:`_note` what was written."""

    def _note(self, written: memoryview) -> None:
        self._hasher.update(written)
        if self._overlap:
            self._tail = (self._tail + bytes(written[-self._overlap :]))[-self._overlap :]

    async def read(self, span: Span) -> bytes:
        """Return *span* again; only the last bytes written, as many as the overlap, are remembered.

        :raises ChangedError: it is not within these.
        """
        first = self._position - len(self._tail)
        if not first <= span.start <= span.stop <= self._position:
            raise ChangedError(f"What went to {self.noun} cannot be read back.", transient=False)
        return self._tail[span.start - first : span.stop - first]

    async def reset(self) -> None:
        """Do nothing.

        :raises ChangedError: bytes were written.
        """
        if self._position:
            raise ChangedError(
                f"The file changed on the server after {self._position} bytes of it went to {self.noun};"
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
        """Check that *size* bytes were written, and their digests."""
        if self._position != size:
            raise DiskError(f"{self.noun.capitalize()} got {self._position} of {size} bytes.")
        digests = self._hasher.hexdigests()
        check(digests)
        return Finished(self.path, size, digests)

    async def spoil(self) -> Path:
        """Do as :meth:`reset`: wrong bytes cannot be put aside."""
        await self.reset()
        return self.path

    @abstractmethod
    async def close(self) -> None:
        """Release everything."""


class Pipe(SequentialSink):
    """Writes a download to standard output, or what stands for it.

    :param stream: binary; it is not closed.
    """

    def __init__(self, stream: BinaryIO, threads: Threads, *, overlap: int) -> None:
        super().__init__("standard output", overlap=overlap)
        self._stream = stream
        self._threads = threads
        self._fd = _descriptor(stream)
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    async def _take(self, chunks: Sequence[Buffer]) -> None:
        """Write in a thread.

        :raises PipeClosedError: the reader has ended.
        :raises StoppedError: :meth:`close` was called while the reader was slow.
        """
        try:
            await self._threads.run(self._write, chunks)
        except BrokenPipeError as error:
            raise PipeClosedError("The program that reads standard output has ended.") from error
        except OSError as error:
            raise translate(error, Path("standard output")) from error

    async def close(self) -> None:
        """End a write that waits for its reader."""
        self._stopped.set()

    def _write(self, chunks: Sequence[Buffer]) -> None:
        with self._lock:
            for chunk in chunks:
                start = self._position
                try:
                    self._send(memoryview(chunk))
                finally:
                    # Written bytes count also when the rest failed: they cannot be taken back.
                    self._note(memoryview(chunk)[: self._position - start])

    def _send(self, left: memoryview) -> None:
        if self._fd is None:
            self._stream.write(left)
            self._stream.flush()
            self._position += len(left)
        else:
            self._drain(left, self._fd)

    def _drain(self, left: memoryview, fd: int) -> None:
        """Write in pieces that the pipe has room for: a blocked write(2) could not be stopped."""
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        while left:
            if not regular and not poll.poll(WATCH_MILLISECONDS):
                self._stop_if_asked()
                continue
            self._stop_if_asked()
            count = os.write(fd, left if regular else left[:PIECE])
            self._position += count
            left = left[count:]

    def _stop_if_asked(self) -> None:
        if self._stopped.is_set():
            raise StoppedError(f"Stopped after {self._position} bytes went to standard output.")


class FileObjectSink(SequentialSink):
    """Writes a download to a file object of the caller's, from where that stands; it is not closed.

    Its own ``write`` is used, and no descriptor: that of a compressing file is the compressed file's. One that
    can seek is rewound where a transfer has to begin again.
    """

    has_reader = False

    def __init__(self, file: BinaryIO, threads: Threads, *, overlap: int) -> None:
        super().__init__("the file object", overlap=overlap)
        self._file = file
        self._threads = threads
        self._start = file.tell() if _seekable(file) else None

    @property
    def restartable(self) -> bool:
        """Whether nothing has been written, or what was can be taken back."""
        return self._start is not None or super().restartable

    async def _take(self, chunks: Sequence[Buffer]) -> None:
        await self._run(self._write, chunks)

    async def reset(self) -> None:
        """Take back what was written.

        :raises ChangedError: it cannot be.
        """
        if self._start is None:
            await super().reset()
        elif self._position:
            await self._run(self._rewind, self._start)

    async def close(self) -> None:
        """Leave the file open: it is the caller's."""

    async def _run(self, function: Callable[[T], None], value: T) -> None:
        try:
            await self._threads.run(function, value)
        except OSError as error:
            raise translate(error, Path(str(getattr(self._file, "name", self.noun)))) from error
        except (ValueError, TypeError) as error:
            raise UsageError(f"The file object given as out cannot be written: {error}.") from error

    def _write(self, chunks: Sequence[Buffer]) -> None:
        for chunk in chunks:
            left = memoryview(chunk)
            while left:
                # An unbuffered file may take less; most others that return something else took all.
                count: object = self._file.write(left)
                taken = left[:count] if isinstance(count, int) and 0 < count < len(left) else left
                self._position += len(taken)
                self._note(taken)
                left = left[len(taken) :]

    def _rewind(self, start: int) -> None:
        self._file.seek(start)
        self._file.truncate()
        self._position, self._tail, self._hasher = 0, b"", Hasher(self._algorithms)


def _seekable(file: BinaryIO) -> bool:
    seekable = getattr(file, "seekable", None)
    return bool(seekable is not None and seekable() and hasattr(file, "truncate"))


def _descriptor(stream: BinaryIO) -> int | None:
    """Flush *stream* and return its descriptor; None where it has none."""
    stream.flush()
    try:
        return stream.fileno()
    except (OSError, AttributeError):
        return None
