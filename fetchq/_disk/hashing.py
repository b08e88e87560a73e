"""Digests computed while the file is written, so that it need not be read again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from .._digests import Checksum, Hasher, algorithms, matches
from .._errors import DiskError, StoppedError
from .._models import Buffer
from .files import Files

__all__ = ["Digests", "PrefixHasher", "has_digests"]

# Bytes read back at a time: they come from the page cache, and fit into the processor's.
PIECE = 1 << 18
# Most bytes that one write hashes besides its own: about 3 ms, for which the network may wait.
CATCH_UP = 4 << 20


class PrefixHasher:
    """Hashes a file from its first byte on, in order, whatever the order of the writes.

    :ivar position: bytes hashed so far.
    """

    def __init__(self, files: Files, fd: int, algorithms: Sequence[str]) -> None:
        self.algorithms = tuple(algorithms)
        self.position = 0
        self._files = files
        self._fd = fd
        self._hasher = Hasher(algorithms)
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End a call of :meth:`digests` in another thread within :data:`PIECE` bytes."""
        self._stopped.set()

    def restart(self) -> None:
        """Start at the first byte again: bytes that were hashed are about to change."""
        with self._lock:
            self._hasher = Hasher(self.algorithms)
            self.position = 0

    def follow(self, offset: int, chunks: Sequence[Buffer], end: Callable[[], int]) -> None:
        """Hash *chunks*, just written at *offset*, if they come next, and up to :data:`CATCH_UP` bytes behind.

        :param end: returns where the trusted prefix ends.
        """
        # When another thread is hashing, it reads these bytes back; otherwise a later call does.
        if not self.algorithms or not self._lock.acquire(blocking=False):
            return
        try:
            if offset == self.position:
                for chunk in chunks:
                    self._hasher.update(chunk)
                    self.position += len(chunk)
            self._catch_up(min(end(), self.position + CATCH_UP))
        finally:
            self._lock.release()

    def digests(self, size: int) -> dict[str, str]:
        """Hash the rest of *size* bytes, and return algorithm to hex.

        :raises StoppedError: :meth:`stop` was called meanwhile.
        :raises DiskError: the file is shorter.
        """
        with self._lock:
            if self.algorithms:
                self._catch_up(size)
            return self._hasher.hexdigests()

    def _catch_up(self, end: int) -> None:
        if self.position >= end:
            return
        piece = memoryview(bytearray(min(PIECE, end - self.position)))
        while self.position < end:
            if self._stopped.is_set():
                raise StoppedError("Stopped while the file was being verified; it will be done next time.")
            count = self._files.preadv(self._fd, [piece[: end - self.position]], self.position)
            if count == 0:
                raise DiskError("The part became shorter while it was read; start the download again.")
            self._hasher.update(piece[:count])
            self.position += count


class Digests(Mapping[str, str]):
    """Digests by algorithm; those of the iteration are known, and any other is computed when it is asked for.

    :param compute: returns the hex of the algorithm that it is handed.
    """

    def __init__(self, known: dict[str, str], compute: Callable[[str], str]) -> None:
        self._known = known
        self._compute = compute

    def __getitem__(self, algorithm: str) -> str:
        if algorithm not in self._known:
            self._known[algorithm] = self._compute(algorithm)
        return self._known[algorithm]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def has_digests(
    files: Files, name: str | Path, dir_fd: int | None, size: int, checksums: Sequence[Checksum]
) -> bool:
    """Whether the first *size* bytes of a file have all *checksums*.

    :raises OSError: it cannot be read.
    """
    fd = files.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd)
    try:
        first = PrefixHasher(files, fd, algorithms(checksums, likely=True)).digests(size)
        found = Digests(first, lambda name: PrefixHasher(files, fd, [name]).digests(size)[name])
        return all(matches(checksum, found) for checksum in checksums)
    finally:
        files.close(fd)
