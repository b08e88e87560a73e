"""Events -> lines for people, JSON lines for programs, and the report at the end of a run."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, TypeAlias

from ._errors import DiskFullError, FetchError
from ._events import (
    AttemptFailed,
    Event,
    JobFinished,
    JobStarted,
    Observer,
    Planned,
    Progressed,
    RunFinished,
    RunStarted,
    Warned,
)
from ._models import Job, Result, redact
from ._naming import printable
from ._units import duration, rate, size

__all__ = [
    "Audience",
    "Json",
    "Lines",
    "Outlet",
    "ProgressKind",
    "Summary",
    "failure",
    "left_by_reader",
    "line",
    "record",
]

ProgressKind: TypeAlias = Literal["auto", "bar", "plain", "json", "none"]
Say: TypeAlias = Callable[[str], None]

# One screenful; each failure has also had a line of its own when it happened.
MOST_FAILURES = 20
QUIET, NORMAL, VERBOSE = -1, 0, 1

NOTHING = "Nothing to do: no job was given."
GO_ON = "Run the same command again to resume; what is finished stays as it is."


def left_by_reader(error: FetchError) -> bool:
    """Tell whether *error* only means that the program behind the pipe has ended: not worth a word."""
    return isinstance(error.__cause__, BrokenPipeError)


def line(event: Event, verbosity: int = VERBOSE) -> str | None:
    """Give *event* as one line for people; None where *verbosity* is too low for it, or nobody would read it.

    :param verbosity: -1 failures only, 0 also finished files and warnings, 1 also plans and retries.
    """
    match event:
        case JobFinished() if event.result.error is not None and left_by_reader(event.result.error):
            return None
        case JobFinished() if verbosity >= NORMAL or not event.result.ok:
            text = _ended(event)
        case Warned() if verbosity >= NORMAL:
            text = f"warning  {event.message}"
        case Planned() if verbosity >= VERBOSE:
            text = f"{event.kind:<8} {event.name}{_at(event)}{_because(event.reason)}"
        case AttemptFailed() if verbosity >= VERBOSE:
            text = f"retry    {event.name} {_when(event.wait)}, failure {event.failures}: {event.error}"
        case _:
            return None
    return printable(text)


def _at(event: Planned) -> str:
    start = f" from {size(event.start)}" if event.start else ""
    return f"{start} of {'unknown size' if event.size is None else size(event.size)}"


def _when(wait: float) -> str:
    return f"in {wait:.1f} s" if wait >= 0.05 else "at once"  # less would be written 0.0


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _ended(event: JobFinished) -> str:
    result = event.result
    if result.error is not None:
        return f"failed   {failure(result.job, result.error)}"
    name = "stdout" if result.job.out == "-" else event.name or _path(result)
    if result.status == "skipped":
        return f"skipped  {name}{_because(result.reason)}"
    fetched = f", {size(result.received)} of them fetched now" if result.status == "resumed" else ""
    speed = f", {rate(result.received / result.elapsed)}" if result.elapsed > 0 else ""
    unverified = ", length unknown: not verified" if result.verified == "nothing" else ""
    return f"{result.status:<8} {name}, {size(result.size)}{fetched}{speed}{unverified}"


def _path(result: Result) -> str:
    return str(result.path or redact(result.job.url))


def failure(job: Job, error: FetchError) -> str:
    """Say which job it was, and why; the message often names the URL or the line by itself."""
    message = str(error)
    url, source = redact(job.url), job.source
    where = [part for part in (url, source) if part and part not in message]
    return f"{', '.join(where)}: {message}" if where else message


def record(event: Event) -> dict[str, Any]:
    """Give *event* as a JSON object; the field names are stable, ``event`` is the record's word."""
    told: dict[str, Any] = {"event": _WORDS[type(event)]}
    for name in _FIELDS[type(event)]:
        value = getattr(event, name)
        told.update(_result(value)) if isinstance(value, Result) else told.update({name: _plain(value)})
    return told


_WORDS: dict[type, str] = {
    RunStarted: "run_started",
    JobStarted: "job_started",
    Planned: "planned",
    Progressed: "progressed",
    AttemptFailed: "attempt_failed",
    Warned: "warned",
    JobFinished: "job_finished",
    RunFinished: "run_finished",
}
_FIELDS = {kind: tuple(item.name for item in fields(kind)) for kind in _WORDS}
_RESULT_FIELDS = tuple(item.name for item in fields(Result) if item.name != "job")


def _result(result: Result) -> dict[str, Any]:
    told: dict[str, Any] = {"id": result.job.id, "url": redact(result.job.url), "source": result.job.source}
    return told | {name: _plain(getattr(result, name)) for name in _RESULT_FIELDS}


def _plain(value: Any) -> Any:
    if isinstance(value, FetchError):
        return {
            "kind": value.kind,
            "message": str(value),
            "exit_code": value.exit_code,
            "transient": value.transient,
        }
    if isinstance(value, Path):
        return str(value)
    return dict(value) if hasattr(value, "keys") else value


class Outlet:
    """A stream that can go away: the first failed write is the last one.

    :param gone: called once when the reader at the other end has left.
    :param lost: called once when the stream cannot be written for another reason.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        gone: Callable[[], None] = lambda: None,
        lost: Callable[[OSError], None] = lambda _: None,
    ) -> None:
        self.stream = stream
        self._gone = gone
        self._lost = lost
        self._open = True

    def write(self, text: str) -> None:
        """Write *text* at once, in whatever characters the stream can show."""
        if not self._open or not text:
            return
        try:
            self.stream.write(self._encodable(text))
            self.stream.flush()
        except OSError as error:
            self._open = False
            if isinstance(error, BrokenPipeError):
                self._gone()
            else:
                self._lost(error)

    def say(self, text: str) -> None:
        """Write one line."""
        self.write(f"{text}\n")

    def _encodable(self, text: str) -> str:
        encoding = self.stream.encoding or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeError:
            return text.encode(encoding, "backslashreplace").decode(encoding)
        return text


# Red, green, cyan and yellow of the eight that every terminal has; the word says the same without them.
_COLOURS = {"failed": 31, "done": 32, "resumed": 36, "skipped": 36, "warning": 33, "retry": 33}


class Lines:
    """Finished files, failures and warnings as a line each; plans and retries too when verbose.

    :param say: takes one line.
    :param verbosity: see :func:`line`.
    :param colour: paint the first word.
    """

    def __init__(self, say: Say, verbosity: int = NORMAL, *, colour: bool = False) -> None:
        self._say = say
        self._verbosity = verbosity
        self._colour = colour

    def __call__(self, event: Event) -> None:
        """Say *event* if it is worth a line."""
        if type(event) is Progressed:  # by far the most frequent, and never a line
            return
        text = line(event, self._verbosity)
        if text is not None:
            self._say(_paint(text) if self._colour else text)


def _paint(text: str) -> str:
    word, space, rest = text.partition(" ")
    colour = _COLOURS.get(word)
    return f"\x1b[{colour}m{word}\x1b[0m{space}{rest}" if colour else text


class Json:
    """Every event as one JSON object a line.

    :param say: takes one line.
    :param now: seconds since 1970.
    """

    def __init__(self, say: Say, *, now: Callable[[], float] = time.time) -> None:
        self._say = say
        self._now = now

    def __call__(self, event: Event) -> None:
        """Say *event* in JSON; ASCII only, so that no name can move a cursor."""
        word, *rest = record(event).items()
        self._say(json.dumps(dict([word, ("time", round(self._now(), 3)), *rest])))


class Summary:
    """The report at the end of a run of several jobs: counts, bytes, time, failures, and how to go on.

    :param say: takes one line.
    :param piped: the job goes to stdout, where nothing stays that could be resumed.
    """

    def __init__(self, say: Say, *, piped: bool = False) -> None:
        self._say = say
        self._piped = piped
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
        if jobs == 0:
            return [NOTHING]
        if jobs > 1:
            report = [_counts(run, jobs), *(f"  {text}" for text in self._failures)]
            if run.failed > len(self._failures):
                report.append(f"  ... and {run.failed - len(self._failures)} more")
        if not self._piped and (self._resumable or run.left or run.stopped):
            report.append(GO_ON)
        return report


def _counts(run: RunFinished, jobs: int) -> str:
    kinds = [(getattr(run, kind), kind) for kind in ("done", "resumed", "skipped", "failed", "left")]
    told = ", ".join(f"{count} {kind}" for count, kind in kinds if count)
    speed = f", {rate(run.received / run.elapsed)}" if run.received and run.elapsed > 0 else ""
    return f"{jobs} files{': ' if told else ''}{told}; {size(run.received)} in {duration(run.elapsed)}{speed}"


class Display(Protocol):
    """What draws a little at a time."""

    def __call__(self, event: Event) -> None:
        """Take note of *event*."""

    def tick(self) -> None:
        """Draw what is new."""

    def close(self) -> None:
        """Take the drawing off the screen."""


class Audience:
    """Everyone who watches a run: the bars or the status line, the lines, the report, the JSON and the log.

    :param progress: what to show while it runs; ``auto`` is bars on a terminal and plain lines elsewhere.
    :param verbosity: see :func:`line`.
    :param slots: jobs that run at once.
    :param stderr: for people.
    :param stdout: for JSON events.
    :param log: gets the verbose lines, each with its time.
    :param piped: see :class:`Summary`.
    :param gone: called when a reader has left, so that the run can end.
    :param lost: called when the JSON events cannot be written.
    """

    def __init__(
        self,
        progress: ProgressKind = "auto",
        verbosity: int = NORMAL,
        *,
        stderr: TextIO,
        stdout: TextIO,
        log: TextIO | None = None,
        slots: int,
        piped: bool = False,
        gone: Callable[[], None] = lambda: None,
        lost: Callable[[OSError], None] = lambda _: None,
    ) -> None:
        from ._progress import Bars, Status  # a usage error or --version has no progress

        outlet = Outlet(stderr, gone=gone)
        terminal = stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._display: Display | None = None
        self._stderr = stderr
        self._drawn = False
        self.say: Say = outlet.say
        if progress == "bar" or (progress == "auto" and terminal and verbosity >= NORMAL):
            self._display = bars = Bars(outlet, slots=slots, shape=_shape(stderr), unicode=_unicode(stderr))
            self.say, self._drawn = bars.say, True
        elif progress == "plain" or (progress == "auto" and verbosity >= NORMAL):
            self._display = Status(self.say)
        # With JSON on stdout the program there has every file; people get what failed, and the report.
        told = min(verbosity, QUIET) if progress == "json" and verbosity < VERBOSE else verbosity
        self.observers: list[Observer] = [] if self._display is None else [self._display]
        self.observers.append(Lines(self.say, told, colour=terminal and not os.environ.get("NO_COLOR")))
        if verbosity >= NORMAL:
            self.observers.append(Summary(self.say, piped=piped))
        if progress == "json":
            self.observers.append(Json(Outlet(stdout, gone=gone, lost=lost).say))
        if log is not None:
            self.observers.append(Lines(_stamped(Outlet(log).say), VERBOSE))

    def __call__(self, event: Event) -> None:
        """Tell everyone."""
        for observer in self.observers:
            observer(event)

    def tick(self) -> None:
        """Let the display draw; call it every ``_progress.TICK`` seconds."""
        if self._display is not None:
            self._display.tick()

    def wipe(self) -> None:
        """Take the bars off the screen from within a signal's handler: at once, or not at all."""
        if self._drawn and select.select([], [self._stderr], [], 0)[1]:
            # Between two pictures the cursor stands at the first column of the first bar.
            os.write(self._stderr.fileno(), b"\r\x1b[J")

    def close(self) -> None:
        """Take the display off the screen; later lines still reach it."""
        if self._display is not None:
            self._display.close()


def _stamped(say: Say) -> Say:
    return lambda text: say(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}")


def _shape(stream: TextIO) -> Callable[[], os.terminal_size]:
    def shape() -> os.terminal_size:
        with suppress(OSError, ValueError):
            now = os.get_terminal_size(stream.fileno())
            if now.columns and now.lines:  # a pseudo-terminal that nobody sized says 0 x 0
                return now
        return os.terminal_size((80, 24))

    return shape


def _unicode(stream: TextIO) -> bool:
    try:
        "█▏".encode(stream.encoding or "ascii")
    except UnicodeError:
        return False
    return True
