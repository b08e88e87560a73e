"""Events and errors as lines of text for people."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeAlias

from .._errors import AuthenticationError, FetchError, StatusError
from .._events import (
    AttemptFailed,
    Event,
    JobFinished,
    Planned,
    Progressed,
    QueueWaiting,
    SkippedJobs,
    SkippingObserver,
    Waiting,
    Warned,
)
from .._models import Job, Result, redact
from .._naming import printable
from .._units import rate, size

__all__ = [
    "NORMAL",
    "QUIET",
    "VERBOSE",
    "TextLines",
    "WriteLine",
    "format_event",
    "format_failure",
    "is_broken_pipe",
]

WriteLine: TypeAlias = Callable[[str], None]

QUIET, NORMAL, VERBOSE = -1, 0, 1


def is_broken_pipe(error: FetchError) -> bool:
    """Whether the reader of standard output closed the pipe, which is not reported as a failure."""
    return isinstance(error.__cause__, BrokenPipeError)


def format_event(event: Event, verbosity: int = VERBOSE) -> str | None:
    """Return *event* as one line; None if *verbosity* is too low for it, or if it is a broken pipe.

    :param verbosity: QUIET: failures; NORMAL: also finished files, warnings, long waits; VERBOSE: also plans,
        retries.
    """
    match event:
        case JobFinished() if event.result.error is not None and is_broken_pipe(event.result.error):
            return None
        case JobFinished() if event.result.error is not None and event.result.reason and verbosity == NORMAL:
            return None  # a warning and the summary tell of all of them
        case JobFinished() if verbosity >= NORMAL or not event.result.ok:
            text = _finished(event, said=verbosity >= VERBOSE)
        case Waiting() if verbosity >= NORMAL:
            text = f"waiting  {_until(event.until)}: {event.error}"
        case QueueWaiting() if verbosity >= NORMAL:
            text = "waiting  for more lines of the queue; Ctrl-C ends the run"
        case Warned() if verbosity >= NORMAL:
            text = f"warning  {event.message}"
        case Planned() if verbosity >= VERBOSE:
            text = f"{event.kind:<8} {event.name}{_range(event)}{_in_parentheses(event.reason)}"
        case AttemptFailed() if verbosity >= VERBOSE:
            text = f"retry    {event.name} {_delay(event.wait)}, failure {event.failures}: {event.error}"
            text += _said(event.error)
        case _:
            return None
    return printable(text)


def _range(event: Planned) -> str:
    start = f" from {size(event.start)}" if event.start else ""
    return f"{start} of {'unknown size' if event.size is None else size(event.size)}"


def _until(seconds: float | None) -> str:
    """Return the local time at *seconds* since 1970, with its date unless that is today."""
    if seconds is None:
        return "as long as it takes"
    when = time.localtime(seconds)
    today = when[:3] == time.localtime()[:3]
    return time.strftime("until %H:%M:%S" if today else "until %Y-%m-%d %H:%M:%S", when)


def _delay(wait: float) -> str:
    return f"in {wait:.1f} s" if wait >= 0.05 else "at once"  # less would be rounded to 0.0


def _in_parentheses(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _said(error: FetchError) -> str:
    """Return what the server said about *error*, to be put behind its message."""
    said = error.said if isinstance(error, StatusError | AuthenticationError) else ""
    return f" It said: {said}" if said else ""


def _finished(event: JobFinished, *, said: bool) -> str:
    result = event.result
    if result.error is not None:
        failure = format_failure(result.job, result.error)
        return f"failed   {failure}{_said(result.error) if said else ''}"
    name = "stdout" if result.job.out == "-" else event.name or _path(result)
    if result.status == "skipped":
        return f"skipped  {name}{_in_parentheses(result.reason)}"
    fetched = f", {size(result.received)} of them fetched now" if result.status == "resumed" else ""
    speed = f", {rate(result.received / result.elapsed)}" if result.elapsed > 0 else ""
    unverified = ", length unknown: not verified" if result.verified == "nothing" else ""
    return f"{result.status:<8} {name}, {size(result.size)}{fetched}{speed}{unverified}"


def _path(result: Result) -> str:
    return str(result.path or redact(result.job.url))


def format_failure(job: Job, error: FetchError) -> str:
    """Return the message of *error*, preceded by the job's URL and queue line unless it contains them."""
    message = str(error)
    url, source = redact(job.url), job.source
    where = [part for part in (url, source) if part and part not in message]
    return f"{', '.join(where)}: {message}" if where else message


# Red, green, cyan and yellow of the eight standard colours (ECMA-48 SGR 31 to 36).
_COLOURS = {"failed": 31, "done": 32, "resumed": 36, "skipped": 36, "warning": 33, "retry": 33, "waiting": 33}


class TextLines(SkippingObserver):
    """An observer that writes events as lines of text.

    :param verbosity: see :func:`format_event`.
    :param colour: colour the first word.
    """

    def __init__(self, write_line: WriteLine, verbosity: int = NORMAL, *, colour: bool = False) -> None:
        self._write_line = write_line
        self._verbosity = verbosity
        self._colour = colour

    def __call__(self, event: Event) -> None:
        if type(event) is Progressed:  # by far the most frequent event, and never shown
            return
        self._write([event])

    def skipped(self, jobs: SkippedJobs) -> None:
        """Write a line for each where finished files are shown."""
        if self._verbosity >= NORMAL:
            self._write(jobs.events())

    def _write(self, events: Iterable[Event]) -> None:
        """Write the lines of *events* at once: each write is a call of the system."""
        texts = [text for event in events if (text := format_event(event, self._verbosity)) is not None]
        if texts:
            self._write_line("\n".join(map(_coloured, texts) if self._colour else texts))


def _coloured(text: str) -> str:
    word, space, rest = text.partition(" ")
    colour = _COLOURS.get(word)
    return f"\x1b[{colour}m{word}\x1b[0m{space}{rest}" if colour else text
