"""The summary at the end of a run."""

from __future__ import annotations

from .._errors import DiskFullError
from .._events import Event, JobFinished, RunFinished, SkippedJobs, SkippingObserver
from .._naming import printable
from .._units import duration, rate, size
from .text import WriteLine, format_failure, is_broken_pipe

__all__ = ["RESUME_HINT", "Summary"]

# One screenful. Those of a host that is given up are named here only, since all have the same reason.
MAX_FAILURES = 20

NO_JOBS = "Nothing to do: no job was given."
RESUME_HINT = "Run the same command again to resume; what is finished stays as it is."


class Summary(SkippingObserver):
    """An observer that writes counts, bytes, time, failures and how to resume, at the end of a run.

    :param resumable: whether running the same command again can resume; not if the file goes to stdout.
    :param endless: the run ends when it is stopped, and then it may be done.
    """

    def __init__(self, write_line: WriteLine, *, resumable: bool = True, endless: bool = False) -> None:
        self._write_line = write_line
        self._resumable = resumable
        self._endless = endless
        self._failures: list[str] = []
        self._broken_pipe = self._worth_resuming = False

    def __call__(self, event: Event) -> None:
        if type(event) is JobFinished and event.result.error is not None:
            error = event.result.error
            self._broken_pipe = self._broken_pipe or is_broken_pipe(error)
            self._worth_resuming = self._worth_resuming or error.transient or isinstance(error, DiskFullError)
            if len(self._failures) < MAX_FAILURES:
                self._failures.append(printable(format_failure(event.result.job, error)))
        elif type(event) is RunFinished and not self._broken_pipe:
            for text in self.lines(event):
                self._write_line(text)

    def skipped(self, jobs: SkippedJobs) -> None:
        """Do nothing: the run's last event has the counts."""

    def lines(self, run: RunFinished) -> list[str]:
        """Return the lines; the counts are left out for a single job, which was reported when it ended."""
        jobs = run.done + run.resumed + run.skipped + run.failed + run.left
        if jobs == 0 and not run.stopped:
            return [NO_JOBS]
        lines: list[str] = []
        if jobs > 1:
            lines = [_counts(run, jobs), *(f"  {text}" for text in self._failures)]
            if run.failed > len(self._failures):
                lines.append(f"  ... and {run.failed - len(self._failures)} more")
        # Where the run ended before it had anything, the reason is one that the same command meets again.
        cut = run.left or (run.stopped and not self._endless)
        has_more = cut and (run.received or run.done or run.resumed or run.skipped)
        if self._resumable and (self._worth_resuming or has_more):
            lines.append(RESUME_HINT)
        return lines


def _counts(run: RunFinished, jobs: int) -> str:
    kinds = [(getattr(run, kind), kind) for kind in ("done", "resumed", "skipped", "failed", "left")]
    counts = ", ".join(f"{count} {kind}" for count, kind in kinds if count)
    speed = f", {rate(run.received / run.elapsed)}" if run.received and run.elapsed > 0 else ""
    separator = ": " if counts else ""
    return f"{jobs} files{separator}{counts}; {size(run.received)} in {duration(run.elapsed)}{speed}"
