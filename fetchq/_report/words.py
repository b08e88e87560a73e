"""Events and errors as lines for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from .._errors import FetchError
from .._events import AttemptFailed, Event, JobFinished, Planned, Progressed, Warned
from .._models import Job, Result, redact
from .._naming import printable
from .._units import rate, size

__all__ = ["NORMAL", "QUIET", "VERBOSE", "Lines", "Say", "failure", "left_by_reader", "line"]

Say: TypeAlias = Callable[[str], None]

QUIET, NORMAL, VERBOSE = -1, 0, 1


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
