"""Rate limit of a run: a token bucket, and the read size that suits it."""

from __future__ import annotations

__all__ = ["Bucket", "buffer_for"]

# One TLS record holds at most 16 KiB; smaller reads cost more calls and save nothing.
LEAST_BUFFER = 16 * 1024

# Bytes of one buffer for each connection. A connection holds up to four (one being filled, two queued, one
# being written), so all buffers together take at most 32 MiB.
ALL_BUFFERS = 8 * 1024 * 1024


class Bucket:
    """Token bucket that several transfers share, so that together they receive *rate* bytes a second.

    The balance may go negative: bytes are taken after they were read, and the reader pauses until the
    balance is zero again.

    :param rate: bytes a second, more than 0.
    :param burst: seconds; an idle bucket holds at most ``rate * burst`` bytes.
    """

    def __init__(self, rate: float, *, burst: float = 0.1) -> None:
        self.rate = rate
        self.capacity = rate * burst
        self._tokens = self.capacity
        self._at: float | None = None

    def take(self, size: int, now: float) -> float:
        """Take *size* bytes and return the seconds to pause.

        :param now: seconds on a monotonic clock, the same for all calls.
        """
        if self._at is not None:
            self._tokens = min(self.capacity, self._tokens + (now - self._at) * self.rate)
        self._at = now
        self._tokens -= size
        return max(0.0, -self._tokens / self.rate)


def buffer_for(rate: float | None, connections: int, most: int) -> int:
    """Return the size of one read in bytes, at least 16 KiB and otherwise at most *most*.

    :param rate: limit of the run in bytes a second; a read is then a tenth of a second's worth of a
        connection's share, so that the rate is even.
    :param connections: how many may read at once; their buffers together are bounded.
    """
    size = min(most, ALL_BUFFERS // connections)
    if rate is not None:
        size = min(size, int(rate / (10 * connections)))
    return max(LEAST_BUFFER, size)
