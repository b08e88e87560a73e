"""What happened, as frozen past-tense records; an Observer is any callable that takes one.

``number`` counts the jobs of a run from 1; ``name`` is the target's name once it is known. Every record
is safe to print: URLs are redacted, names carry no control characters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

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
    "RunFinished",
    "RunStarted",
    "Warned",
]


class RunStarted(NamedTuple):
    """A run began. ``jobs`` is how many there will be, where that is known without reading ahead."""

    jobs: int | None
    directory: str


class JobStarted(NamedTuple):
    """A worker took up a job for the first time."""

    number: int
    id: str | None
    url: str
    source: str


class Planned(NamedTuple):
    """The server answered, and it is decided how the attempt goes on.

    ``start`` bytes are in the part and trusted; after a restart it is smaller than what was had before.
    ``resumable`` says whether a later attempt could go on where this one breaks off.
    """

    number: int
    name: str
    kind: PlanKind
    reason: str
    start: int
    size: int | None
    resumable: bool


class Progressed(NamedTuple):
    """Bytes reached the disk: ``have`` of the job's bytes are there now, ``delta`` since the last record.

    ``have`` is absolute, so a listener that sums the latest ``have`` of each job never counts twice.
    """

    number: int
    have: int
    delta: int
    connections: int


class AttemptFailed(NamedTuple):
    """An attempt ended without the file; another follows in ``wait`` seconds."""

    number: int
    name: str
    error: FetchError
    failures: int
    wait: float


class Warned(NamedTuple):
    """Something deserves a look, and the run goes on. ``number`` is 0 where no job is meant."""

    number: int
    message: str


class JobFinished(NamedTuple):
    """A job ended, well or badly."""

    number: int
    name: str
    result: Result


class RunFinished(NamedTuple):
    """All jobs ended, or the run was stopped.

    ``received`` counts body bytes from the network, ``size`` bytes of finished files, ``elapsed`` seconds.
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
    RunStarted | JobStarted | Planned | Progressed | AttemptFailed | Warned | JobFinished | RunFinished
)
Observer: TypeAlias = Callable[[Event], None]
