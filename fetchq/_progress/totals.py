"""The state of a run, counted from its events and formatted for the display."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .._events import (
    AttemptFailed,
    Event,
    JobFinished,
    JobStarted,
    Planned,
    Progressed,
    RunStarted,
    SkippedJobs,
    SkippingObserver,
)
from .._units import duration, size

__all__ = ["JobProgress", "RunProgress", "SpeedMeter", "time_left"]

# Seconds of the moving average: smooths writes of 1 MiB and short retries, yet follows a change of speed.
WINDOW = 5.0


class SpeedMeter:
    """Average speed over the last ``WINDOW`` seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, now: float, count: int) -> float:
        """Add a sample and return bytes per second.

        :param now: seconds of a monotonic clock.
        :param count: bytes received until then.
        """
        samples = self._samples
        samples.append((now, count))
        while len(samples) > 2 and samples[1][0] <= now - WINDOW:
            samples.popleft()
        oldest, before = samples[0]
        return max(count - before, 0) / (now - oldest) if now > oldest else 0.0


@dataclass(slots=True)
class JobProgress:
    """A job that was started and has not ended.

    :param have: bytes of the file on disk.
    :param size: bytes of the complete file; None if unknown.
    :param received: bytes from the network in this run.
    :param trouble: why it waits for its next attempt; empty while it does not.
    """

    number: int
    url: str
    name: str = ""
    have: int = 0
    size: int | None = None
    received: int = 0
    trouble: str = ""
    speed: SpeedMeter = field(default_factory=SpeedMeter)

    @property
    def fraction(self) -> float | None:
        """Completed part, 0 to 1; None if the size is unknown or 0."""
        return min(self.have / self.size, 1.0) if self.size else None


class RunProgress(SkippingObserver):
    """The state of a run; an observer.

    ``jobs`` is the number of jobs, None if unknown; ``have`` and ``received`` are bytes, as in JobProgress.
    """

    def __init__(self) -> None:
        self.jobs: int | None = None
        self.running: dict[int, JobProgress] = {}
        self.ended = self.failed = 0
        self.have = self.received = 0
        # The bytes and the number of jobs that ended well.
        self._finished_bytes = self._finished_jobs = 0
        self._handlers: dict[type, Callable[[Any], None]] = {
            Progressed: self._progressed,
            Planned: self._planned,
            JobStarted: self._job_started,
            JobFinished: self._job_finished,
            AttemptFailed: self._attempt_failed,
            RunStarted: self._run_started,
        }

    def __call__(self, event: Event) -> None:
        handler = self._handlers.get(type(event))
        if handler:
            handler(event)

    def _run_started(self, event: RunStarted) -> None:
        self.jobs = event.jobs

    def _job_started(self, event: JobStarted) -> None:
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

    def _attempt_failed(self, event: AttemptFailed) -> None:
        job = self.running.get(event.number)
        if job:
            job.trouble = f"again in {event.wait:.0f} s: {event.error}"

    def _job_finished(self, event: JobFinished) -> None:
        job = self.running.pop(event.number, None) or JobProgress(event.number, "")
        result = event.result
        self.ended += 1
        # A small file is written in one step, without Progressed events.
        self.received += max(result.received - job.received, 0)
        self.have += (result.size if result.ok else 0) - job.have
        if result.ok:
            self._finished_bytes += result.size
            self._finished_jobs += 1
        else:
            self.failed += 1

    def skipped(self, jobs: SkippedJobs) -> None:
        """Count jobs that an earlier run has done."""
        self.ended += len(jobs)
        self.have += jobs.size
        self._finished_jobs += len(jobs)
        self._finished_bytes += jobs.size

    def total(self) -> tuple[int, bool] | None:
        """Return the bytes of all jobs that have not failed, and whether that is exact; None if unknown.

        While some sizes are unknown, the total is extrapolated from the others.
        """
        known = [job.size for job in self.running.values() if job.size is not None]
        known_jobs = self._finished_jobs + len(known)
        if self.jobs is None or not known_jobs:
            return None
        jobs = self.jobs - self.failed
        known_bytes = self._finished_bytes + sum(known)
        return (known_bytes, True) if known_jobs >= jobs else (known_bytes * jobs // known_jobs, False)

    def fraction(self) -> float | None:
        """Return the completed part of the run in jobs, 0 to 1; None if their number is unknown.

        In jobs, not bytes: the estimate of the bytes changes with each new job, and the bar would jump.
        """
        if not self.jobs:
            return None
        parts = sum(job.fraction or 0.0 for job in self.running.values())
        return min((self.ended + parts) / self.jobs, 1.0)

    def files(self) -> str:
        """Return the number of jobs that ended, as ``3/12 files, 1 failed``."""
        count = f"{self.ended}/{self.jobs} files" if self.jobs is not None else f"{self.ended} files"
        return f"{count}, {self.failed} failed" if self.failed else count

    def amount(self) -> str:
        """Return the bytes on disk, as ``45.2 MiB of ~1.2 GiB``; ``~`` marks an estimate."""
        total = self.total()
        return f"{size(self.have)} of {_tilde(exact=total[1])}{size(total[0])}" if total else size(self.have)

    def eta(self, speed: float) -> str:
        """Return the time that the rest takes at *speed* bytes per second; empty if unknown."""
        total = self.total()
        return time_left(total[0] - self.have, speed, exact=total[1]) if total else ""


def _tilde(*, exact: bool) -> str:
    return "" if exact else "~"


def time_left(remaining: int, speed: float, *, exact: bool = True) -> str:
    """Return the time for *remaining* bytes at *speed* bytes per second; empty below 1 byte per second."""
    return f"{_tilde(exact=exact)}{duration(max(remaining, 0) / speed)}" if speed >= 1 else ""
