"""Events as debug lines of the logger ``fetchq``; requests are logged where they are made."""

from __future__ import annotations

from .._events import (
    AttemptFailed,
    Event,
    JobFinished,
    JobStarted,
    Planned,
    QueueWaiting,
    RunFinished,
    RunStarted,
    Waiting,
    Warned,
)
from .._log import LOGGER, is_debugging
from .._naming import printable

__all__ = ["log"]


def log(event: Event) -> None:
    """Log *event*, unless that goes nowhere, or it is one of many that only count bytes."""
    if is_debugging():
        words = _words(event)
        if words:
            LOGGER.debug("%s", printable(words))


def _words(event: Event) -> str:
    match event:
        case RunStarted(jobs=jobs, directory=directory):
            return f"run of {'unknown many' if jobs is None else jobs} jobs into {directory}"
        case JobStarted(number=number, url=url):
            return f"job {number}: {url}"
        case Planned(number=number, name=name, kind=kind, reason=reason, start=start, size=size):
            return f"job {number}: {name}: {kind} from byte {start} of {size}: {reason}"
        case AttemptFailed(number=number, error=error, failures=failures, wait=wait):
            return f"job {number}: attempt failed, {failures} in a row, again in {wait:.3f} s: {error}"
        case Waiting(number=number, host=host, error=error, wait=wait):
            return f"job {number}: waits {wait:.3f} s for {host}: {error}"
        case QueueWaiting():
            return f"{event.ended} jobs have ended, and the queue gives no other for now"
        case Warned(number=number, message=message):
            return f"job {number}: {message}" if number else message
        case JobFinished(number=number, name=name, result=result):
            ended = f": {result.error or result.reason}" if result.error or result.reason else ""
            return f"job {number}: {name}: {result.status}, {result.size} bytes{ended}"
        case RunFinished(elapsed=elapsed, left=left, stopped=stopped):
            return f"run {'stopped' if stopped else 'ended'} after {elapsed:.3f} s, {left} jobs left"
    return ""
