"""Events of a run as frozen records. An Observer is any callable that takes one.

``number`` counts the jobs of a Downloader from 1, over all its runs; ``name`` is the file's name, or a guess
from the URL until the server has answered. Sizes are in bytes, times in seconds. Every record is safe to print:
URLs are redacted, and names contain no control characters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeAlias

from ._errors import FetchError
from ._models import PlanKind, Result

__all__ = [
    "AttemptFailed",
    "Event",
    "JobFinished",
    "JobStarted",
    "Observer",
    "Planned",
    "Progressed",
    "QueueWaiting",
    "RunFinished",
    "RunStarted",
    "SkippedJobs",
    "SkippingObserver",
    "Waiting",
    "Warned",
]


class RunStarted(NamedTuple):
    """A run started. ``jobs`` is their number; None if it is not known in advance."""

    jobs: int | None
    directory: str


class JobStarted(NamedTuple):
    """The first attempt at a job started."""

    number: int
    id: str | None
    url: str
    source: str


class Planned(NamedTuple):
    """The server answered, and the attempt begins to receive.

    ``start`` is the number of trusted bytes in the part; after a restart it is smaller than before. ``size`` is
    that of the complete file, None if unknown. ``resumable``: an interrupted attempt could be resumed.
    """

    number: int
    name: str
    kind: PlanKind
    reason: str
    start: int
    size: int | None
    resumable: bool


class Progressed(NamedTuple):
    """Bytes were written: ``have`` are there now, ``delta`` of them since the job's last record.

    ``have`` is absolute, so an observer that adds up the latest ``have`` of each job counts no byte twice.
    """

    number: int
    have: int
    delta: int
    connections: int


class AttemptFailed(NamedTuple):
    """An attempt failed; the next follows in ``wait`` seconds.

    ``failures`` counts attempts in a row without progress.
    """

    number: int
    name: str
    error: FetchError
    failures: int
    wait: float


class Waiting(NamedTuple):
    """A server makes jobs wait for more than five seconds; once for each host, until it answers again.

    ``error`` is why, ``wait`` the time to this job's next attempt. Attempts go on until ``until``, in seconds
    since 1970; None if there is no end.
    """

    number: int
    host: str
    error: FetchError
    wait: float
    until: float | None


class QueueWaiting(NamedTuple):
    """All jobs that were read have ended, and for a second the queue has given no other.

    ``ended`` is their number. Once, until another job ends.
    """

    ended: int


class Warned(NamedTuple):
    """A warning; the run goes on. ``number`` is 0 if it concerns no single job."""

    number: int
    message: str


class JobFinished(NamedTuple):
    """A job ended, done or failed."""

    number: int
    name: str
    result: Result


class RunFinished(NamedTuple):
    """All jobs ended, or the run was stopped.

    ``left`` is the number of jobs that were read from the queue and did not end. ``received`` counts body bytes
    from the network, ``size`` the bytes of finished files.
    """

    done: int
    resumed: int
    skipped: int
    failed: int
    left: int
    received: int
    size: int
    elapsed: float
    stopped: bool


Event: TypeAlias = (
    RunStarted
    | JobStarted
    | Planned
    | Progressed
    | AttemptFailed
    | Waiting
    | QueueWaiting
    | Warned
    | JobFinished
    | RunFinished
)
Observer: TypeAlias = Callable[[Event], None]


class SkippedJobs(Protocol):
    """Jobs that an earlier run has done, which come by hundreds."""

    @property
    def size(self) -> int:
        """Bytes of their files."""

    def __len__(self) -> int: ...

    def events(self) -> Iterator[JobFinished]:
        """Return the event of each, which is made only now."""


class SkippingObserver(ABC):
    """An observer that is told of the jobs that an earlier run has done by hundreds, and not of each.

    There may be millions: to make their events would be most of the work, and most observers only count.
    """

    @abstractmethod
    def __call__(self, event: Event) -> None:
        """Take any other event."""

    @abstractmethod
    def skipped(self, jobs: SkippedJobs) -> None:
        """Take the place of a :class:`JobFinished` for each of *jobs*."""
