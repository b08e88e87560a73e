"""A report: a row for each job that ended, as JSON lines or CSV."""

from __future__ import annotations

import csv
import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from pathlib import Path

from .._events import Event, JobFinished
from .._models import Result, redact
from .json_lines import JsonLines
from .lines import LineWriter

__all__ = ["CSV_COLUMNS", "Report"]

CSV_COLUMNS = (
    "url",
    "final_url",
    "status",
    "path",
    "size",
    "etag",
    "last_modified",
    "sha256",
    "attempts",
    "elapsed",
    "error",
    "id",
    "source",
)


# A spreadsheet takes a cell that begins so for a formula, and names and validators come from servers
# (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Report:
    """An observer that writes a row to the file *path* for each job that ends: CSV where it is called ``.csv``.

    JSON lines are the events ``job_finished``, field by field. The file is begun anew, unless another run has
    it open: runs that share a queue may share its report. A FIFO needs a reader.

    :param on_error: called once when a row cannot be written.
    :raises OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, on_error: Callable[[OSError], None]) -> None:
        # Without a reader a FIFO would be waited for; with one, its rows are.
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)
        os.set_blocking(fd, True)
        _begin(fd)
        self._stream = open(fd, "a", encoding="utf-8", errors="backslashreplace", newline="")  # noqa: SIM115 - see close
        lines = LineWriter(
            self._stream,
            on_closed=lambda: on_error(BrokenPipeError(0, "its reader has ended")),
            on_error=on_error,
        )
        self._write: Callable[[JobFinished], None] = JsonLines(lines.write_line)
        if path.suffix.lower() == ".csv":
            if not os.fstat(fd).st_size:
                lines.write(_csv(CSV_COLUMNS))
            self._write = lambda event: lines.write(_csv(_cells(event.result)))

    def __call__(self, event: Event) -> None:
        """Write a row for *event*, if it is the end of a job."""
        if type(event) is JobFinished:
            self._write(event)

    def close(self) -> None:
        """Close the file. Errors are ignored, as each row was written out at once."""
        with suppress(OSError):
            self._stream.close()


def _begin(fd: int) -> None:
    """Empty the file, unless another run has it open; a file system without locks has no other."""
    with suppress(OSError):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(fd, fcntl.LOCK_SH)
            return
    if stat.S_ISREG(os.fstat(fd).st_mode):
        os.ftruncate(fd, 0)
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_SH)


def _cells(result: Result) -> tuple[object, ...]:
    job = result.job
    path = "" if result.path is None else str(result.path)
    return (
        redact(job.url),
        result.final_url,
        result.status,
        f"./{path}" if path.startswith(_FORMULA) else path,
        result.size,
        result.etag,
        result.last_modified,
        result.sha256,
        result.attempts,
        f"{result.elapsed:.3f}",
        result.error,
        job.id,
        job.source,
    )


def _csv(cells: tuple[object, ...]) -> str:
    """Return a line of CSV (RFC 4180)."""
    text = StringIO()
    csv.writer(text).writerow(map(_harmless, cells))
    return text.getvalue()


def _harmless(cell: object) -> str:
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(_FORMULA) else text
