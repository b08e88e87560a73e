"""Token bucket arithmetic for the rate limit of a whole run."""

from __future__ import annotations

__all__ = ["Bucket", "buffer_for"]

# Below 16 KiB the cost of a read outweighs its bytes; it is also one TLS record.
LEAST_BUFFER = 16 * 1024

# Each connection holds up to four buffers (filling, two queued, being written): 32 MiB in all.
ALL_BUFFERS = 8 * 1024 * 1024


class Bucket:
    """Says how long to pause so that bytes arrive at *rate* a second, over all who share it.

    Debt is allowed, credit is not hoarded: whoever takes more than there is waits until it is paid
    back, and an idle bucket fills to *burst* seconds' worth only, so no more than that comes at once.

    :param rate: bytes a second.
    :param burst: seconds' worth of bytes that an idle bucket holds.
    """

    def __init__(self, rate: float, *, burst: float = 0.1) -> None:
        self.rate = rate
        self.capacity = rate * burst
        self._tokens = self.capacity
        self._at: float | None = None

    def take(self, size: int, now: float) -> float:
        """Take *size* bytes at time *now* (seconds of any steady clock); give the seconds to pause."""
        if self._at is not None:
            self._tokens = min(self.capacity, self._tokens + (now - self._at) * self.rate)
        self._at = now
        self._tokens -= size
        return max(0.0, -self._tokens / self.rate)


def buffer_for(rate: float | None, connections: int, most: int) -> int:
    """Give the size of a read, at most *most* bytes, where *connections* may be reading at once.

    All of them together hold a bounded number of bytes, and with a limit on the *rate* each read is a
    tenth of a second's worth.
    """
    size = min(most, ALL_BUFFERS // connections)
    if rate is not None:
        size = min(size, int(rate / (10 * connections)))
    return max(LEAST_BUFFER, size)
