"""Jobs that can start, in their order."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .._errors import FetchError
from .._hosts import HostState
from .._models import Again

__all__ = ["Flow", "ScheduledJob"]

J = TypeVar("J")


# Order of a host that may be asked: rank of its first job, its connections, its last turn, number of that job;
# and whether it is heavy.
Entry = tuple[int, int, int, int, bool, str]


@dataclass(eq=False, slots=True)
class ScheduledJob(Generic[J]):
    """A job with its place in the schedule.

    :param rank: the smallest starts first; among equals the smallest *number*.
    :param number: position among all jobs of the scheduler, from 1.
    :param start: is called when the job has its connection.
    :param again: how its last attempt ended; None before the first.
    :param refused: why it is to end without an attempt: its host is given up.
    :param received: to be called when an attempt no longer needs its connection, so that the next job can start
        while this one still writes and verifies.
    :param connected: it holds a connection of the budget.
    :param since: when it got it.
    """

    rank: int
    number: int
    job: J
    host: str
    start: Callable[[ScheduledJob[J]], None]
    again: Again | None = None
    refused: FetchError | None = None
    received: Callable[[], None] = field(default=lambda: None)
    connected: bool = False
    since: float = 0.0

    def take(self, again: Again) -> None:
        """Note how an attempt ended."""
        self.again = again
        self.host = again.host or self.host
        self.refused = None


class Flow(Generic[J]):
    """Jobs that can start, by host: those of one run, or the single ones.

    Flows take turns (start-time fair queueing): the one from which the fewest jobs were started goes first. In
    a flow the hosts do (round robin), those with the fewest connections first: so none has more than its share.

    :ivar turn: jobs started, as if this flow had always had some.
    :ivar full: no job of it may start.
    :ivar eager: more hosts may come in sight any moment, so that none may take all connections.
    :ivar open: hosts with jobs that wait for nothing but a connection.
    :ivar dead: hosts with jobs that are to end without an attempt.
    """

    eager = False

    def __init__(self) -> None:
        # A heap for each host, ordered by rank, then number.
        self.ready: dict[str, list[tuple[int, int, ScheduledJob[J]]]] = {}
        self.count = 0
        self.turn = 0
        self.open: set[str] = set()
        self.dead: set[str] = set()
        # Hosts that may be asked, and those of them whose jobs hold connections for long: heaps, with entries
        # that no longer hold, which `_entries` tells.
        self._light: list[Entry] = []
        self._heavy: list[Entry] = []
        self._entries: dict[str, Entry] = {}

    @property
    def full(self) -> bool:
        return False

    def push(self, job: ScheduledJob[J], turn: int) -> bool:
        """Add *job*; return whether it is now the first of its host.

        :param turn: that of the flow which was served last.
        """
        if not self.count:
            self.turn = max(self.turn, turn)
        heap = self.ready.setdefault(job.host, [])
        heapq.heappush(heap, (job.rank, job.number, job))
        self.count += 1
        return heap[0][2] is job

    def pop(self, host: str, place: float = 0.0) -> ScheduledJob[J]:
        """Remove and return the first job of *host*, or the one at that share of its line."""
        heap = self.ready[host]
        at = int(place * len(heap))
        if at:
            heap[at], heap[-1] = heap[-1], heap[at]
            job = heap.pop()[2]
            heapq.heapify(heap)
        else:
            job = heapq.heappop(heap)[2]
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
            self.hide(host)
            self.dead.discard(host)
        self.count -= 1

    # --- hosts

    def show(self, host: str, known: HostState, held: int) -> bool:
        """Note that *host*, which has jobs here, may be asked; return whether it keeps its place.

        :param held: its connections.
        """
        rank, number, _ = self.ready[host][0]
        heavy = known.heavy
        entry = rank, held, known.served, number, heavy, host
        if self._entries.get(host) == entry:
            return True
        self._entries[host] = entry
        self.open.add(host)
        heapq.heappush(self._heavy if heavy else self._light, entry)
        return False

    def hide(self, host: str) -> None:
        """Note that *host* may not be asked for now."""
        self._entries.pop(host, None)
        self.open.discard(host)

    def first(self, *, light: bool) -> Entry | None:
        """Return the host that is next.

        :param light: prefer hosts whose jobs do not hold their connections for long.
        """
        quick, heavy = self._top(self._light), self._top(self._heavy)
        if quick is None or heavy is None:
            return quick or heavy
        return quick if light and quick[0] <= heavy[0] else min(quick, heavy)

    @property
    def has_light(self) -> bool:
        """Whether a host may be asked whose jobs are not known to hold connections for long."""
        return self._top(self._light) is not None

    def _top(self, heap: list[Entry]) -> Entry | None:
        while heap and self._entries.get(heap[0][-1]) != heap[0]:
            heapq.heappop(heap)
        return heap[0] if heap else None
