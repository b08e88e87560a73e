"""What a transfer has counted so far: the one owner of every sum that is shown."""

from __future__ import annotations

from dataclasses import dataclass

from .._events import Observer, Progressed

__all__ = ["Counters"]


@dataclass(slots=True)
class Counters:
    """Counts over all attempts of a job; bytes that reach the disk are announced.

    :param number: the job's, for events.
    :param have: bytes in the part now.
    :param best: the most that any attempt has had; progress is what exceeds it.
    :param before: bytes that an earlier run had left.
    :param received: body bytes that came from the network and reached the disk.
    :param failures: attempts in a row without progress.
    :param connections: connections in use.
    """

    number: int
    observe: Observer
    have: int = 0
    best: int = 0
    before: int = 0
    received: int = 0
    failures: int = 0
    connections: int = 1

    def found(self, size: int) -> None:
        """Count *size* bytes that an earlier run had left."""
        self.have = self.best = self.before = size

    def wrote(self, size: int) -> None:
        """Count *size* bytes that came and reached the disk."""
        self.have += size
        self.received += size
        self.observe(Progressed(self.number, self.have, size, self.connections))

    def restarted(self) -> None:
        """Take back everything: the part is empty again."""
        self.have = self.before = 0

    def failed(self) -> int:
        """Count an attempt that failed; return how many have in a row without progress."""
        self.failures = 1 if self.have > self.best else self.failures + 1
        self.best = max(self.best, self.have)
        return self.failures
