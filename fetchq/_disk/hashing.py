"""Digests that follow the written prefix, so that a finished file need not be read again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from .._digests import Hasher
from .._errors import DiskError, StoppedError
from .._models import Buffer
from .files import Files

__all__ = ["PrefixHasher"]

# Reading back comes from the page cache; pieces of this size stay in the processor's own.
PIECE = 1 << 18
# What one write may hash besides its own bytes, so that the network never waits long for it: some 3 ms.
CATCH_UP = 4 << 20


class PrefixHasher:
    """Hashes the file from its first byte on, in order, whatever the order of the writes.

    :param position: bytes hashed so far.
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
        """Make a long catching up end at the next piece."""
        self._stopped.set()

    def restart(self) -> None:
        """Forget everything: bytes that were hashed are about to change."""
        with self._lock:
            self._hasher = Hasher(self.algorithms)
            self.position = 0

    def follow(self, offset: int, chunks: Sequence[Buffer], end: Callable[[], int]) -> None:
        """Hash *chunks*, just written at *offset*, if they come next, and a little of what lies behind them.

        :param end: gives where the trusted prefix ends.
        """
        # Whoever is hashing in another thread, or comes next, reads these bytes back.
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
        """Hash what is left of *size* bytes, and give algorithm to hex.

        :raises StoppedError: :meth:`stop` was called meanwhile.
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
