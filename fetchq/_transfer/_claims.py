"""Which connection fetches which span of a file: plain bookkeeping, no await."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .._models import Span
from .._ranges import merge, missing

__all__ = ["Claim", "Claims"]

# A second connection pays for itself once what remains takes longer than opening it by a wide margin: some ten
# round trips to the other side of the world. A longer time here is the time that the last file takes alone.
WORTH_SECONDS = 1.0
# A connection this fast (bytes a second) is seldom what holds a file up: splitting must promise more, and the
# rate must have been seen for a while.
FAST, FAST_WORTH_SECONDS, FAST_AGE_SECONDS = 50e6, 2.0, 1.0
# Smaller pieces cost more in requests than they save in time.
LEAST_SPAN = 256 * 1024
# No byte for this long while others move: the span is given to another connection.
STALL_SECONDS = 5.0
# A server that pauses after a burst is slower than its average so far, but hardly more than so many times.
BURST = 4.0


@dataclass(slots=True, eq=False)
class Claim:
    """The span ``[position, stop)`` that one connection is fetching; *stop* moves when it is split.

    :param reach: how far the answer goes; beyond *stop* once it was split.
    :param first: its first byte, and ``began`` when its connection was opened.
    :param moved: when the last bytes came.
    :param rate: bytes a second lately; None before the first sample.
    """

    position: int
    stop: int | None
    reach: int | None
    first: int
    began: float
    moved: float
    rate: float | None = None
    sampled: tuple[float, int] = (0.0, 0)

    def sample(self, now: float) -> None:
        """Measure the rate since the last sample, and keep it plausible beside the average."""
        at, position = self.sampled
        if now > max(at, self.began):
            recent = (self.position - position) / (now - at)
            average = (self.position - self.first) / (now - self.began)
            self.rate = max(recent, average / BURST)
        self.sampled = (now, self.position)

    @property
    def left(self) -> int:
        """Bytes still to come."""
        return 0 if self.stop is None else max(0, self.stop - self.position)


class Claims:
    """Hands out the spans of a file, so that every byte has one fetcher at most.

    :param length: bytes in all.
    :param written: gives the spans that are on disk.
    """

    def __init__(
        self, length: int, written: Callable[[], tuple[Span, ...]], clock: Callable[[], float]
    ) -> None:
        self.length = length
        self._written = written
        self._clock = clock
        self._active: list[Claim] = []

    def start(self, position: int, stop: int | None) -> Claim:
        """Claim ``[position, stop)``."""
        now = self._clock()
        claim = Claim(position, stop, stop, position, now, now, sampled=(now, position))
        self._active.append(claim)
        return claim

    def release(self, claim: Claim) -> None:
        """Give up what *claim* has not fetched; an answer that reaches into the hole goes on with it."""
        self._active.remove(claim)
        for hole in self.holes():
            for other in self._active:
                if other.stop == hole.start and other.left and other.reach is not None:
                    other.stop = max(other.stop, min(other.reach, hole.stop))

    def holes(self) -> tuple[Span, ...]:
        """Give what nobody has fetched and nobody is fetching."""
        busy = [Span(c.first, self.length if c.stop is None else max(c.stop, c.position)) for c in self._active]
        return missing(merge([*self._written(), *busy]), self.length)

    def take(self) -> Claim | None:
        """Claim the first hole, or half of what would take longest; None if nothing is worth a connection."""
        holes = self.holes()
        if holes:
            return self.start(holes[0].start, holes[0].stop)
        slowest = max(self._active, key=self._seconds_left, default=None)
        if slowest is None or slowest.stop is None or not self._worth(slowest):
            return None
        middle = slowest.position + slowest.left // 2
        claim = self.start(middle, slowest.stop)
        slowest.stop = middle
        return claim

    def stalled(self) -> Claim | None:
        """Give a claim that stands still while another one moves, if there is one."""
        now = self._clock()
        moving = any(now - claim.moved < 1 for claim in self._active)
        still = [c for c in self._active if c.left and now - c.moved > STALL_SECONDS]
        return still[0] if moving and still else None

    def sample(self) -> None:
        """Measure every connection; to be called at a steady pace."""
        now = self._clock()
        for claim in self._active:
            claim.sample(now)

    def _worth(self, claim: Claim) -> bool:
        """Tell whether half of *claim* is worth a connection."""
        seconds = self._seconds_left(claim)
        if seconds * FAST > claim.left:
            return seconds >= WORTH_SECONDS
        return seconds >= FAST_WORTH_SECONDS and self._clock() - claim.began >= FAST_AGE_SECONDS

    def _seconds_left(self, claim: Claim) -> float:
        """Judge how long a claim will take; a young one by the rate of the others, so that halves cascade."""
        if claim.left < 2 * LEAST_SPAN:
            return 0.0
        rates = [claim.rate] if claim.rate else [other.rate for other in self._active if other.rate]
        return claim.left * len(rates) / sum(rates) if rates else 0.0
