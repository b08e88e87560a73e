"""A status line every few seconds, for output that is not a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable

from .._events import Event, SkippedJobs, SkippingObserver
from .._units import rate
from .totals import RunProgress, SpeedMeter

__all__ = ["StatusLine"]

# Seconds between two lines.
INTERVAL = 5.0


class StatusLine(SkippingObserver):
    """An observer that writes the state of the run every ``INTERVAL`` seconds if it has changed.

    :param write_line: called with one line of text.
    :param clock: returns seconds of a monotonic clock.
    """

    def __init__(
        self, write_line: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write_line = write_line
        self._clock = clock
        self._progress = RunProgress()
        self._speed = SpeedMeter()
        self._due = clock() + INTERVAL
        self._last = ""

    def __call__(self, event: Event) -> None:
        self._progress(event)

    def skipped(self, jobs: SkippedJobs) -> None:
        """Count without drawing."""
        self._progress.skipped(jobs)

    def tick(self) -> None:
        """Write the line if one is due."""
        now = self._clock()
        speed = self._speed.sample(now, self._progress.received)
        if now < self._due:
            return
        self._due = now + INTERVAL
        eta = self._progress.eta(speed)
        parts = [self._progress.files(), self._progress.amount(), rate(speed), f"ETA {eta}" if eta else ""]
        text = ", ".join(filter(None, parts))
        if text != self._last:
            self._last = text
            self._write_line(text)

    def close(self) -> None:
        """Do nothing: lines stay."""
