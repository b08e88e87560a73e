"""What a transfer has counted so far: one owner of every sum that is shown."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters"]


@dataclass(slots=True)
class Counters:
    """Counts over all attempts of a job.

    :param have: bytes in the part now.
    :param best: the most that any attempt has had; progress is what goes past it.
    :param before: bytes that an earlier run had left.
    :param received: body bytes that the network brought.
    :param failures: attempts in a row without progress.
    """

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

    def staffed(self, connections: int) -> None:
        """Note how many connections are at work."""
        self.connections = connections

    def restarted(self) -> None:
        """Take back everything: the part is empty again."""
        self.have = self.before = 0

    def failed(self) -> int:
        """Count an attempt that failed; give how many have in a row without progress."""
        self.failures = 1 if self.have > self.best else self.failures + 1
        self.best = max(self.best, self.have)
        return self.failures
