"""The report at the end of a run."""

from __future__ import annotations

from .._errors import DiskFullError
from .._events import Event, JobFinished, RunFinished
from .._naming import printable
from .._units import duration, rate, size
from .words import Say, failure, left_by_reader

__all__ = ["GO_ON", "Summary"]

# One screenful; each failure has also had a line of its own when it happened.
MOST_FAILURES = 20

NOTHING = "Nothing to do: no job was given."
GO_ON = "Run the same command again to resume; what is finished stays as it is."


class Summary:
    """The report at the end of a run of several jobs: counts, bytes, time, failures, and how to go on.

    :param say: takes one line.
    :param fleeting: nothing stays that the same command could resume, as when the job goes to stdout.
    """

    def __init__(self, say: Say, *, fleeting: bool = False) -> None:
        self._say = say
        self._fleeting = fleeting
        self._failures: list[str] = []
        self._silent = self._resumable = False

    def __call__(self, event: Event) -> None:
        """Collect failures; report when the run is over."""
        if type(event) is JobFinished and event.result.error is not None:
            error = event.result.error
            self._silent = self._silent or left_by_reader(error)
            self._resumable = self._resumable or error.transient or isinstance(error, DiskFullError)
            if len(self._failures) < MOST_FAILURES:
                self._failures.append(printable(failure(event.result.job, error)))
        elif type(event) is RunFinished and not self._silent:
            for text in self.report(event):
                self._say(text)

    def report(self, run: RunFinished) -> list[str]:
        """Give the lines; a single job that ended by itself has said all in its own."""
        jobs = run.done + run.resumed + run.skipped + run.failed + run.left
        report: list[str] = []
        if jobs == 0 and not run.stopped:
            return [NOTHING]
        if jobs > 1:
            report = [_counts(run, jobs), *(f"  {text}" for text in self._failures)]
            if run.failed > len(self._failures):
                report.append(f"  ... and {run.failed - len(self._failures)} more")
        if not self._fleeting and (self._resumable or run.left or run.stopped):
            report.append(GO_ON)
        return report


def _counts(run: RunFinished, jobs: int) -> str:
    kinds = [(getattr(run, kind), kind) for kind in ("done", "resumed", "skipped", "failed", "left")]
    told = ", ".join(f"{count} {kind}" for count, kind in kinds if count)
    speed = f", {rate(run.received / run.elapsed)}" if run.received and run.elapsed > 0 else ""
    return f"{jobs} files{': ' if told else ''}{told}; {size(run.received)} in {duration(run.elapsed)}{speed}"
