"""A report: a row for each job that ended, as JSON lines or CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable
from io import StringIO
from typing import TextIO

from .._events import Event, JobFinished
from .._models import redact
from .json_lines import JsonLines
from .lines import LineWriter
from .text import WriteLine

__all__ = ["CSV_COLUMNS", "report_rows"]

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


def report_rows(stream: TextIO, *, on_error: Callable[[OSError], None]) -> Callable[[Event], None]:
    """Return an observer that writes a row to *stream* for each job that ends: CSV where it is called ``.csv``.

    JSON lines are the events ``job_finished``, field by field.

    :param on_error: called once when a row cannot be written.
    """
    write = LineWriter(
        stream, on_closed=lambda: on_error(BrokenPipeError(0, "its reader has ended")), on_error=on_error
    )
    row = _CsvRows(write.write) if stream.name.lower().endswith(".csv") else JsonLines(write.write_line)

    def observe(event: Event) -> None:
        if type(event) is JobFinished:
            row(event)

    return observe


class _CsvRows:
    """Writes finished jobs as lines of CSV (RFC 4180), the first being the names of the columns."""

    def __init__(self, write: WriteLine) -> None:
        self._write = write
        self._write(_csv(CSV_COLUMNS))

    def __call__(self, event: JobFinished) -> None:
        result = event.result
        job = result.job
        path = None if result.path is None else str(result.path)
        values = (
            redact(job.url),
            result.final_url,
            result.status,
            path,
            None if result.error is not None else result.size,
            result.etag,
            result.last_modified,
            result.sha256,
            result.attempts,
            f"{result.elapsed:.3f}",
            result.error,
            job.id,
            job.source,
        )
        self._write(_csv(values))


def _csv(values: tuple[object, ...]) -> str:
    text = StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue()
