"""Which connection fetches which bytes of a file: plain bookkeeping, no await."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .._models import Span
from .._ranges import MAX_OFFSET, merge, missing

__all__ = ["UNKNOWN_END", "Segment", "SegmentQueue"]

# Where a file of unknown length stops: it is asked for up to here, and the answer says where it really ends.
UNKNOWN_END = MAX_OFFSET
# A segment is split if it takes this many seconds longer than its equal share, and this many times as long as
# opening a connection took lately: a request and a connection are all that a split costs.
WORTH_SECONDS, WORTH_OPENINGS = 0.2, 2.0
# A connection this fast (bytes a second) is seldom what limits a file: a split must gain more seconds, and the
# rate must have been measured for some seconds.
FAST, FAST_WORTH_SECONDS, FAST_AGE_SECONDS = 50e6, 2.0, 1.0
# Smaller segments cost more in requests than they save in time.
LEAST_SPAN = 128 * 1024
# No byte for this long while another connection receives: the segment is given to another connection.
STALL_SECONDS = 5.0
# No first byte for this long, and for this many times as long as the first connection's took, while that one
# receives: the server answers one request at a time.
ANSWER_SECONDS, ANSWER_OPENINGS = 3.0, 4.0
# Many servers send a burst first: a connection is slower than its average so far, by at most this factor.
BURST = 4.0


@dataclass(slots=True, eq=False)
class Segment:
    """The bytes ``[position, stop)`` that one connection is fetching; *stop* moves when it is split.

    :param reach: where the answer ends: behind *stop* once the segment was split.
    :param first: its first byte.
    :param began: when its connection was opened (seconds of the clock).
    :param moved: when the last bytes arrived.
    :param base: time and position at which measuring began.
    :param sampled: time and position of the last measurement.
    :param waiting: no byte had arrived at the last measurement.
    :param rate: recent bytes a second; None before the first measurement.
    """

    position: int
    stop: int
    reach: int
    first: int
    began: float
    moved: float
    base: tuple[float, int]
    sampled: tuple[float, int]
    waiting: bool = False
    rate: float | None = None

    def sample(self, now: float) -> None:
        """Measure the rate since the last sample, and keep it plausible beside the average."""
        if self.waiting or self.position == self.first:
            # The time until the first byte says nothing about the rate.
            self.waiting = self.position == self.first
            self.base = self.sampled = (now, self.position)
            return
        at, position = self.sampled
        if now > at:
            recent = (self.position - position) / (now - at)
            average = (self.position - self.base[1]) / (now - self.base[0])
            smoothed = recent if self.rate is None else (self.rate + recent) / 2
            self.rate = max(smoothed, average / BURST)
            self.sampled = (now, self.position)

    @property
    def bounded(self) -> bool:
        """Whether it is known where it stops."""
        return self.stop < UNKNOWN_END

    @property
    def left(self) -> int:
        """Bytes still to come; 0 where that is unknown."""
        return max(0, self.stop - self.position) if self.bounded else 0


class SegmentQueue:
    """Hands out the segments of a file, so that no byte is fetched by two connections.

    :param length: bytes in all, or :data:`UNKNOWN_END`.
    :param written: returns the spans that are on disk.
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

    def start(self, position: int, stop: int) -> Segment:
        """Return a new segment ``[position, stop)``."""
        now = self._clock()
        segment = Segment(position, stop, stop, position, now, now, (now, position), (now, position))
        self._active.append(segment)
        return segment

    def start_missing(self) -> Segment | None:
        """Return the first hole as a new segment, if there is one."""
        holes = self.holes()
        return self.start(holes[0].start, holes[0].stop) if holes else None

    def split(self, share: float, opening: float = 0.0) -> Segment | None:
        """Return the end of the segment that takes longest; None if a connection for it gains too little.

        :param share: seconds until all end, were what is left shared equally. Segments are cut to this
            length, so that they end together and none is split twice.
        :param opening: seconds until a new connection brings bytes.
        """
        longest = max(filter(self._divisible, self._active), key=self._seconds_left, default=None)
        if longest is None:
            return None
        seconds = self._seconds_left(longest)
        excess = seconds - share
        if excess < max(WORTH_SECONDS, WORTH_OPENINGS * opening):
            return None
        piece = min(excess, max(share, min(seconds / 2, WORTH_SECONDS)))
        size = max(LEAST_SPAN, int(longest.left * piece / seconds))
        segment = self.start(longest.stop - size, longest.stop)
        longest.stop = segment.position
        return segment

    def release(self, segment: Segment) -> None:
        """Abandon what *segment* has not fetched; an answer that extends into the hole continues with it."""
        self._active.remove(segment)
        for hole in self.holes():
            for other in self._active:
                if other.stop == hole.start and other.left:
                    other.stop = max(other.stop, min(other.reach, hole.stop))

    def holes(self) -> tuple[Span, ...]:
        """Return what is neither on disk nor being fetched."""
        active = [Span(segment.first, max(segment.stop, segment.position)) for segment in self._active]
        return missing(merge([*self._written(), *active]), self.length)

    @property
    def longest(self) -> float:
        """Seconds that remain for the longest segment that can be divided."""
        return max(map(self._seconds_left, filter(self._divisible, self._active)), default=0.0)

    @property
    def work(self) -> float:
        """Seconds that a single connection would need for what remains."""
        return sum(map(self._seconds_left, self._active))

    def stalled(self) -> Segment | None:
        """Return a segment that receives nothing while another one does, if there is one."""
        now = self._clock()
        moving = any(now - segment.moved < 1 for segment in self._active)
        still = [s for s in self._active if s.left and now - s.moved > STALL_SECONDS]
        return still[0] if moving and still else None

    def unanswered(self, opening: float) -> list[Segment]:
        """Return the segments that wait for a first byte while another receives: it answers one at a time.

        :param opening: seconds that a first byte took before.
        """
        now = self._clock()
        moving = any(now - segment.moved < 1 and segment.position > segment.first for segment in self._active)
        patience = max(ANSWER_SECONDS, ANSWER_OPENINGS * opening)
        return [s for s in self._active if moving and s.position == s.first and now - s.began > patience]

    def sample(self) -> None:
        """Measure every connection; to be called at a steady pace."""
        now = self._clock()
        for segment in self._active:
            segment.sample(now)

    def _divisible(self, segment: Segment) -> bool:
        """Whether *segment* is large enough for two connections, and slow enough to need them."""
        seconds = self._seconds_left(segment)
        if segment.left < 2 * LEAST_SPAN or not seconds:
            return False
        slow = segment.left < seconds * FAST
        return slow or (seconds >= FAST_WORTH_SECONDS and self._clock() - segment.began >= FAST_AGE_SECONDS)

    def _seconds_left(self, segment: Segment) -> float:
        """Estimate how long *segment* takes; before it was measured, by the rate of the others."""
        rates = [segment.rate] if segment.rate else [other.rate for other in self._active if other.rate]
        rate = sum(rates) / len(rates) if rates else self.assumed
        return segment.left / rate if rate else 0.0
