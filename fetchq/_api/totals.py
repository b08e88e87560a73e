"""The sums of a run's report."""

from __future__ import annotations

from typing import Any

from .._events import RunFinished
from .._models import Result
from .._scheduler import Scheduler

__all__ = ["Totals"]


class Totals:
    """Counts results as they end."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.done = self.resumed = self.skipped = self.failed = 0
        self.received = self.size = 0

    def add(self, result: Result) -> None:
        setattr(self, result.status, getattr(self, result.status) + 1)
        self.received += result.received
        self.size += result.size

    def finished(self, now: float, scheduler: Scheduler[Any, Any]) -> RunFinished:
        return RunFinished(
            self.done,
            self.resumed,
            self.skipped,
            self.failed,
            left=scheduler.left,
            received=self.received,
            size=self.size,
            elapsed=now - self.began,
            stopped=scheduler.stopped,
        )
