"""The sums of a run, for its last event."""

from __future__ import annotations

from collections import Counter

from .._events import RunFinished
from .._models import Result, ResultStatus

__all__ = ["Totals"]


class Totals:
    """Adds up results as they end.

    :param began: seconds of the clock that :meth:`finished` is called with.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._jobs: Counter[ResultStatus] = Counter()
        self.received = 0
        self._size = 0

    def add(self, result: Result) -> None:
        """Count *result* under its status, and its bytes."""
        self._jobs[result.status] += 1
        self.received += result.received
        self._size += result.size

    def add_skipped(self, jobs: int, size: int) -> None:
        """Count so many *jobs* as skipped, whose files have *size* bytes."""
        self._jobs["skipped"] += jobs
        self._size += size

    @property
    def ended(self) -> int:
        """Number of jobs that ended."""
        return self._jobs.total()

    @property
    def failed(self) -> int:
        """Number of jobs that failed."""
        return self._jobs["failed"]

    def finished(self, now: float, *, left: int, stopped: bool) -> RunFinished:
        """Return the event that ends the run.

        :param left: jobs that were read and have no result.
        :param stopped: whether the run ended before its queue did.
        """
        return RunFinished(
            done=self._jobs["done"],
            resumed=self._jobs["resumed"],
            skipped=self._jobs["skipped"],
            failed=self.failed,
            left=left,
            received=self.received,
            size=self._size,
            elapsed=now - self._began,
            stopped=stopped,
        )
