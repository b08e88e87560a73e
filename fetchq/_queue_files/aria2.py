"""An aria2 list: the URLs of a job on one line, separated by TABs; its options below, indented.

As in aria2, an empty option counts as not given, the last of several counts, and headers add up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from .._errors import QueueFileError
from .._models import Job
from .lines import MAX_LINE, QueueLine, line_error
from .values import (
    UnknownNames,
    check_header,
    check_retries,
    check_timeout,
    parse_checksum,
    parse_directory,
    parse_header,
)

_OPTION = re.compile(r"[ \t]+([A-Za-z0-9-]+)[ \t]*=[ \t]*(.*)")
# Bytes that a line takes in memory besides its text.
_LINE_OVERHEAD = 128


def _max_tries(value: str) -> float:
    """Return the retries of aria2's ``max-tries``, where 0 means without end."""
    return check_retries(int(value)) or math.inf


_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "out": ("out", str),
    "dir": ("dir", parse_directory),
    "checksum": ("checksum", parse_checksum),
    "max-tries": ("retries", _max_tries),
    "timeout": ("timeout", lambda value: check_timeout(float(value))),
}
_HEADERS: dict[str, Callable[[str], tuple[str, str]]] = {
    "header": parse_header,
    "referer": lambda value: check_header("Referer", value),
    "user-agent": lambda value: check_header("User-Agent", value),
}
# These change how fast a file arrives, not its bytes: the run's settings decide, and parts are always resumed.
_IGNORED = frozenset({"split", "max-connection-per-server", "min-split-size", "continue"})


def parse(lines: Iterator[QueueLine], name: str, warn: Callable[[str], None]) -> Iterator[Job | QueueFileError]:
    """Yield a Job for each entry, or its first error.

    :param lines: neither blank nor comments.
    :param name: the file's name for messages.
    :param warn: called once for each unknown option.
    """
    unknown = UnknownNames(warn, "option")
    for entry in _entries(lines):
        yield _job(entry, name, unknown)


def _entries(lines: Iterator[QueueLine]) -> Iterator[list[QueueLine]]:
    """Group the lines: a line that is no option begins an entry, and the first error ends it."""
    entry: list[QueueLine] = []
    room = MAX_LINE
    for line in lines:
        if not _is_option(line):
            if entry:
                yield entry
            entry, room = [line], MAX_LINE
        elif not entry or not entry[-1].error:
            room -= len(line.text) + _LINE_OVERHEAD
            too_many = QueueLine(line.number, " ", "too many options for one download")
            entry.append(line if room > 0 else too_many)
    if entry:
        yield entry


def _is_option(line: QueueLine) -> bool:
    """Whether the line is an indented option; the URLs of a plain list may be indented too."""
    return line.text.startswith((" ", "\t")) and (bool(line.error) or _OPTION.fullmatch(line.text) is not None)


def _job(entry: list[QueueLine], name: str, unknown: UnknownNames) -> Job | QueueFileError:
    first, *options = entry
    if first.error or _is_option(first):
        return line_error(name, first.number, first.error or "an option before any URL")
    fields: dict[str, Any] = {}
    for line in options:
        found = _OPTION.fullmatch(line.text)
        if line.error or found is None:
            return line_error(name, line.number, line.error)
        option, value = found[1].lower(), found[2].strip()
        try:
            _add(option, value, fields)
        except ValueError as error:
            return line_error(name, line.number, f"{option}: {error}")
        except KeyError:
            unknown.add(option, f"{name}:{line.number}")
    url, *mirrors = (part for part in map(str.strip, first.text.split("\t")) if part)
    job = Job(url, mirrors=tuple(mirrors), source=f"{name}:{first.number}", confined=True)
    return replace(job, **fields) if fields else job


def _add(option: str, value: str, fields: dict[str, Any]) -> None:
    """Add an option to the *fields* of a job.

    :raises KeyError: the option is not known.
    :raises ValueError: the value is not allowed.
    """
    if option in _IGNORED or (not value and option in {*_FIELDS, *_HEADERS}):
        return
    if option in _HEADERS:
        fields["headers"] = (*fields.get("headers", ()), _HEADERS[option](value))
    else:
        field, read = _FIELDS[option]
        fields[field] = read(value)
