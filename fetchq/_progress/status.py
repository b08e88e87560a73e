"""A status line every few seconds, where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable

from .._events import Event
from .._units import rate
from .totals import Meter, RunProgress

__all__ = ["Status"]

# A log of a night's run stays readable.
STATUS_EVERY = 5.0


class Status:
    """A status line every few seconds, for a log or a pipe.

    :param say: takes one line.
    :param clock: seconds that only grow.
    """

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._tally = RunProgress()
        self._meter = Meter()
        self._due = clock() + STATUS_EVERY
        self._last = ""

    def __call__(self, event: Event) -> None:
        """Take note of *event*."""
        self._tally(event)

    def tick(self) -> None:
        """Say a line if one is due and there is news."""
        now = self._clock()
        speed = self._meter.sample(now, self._tally.received)
        if now < self._due:
            return
        self._due = now + STATUS_EVERY
        eta = self._tally.eta(speed)
        parts = [self._tally.files(), self._tally.amount(), rate(speed), f"ETA {eta}" if eta else ""]
        text = ", ".join(filter(None, parts))
        if text != self._last:
            self._last = text
            self._say(text)

    def close(self) -> None:
        """Nothing is left to draw."""
