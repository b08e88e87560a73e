"""What happened to each file of the demo, and the table that shows it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .._events import AttemptFailed, Event, JobFinished, JobStarted, Planned, Progressed
from .._models import Result
from .._units import size
from .server import DemoFile

__all__ = ["Recorder", "is_intact", "table"]

# Columns aligned to the right: retries, and bytes received more than once.
NUMBERS = (3, 4)


# What the other columns of the table leave of 80.
SUMMARY_COLUMNS = 24


@dataclass(slots=True)
class FileLog:
    """The events of one file.

    :param connections: the most at one time.
    """

    plans: list[Planned] = field(default_factory=list)
    failures: list[AttemptFailed] = field(default_factory=list)
    connections: int = 1

    def summary(self) -> str:
        """Return what fetchq did besides the first request, in a few words."""
        later = self.plans[1:]
        words = []
        if any(plan.kind == "resume" for plan in later):
            words.append("resumed")
        if any(plan.kind in {"fresh", "restart"} for plan in later):
            words.append("restarted")
        if any(failure.error.retry_after is not None for failure in self.failures):
            words.append("waited as asked")
        if self.connections > 1:
            words.append(f"{self.connections} connections")
        while len(told := ", ".join(words)) > SUMMARY_COLUMNS:
            del words[-1]
        return told or "fetched it"


class Recorder:
    """An observer that keeps the events and the result of each job, by the job's id."""

    def __init__(self) -> None:
        self._ids: dict[int, str] = {}
        self.logs: defaultdict[str, FileLog] = defaultdict(FileLog)
        self.results: dict[str, Result] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, JobStarted):
            self._ids[event.number] = event.id or ""
        elif isinstance(event, JobFinished):
            self.results[event.result.job.id or ""] = event.result
        elif isinstance(event, Planned):
            self._log(event.number).plans.append(event)
        elif isinstance(event, AttemptFailed):
            self._log(event.number).failures.append(event)
        elif isinstance(event, Progressed):
            log = self._log(event.number)
            log.connections = max(log.connections, event.connections)

    def _log(self, number: int) -> FileLog:
        return self.logs[self._ids.get(number, "")]


def is_intact(file: DemoFile, result: Result | None) -> bool:
    """Whether the file on disk, read again, has the SHA-256 of the server's bytes."""
    if result is None or result.path is None:
        return False
    with result.path.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    return actual == hashlib.sha256(file.data).hexdigest()


def table(files: Sequence[DemoFile], recorder: Recorder) -> Iterator[str]:
    """Yield a heading and a line for each file, with aligned columns."""
    rows: list[tuple[str, ...]] = [("file", "the origin", "fetchq", "retries", "again", "")]
    rows += [_row(file, recorder.results.get(file.name), recorder.logs[file.name]) for file in files]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(_aligned(row, widths)).rstrip()


def _aligned(row: Iterable[str], widths: Sequence[int]) -> Iterator[str]:
    for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.rjust(width) if column in NUMBERS else cell.ljust(width)


def _row(file: DemoFile, result: Result | None, log: FileLog) -> tuple[str, ...]:
    retries = str(len(log.failures))
    if result is None:
        return file.name, file.behaviour, "was stopped", retries, "", "-"
    if result.error is not None:
        return file.name, file.behaviour, f"gave up: {result.error}", retries, "", "FAILED"
    again = size(max(result.received - file.size, 0))
    verdict = "OK" if is_intact(file, result) else "WRONG"
    return file.name, file.behaviour, log.summary(), retries, again, verdict
