"""Which connection fetches which span of a file: plain bookkeeping, no await."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .._models import Span
from .._ranges import merge, missing

__all__ = ["Claim", "Claims"]

# A second connection pays for itself once what remains takes longer than opening it by a wide margin.
WORTH_SECONDS = 2.0
# Smaller pieces cost more in requests than they save in time.
LEAST_SPAN = 256 * 1024
# No byte for this long while others move: the span is given to another connection.
STALL_SECONDS = 5.0
# A rate measured over less than this is mostly slow start and buffers.
RATE_AFTER = 0.2


@dataclass(slots=True, eq=False)
class Claim:
    """The span ``[position, stop)`` that one connection is fetching; *stop* moves when it is split.

    :param began: when, and ``first`` from which byte, its connection was opened.
    :param moved: when the last bytes came.
    """

    position: int
    stop: int | None
    first: int
    began: float
    moved: float

    def rate(self, now: float) -> float | None:
        """Give bytes a second since the claim began, or None while that says little."""
        elapsed = now - self.began
        return (self.position - self.first) / elapsed if elapsed >= RATE_AFTER else None

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
        claim = Claim(position, stop, position, now, now)
        self._active.append(claim)
        return claim

    def release(self, claim: Claim) -> None:
        """Give up what *claim* has not fetched."""
        self._active.remove(claim)

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
        if slowest is None or slowest.stop is None or self._seconds_left(slowest) < WORTH_SECONDS:
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

    def _seconds_left(self, claim: Claim) -> float:
        if claim.left < 2 * LEAST_SPAN:
            return 0.0
        rate = claim.rate(self._clock())
        if rate is None:
            return self._guess(claim)
        return claim.left / rate if rate else float("inf")

    def _guess(self, claim: Claim) -> float:
        """Judge a young claim by the rate of the others: a cascade of halves needs no pause between them."""
        now = self._clock()
        rates = [rate for other in self._active if (rate := other.rate(now))]
        return claim.left * len(rates) / sum(rates) if rates else 0.0
