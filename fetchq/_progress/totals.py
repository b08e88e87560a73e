"""What a run has come to, in numbers: counted event by event, told in words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .._events import AttemptFailed, Event, JobFinished, JobStarted, Planned, Progressed, RunStarted
from .._units import duration, size

__all__ = ["JobProgress", "Meter", "RunProgress", "left"]

# Long enough to smooth retries and coalesced writes, short enough to follow a change.
WINDOW = 5.0


class Meter:
    """Speed over the last seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, now: float, count: int) -> float:
        """Note that *count* bytes had come at *now*; give bytes a second."""
        samples = self._samples
        samples.append((now, count))
        while len(samples) > 2 and samples[1][0] <= now - WINDOW:
            samples.popleft()
        then, before = samples[0]
        return max(count - before, 0) / (now - then) if now > then else 0.0


@dataclass(slots=True)
class JobProgress:
    """One job that was started and has not ended."""

    number: int
    url: str
    name: str = ""
    have: int = 0
    size: int | None = None
    received: int = 0
    trouble: str = ""
    meter: Meter = field(default_factory=Meter)

    @property
    def fraction(self) -> float | None:
        """How much of it is there, 0 to 1; None while its size is unknown."""
        return min(self.have / self.size, 1.0) if self.size else None


class RunProgress:
    """What a run has come to, kept up to date event by event."""

    def __init__(self) -> None:
        self.jobs: int | None = None
        self.running: dict[int, JobProgress] = {}
        self.ended = self.failed = 0
        self.have = self.received = 0
        self._sizes = self._sized = 0
        self._listeners: dict[type, Callable[[Any], None]] = {
            Progressed: self._progressed,
            Planned: self._planned,
            JobStarted: self._started,
            JobFinished: self._finished,
            AttemptFailed: self._stumbled,
            RunStarted: self._begun,
        }

    def __call__(self, event: Event) -> None:
        """Take note of *event*."""
        listener = self._listeners.get(type(event))
        if listener:
            listener(event)

    def _begun(self, event: RunStarted) -> None:
        self.jobs = event.jobs

    def _started(self, event: JobStarted) -> None:
        self.running[event.number] = JobProgress(event.number, event.url)

    def _planned(self, event: Planned) -> None:
        job = self.running.get(event.number)
        if job:
            job.name, job.size, job.trouble = event.name, event.size, ""
            self.have += event.start - job.have
            job.have = event.start

    def _progressed(self, event: Progressed) -> None:
        job = self.running.get(event.number)
        if job:
            self.have += event.have - job.have
            job.have = event.have
            if event.delta > 0:
                job.received += event.delta
                self.received += event.delta

    def _stumbled(self, event: AttemptFailed) -> None:
        job = self.running.get(event.number)
        if job:
            job.trouble = f"again in {event.wait:.0f} s: {event.error}"

    def _finished(self, event: JobFinished) -> None:
        job = self.running.pop(event.number, None) or JobProgress(event.number, "")
        result = event.result
        self.ended += 1
        # A small file goes to disk in one step that is not announced on the way.
        self.received += max(result.received - job.received, 0)
        self.have += (result.size if result.ok else 0) - job.have
        if result.ok:
            self._sizes += result.size
            self._sized += 1
        else:
            self.failed += 1

    def total(self) -> tuple[int, bool] | None:
        """Bytes of all jobs that have not failed, and whether that is exact; None where it cannot be said."""
        known = [job.size for job in self.running.values() if job.size is not None]
        sized = self._sized + len(known)
        if self.jobs is None or not sized:
            return None
        wanted = self.jobs - self.failed
        sizes = self._sizes + sum(known)
        return (sizes, True) if sized >= wanted else (sizes * wanted // sized, False)

    def fraction(self) -> float | None:
        """How much of the run is over, by jobs, 0 to 1; None where the number of jobs is unknown.

        By jobs and not by bytes: an estimate of the bytes changes with each new job, and the bar would jump.
        """
        if not self.jobs:
            return None
        parts = sum(job.fraction or 0.0 for job in self.running.values())
        return min((self.ended + parts) / self.jobs, 1.0)

    def files(self) -> str:
        """Say how many jobs ended: ``3/12 files``, and how many of them badly."""
        count = f"{self.ended}/{self.jobs} files" if self.jobs is not None else f"{self.ended} files"
        return f"{count}, {self.failed} failed" if self.failed else count

    def amount(self) -> str:
        """Say how many bytes are there: ``45.2 MiB of 1.2 GiB``; ``~`` marks an estimate."""
        total = self.total()
        return f"{size(self.have)} of {_about(exact=total[1])}{size(total[0])}" if total else size(self.have)

    def eta(self, speed: float) -> str:
        """Say how long the rest takes at *speed*; empty where it cannot be said."""
        total = self.total()
        return left(total[0] - self.have, speed, exact=total[1]) if total else ""


def _about(*, exact: bool) -> str:
    return "" if exact else "~"


def left(rest: float, speed: float, *, exact: bool = True) -> str:
    # Below a byte a second the answer is years.
    return f"{_about(exact=exact)}{duration(max(rest, 0) / speed)}" if speed >= 1 else ""
