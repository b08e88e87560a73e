"""A table of jobs: CSV (RFC 4180) with commas, semicolons or TABs, a header line of field names, a job a line.

The columns are those of JSON Lines, and ``name`` is ``out``. In a file called ``.csv`` without a header line
the columns are ``url`` and ``name``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from itertools import chain

from .._errors import QueueFileError
from .._models import Job
from .fields import build_job, parse_cell
from .lines import QueueLine, line_error
from .values import Absolute, QueueWarnings

_DELIMITERS = (",", "\t", ";")
_NAME = re.compile(r"[\w -]{0,40}")
_ALIASES = {"name": "out", "filename": "out"}
_WITHOUT_HEADER = ["url", "out"]


def matches(first: str) -> bool:
    """Whether the file's first line names columns, ``url`` among them."""
    return _columns(first) is not None


def parse(
    lines: Iterator[QueueLine], name: str, warn: Callable[[str], None], absolute: Absolute
) -> Iterator[Job | QueueFileError]:
    """Yield a Job for each line below the header, or its error.

    :param lines: neither blank nor comments.
    :param name: the file's name for messages.
    :param warn: called once for each unknown column.
    :param absolute: returns the URL that a word without a scheme means.
    """
    warnings = QueueWarnings(warn)
    header = next(lines)
    found = _columns(header.text)
    if found is None:
        lines, found = chain([header], lines), (_WITHOUT_HEADER, ",")
    columns, delimiter = found
    for line in lines:
        if line.text:
            yield _result(line, name, columns, delimiter, warnings, absolute)


def _columns(header: str) -> tuple[list[str], str] | None:
    """Return the names of the columns and their delimiter; None if the line is no header."""
    for delimiter in _DELIMITERS:
        words = [word.strip().strip('"').lower() for word in header.split(delimiter)]
        names = [_ALIASES.get(word, word) for word in words]
        if len(names) > 1 and {"url", "urls"} & {*names} and all(map(_NAME.fullmatch, names)):
            return names, delimiter
    return None


def _result(
    line: QueueLine, name: str, columns: list[str], delimiter: str, warnings: QueueWarnings, absolute: Absolute
) -> Job | QueueFileError:
    try:
        if line.error:
            raise ValueError(line.error)
        cells = _cells(line.text, delimiter)
        if len(cells) > len(columns):
            raise ValueError(f"{len(cells)} columns, and the header names {len(columns)}")
        given = {column: parse_cell(column, cell) for column, cell in zip(columns, cells, strict=False) if cell}
        return build_job(given, f"{name}:{line.number}", warnings, absolute)
    except (TypeError, ValueError) as error:
        return line_error(name, line.number, error)


def _cells(text: str, delimiter: str) -> list[str]:
    try:
        [row] = csv.reader([text], delimiter=delimiter, strict=True, skipinitialspace=True)
    except csv.Error as error:
        raise ValueError(f"not CSV: {error}") from error
    return [cell.strip() for cell in row]
