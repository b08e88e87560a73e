"""Which connection fetches which span of a file: plain bookkeeping, no await."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .._models import Span
from .._ranges import merge, missing

__all__ = ["Segment", "SegmentQueue"]

# What a claim takes longer than its fair share is worth a connection from so many seconds on, and from so many
# times what opening one took lately: that, and a request, are all that it costs.
WORTH_SECONDS, WORTH_OPENINGS = 0.2, 2.0
# A connection this fast (bytes a second) is seldom what holds a file up: splitting must promise more, and the
# rate must have been seen for a while.
FAST, FAST_WORTH_SECONDS, FAST_AGE_SECONDS = 50e6, 2.0, 1.0
# Smaller pieces cost more in requests than they save in time.
LEAST_SPAN = 128 * 1024
# No byte for this long while others move: the span is given to another connection.
STALL_SECONDS = 5.0
# A server that pauses after a burst is slower than its average so far, but hardly more than so many times.
BURST = 4.0


@dataclass(slots=True, eq=False)
class Segment:
    """The span ``[position, stop)`` that one connection is fetching; *stop* moves when it is split.

    :param reach: how far the answer goes; beyond *stop* once it was split.
    :param first: its first byte, and ``began`` when its connection was opened.
    :param moved: when the last bytes came.
    :param base: when and where measuring began, and ``sampled`` when and where it was done last.
    :param rate: bytes a second lately; None before the first sample.
    """

    position: int
    stop: int | None
    reach: int | None
    first: int
    began: float
    moved: float
    base: tuple[float, int]
    sampled: tuple[float, int]
    waited: bool = False
    rate: float | None = None

    def sample(self, now: float) -> None:
        """Measure the rate since the last sample, and keep it plausible beside the average."""
        if self.waited or self.position == self.first:
            # How long an answer took to come says nothing of its rate.
            self.waited = self.position == self.first
            self.base = self.sampled = (now, self.position)
            return
        at, position = self.sampled
        if now > at:
            recent = (self.position - position) / (now - at)
            average = (self.position - self.base[1]) / (now - self.base[0])
            lately = recent if self.rate is None else (self.rate + recent) / 2
            self.rate = max(lately, average / BURST)
            self.sampled = (now, self.position)

    @property
    def left(self) -> int:
        """Bytes still to come."""
        return 0 if self.stop is None else max(0, self.stop - self.position)


class SegmentQueue:
    """Hands out the spans of a file, so that every byte has one fetcher at most.

    :param length: bytes in all.
    :param written: gives the spans that are on disk.
    :ivar assumed: bytes a second of a connection as long as none was measured; None: wait for that.
    """

    def __init__(
        self, length: int, written: Callable[[], tuple[Span, ...]], clock: Callable[[], float]
    ) -> None:
        self.length = length
        self._written = written
        self._clock = clock
        self.assumed: float | None = None
        self._active: list[Segment] = []

    def start(self, position: int, stop: int | None) -> Segment:
        """Take ``[position, stop)``."""
        now = self._clock()
        claim = Segment(position, stop, stop, position, now, now, (now, position), (now, position))
        self._active.append(claim)
        return claim

    def release(self, claim: Segment) -> None:
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

    def fill(self) -> Segment | None:
        """Take the first hole, if there is one."""
        holes = self.holes()
        return self.start(holes[0].start, holes[0].stop) if holes else None

    def take(self, fair: float, opening: float = 0.0) -> Segment | None:
        """Take the end of what would take longest; None if that is not worth a connection.

        :param fair: seconds after which all would end who had an equal share of all that is left. Pieces are
            cut to this length, so that they end together and none is divided twice.
        :param opening: seconds that a new connection needs until it brings bytes.
        """
        slowest = max(filter(self._divisible, self._active), key=self._seconds_left, default=None)
        seconds = 0.0 if slowest is None else self._seconds_left(slowest)
        excess = seconds - fair
        if slowest is None or slowest.stop is None or excess < max(WORTH_SECONDS, WORTH_OPENINGS * opening):
            return None
        piece = min(excess, max(fair, min(seconds / 2, WORTH_SECONDS)))
        size = max(LEAST_SPAN, int(slowest.left * piece / seconds))
        claim = self.start(slowest.stop - size, slowest.stop)
        slowest.stop = claim.position
        return claim

    @property
    def longest(self) -> float:
        """Seconds that the longest claim that may be divided takes still."""
        return max(map(self._seconds_left, filter(self._divisible, self._active)), default=0.0)

    @property
    def work(self) -> float:
        """Seconds that a single connection would need for all that is left."""
        return sum(map(self._seconds_left, self._active))

    def stalled(self) -> Segment | None:
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

    def _divisible(self, claim: Segment) -> bool:
        """Tell whether *claim* is large enough for two, and not so fast that one will do."""
        seconds = self._seconds_left(claim)
        if claim.left < 2 * LEAST_SPAN or not seconds:
            return False
        slow = claim.left < seconds * FAST
        return slow or (seconds >= FAST_WORTH_SECONDS and self._clock() - claim.began >= FAST_AGE_SECONDS)

    def _seconds_left(self, claim: Segment) -> float:
        """Judge how long a claim will take; a young one by the rate of the others."""
        rates = [claim.rate] if claim.rate else [other.rate for other in self._active if other.rate]
        rate = sum(rates) / len(rates) if rates else self.assumed
        return claim.left / rate if rate else 0.0
