"""The log of a run: a line with its time for each event, in a file that may be rotated."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from .._events import Event, JobFinished, JobStarted, Progressed
from .._models import redact
from .._naming import printable
from .lines import LineWriter
from .text import VERBOSE, format_event

__all__ = ["LogFile"]


class LogFile:
    """An observer that appends verbose lines to a file; it names URL and path of each job.

    A FIFO is never waited for: without a reader it cannot be opened, and one whose reader does not keep up gets
    no more lines.

    :raises OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = self._open()
        self._writer = LineWriter(self._stream)

    def __call__(self, event: Event) -> None:
        """Write a line for *event*, if there is something to tell."""
        if type(event) is Progressed:  # by far the most frequent event, and never shown
            return
        text = _started(event) if isinstance(event, JobStarted) else format_event(event, VERBOSE)
        if text is None:
            return
        if isinstance(event, JobFinished) and event.result.ok:
            text += f"; {_source_and_target(event)}"
        self._writer.write_line(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}")

    def reopen(self) -> None:
        """Open the file anew, since it may have been moved away; where that fails, go on with the old one."""
        with suppress(OSError):
            stream = self._open()
            self.close()
            self._stream, self._writer = stream, LineWriter(stream)

    def close(self) -> None:
        """Close the file. Errors are ignored, as those of its writes are: the downloads matter more."""
        with suppress(OSError):
            self._stream.close()

    def _open(self) -> TextIO:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
        fd = os.open(self._path, flags, 0o666)
        return open(fd, "a", encoding="utf-8", errors="backslashreplace")


def _started(event: JobStarted) -> str:
    return printable(f"begins   {event.url}")


def _source_and_target(event: JobFinished) -> str:
    result = event.result
    target = "stdout" if result.path is None else str(Path.cwd() / result.path)
    return printable(f"{redact(result.job.url)} is {target}")
