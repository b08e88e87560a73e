"""Jobs that can start, in their order."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .._models import Again

__all__ = ["Flow", "ScheduledJob"]

J = TypeVar("J")


@dataclass(eq=False, slots=True)
class ScheduledJob(Generic[J]):
    """A job with its place in the schedule.

    :param rank: the smallest starts first; among equals the smallest *number*.
    :param number: position among all jobs of the scheduler, from 1.
    :param start: is called when the job has its connection.
    :param again: how its last attempt ended; None before the first.
    :param received: to be called when an attempt no longer needs its connection, so that the next job can start
        while this one still writes and verifies.
    :param connected: it holds a connection of the budget.
    """

    rank: int
    number: int
    job: J
    host: str
    start: Callable[[ScheduledJob[J]], None]
    again: Again | None = None
    received: Callable[[], None] = field(default=lambda: None)
    connected: bool = False


class Flow(Generic[J]):
    """Jobs that can start, by host: those of one run, or the single ones.

    Flows take turns (start-time fair queueing): the one from which the fewest jobs were started goes first.

    :ivar turn: jobs started, as if this flow had always had some.
    :ivar full: no job of it may start.
    """

    def __init__(self) -> None:
        # A heap for each host, ordered by rank, then number.
        self.ready: dict[str, list[tuple[int, int, ScheduledJob[J]]]] = {}
        self.count = 0
        self.turn = 0

    @property
    def full(self) -> bool:
        return False

    def push(self, job: ScheduledJob[J], turn: int) -> None:
        """Add *job*; *turn* is that of the flow which was served last."""
        if not self.count:
            self.turn = max(self.turn, turn)
        heapq.heappush(self.ready.setdefault(job.host, []), (job.rank, job.number, job))
        self.count += 1

    def pop(self, host: str) -> ScheduledJob[J]:
        """Remove and return the first job of *host*."""
        job = heapq.heappop(self.ready[host])[2]
        self._removed(host)
        self.turn += 1
        return job

    def discard(self, job: ScheduledJob[J]) -> None:
        """Remove *job*, which is no longer wanted."""
        heap = self.ready[job.host]
        heap.remove((job.rank, job.number, job))
        heapq.heapify(heap)
        self._removed(job.host)

    def _removed(self, host: str) -> None:
        if not self.ready[host]:
            del self.ready[host]
        self.count -= 1
