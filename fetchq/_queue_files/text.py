"""A URL a line; where several stand between TABs they are mirrors of the same bytes."""

from __future__ import annotations

from .._models import Job


def entry(line: str, source: str) -> Job:
    """Read one line that is not blank.

    :param source: ``FILE:LINE``, for messages about the job.
    """
    url, *mirrors = (part for part in map(str.strip, line.split("\t")) if part)
    return Job(url, mirrors=tuple(mirrors), source=source)
