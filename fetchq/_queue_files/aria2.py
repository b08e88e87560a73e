"""An aria2 list: the URLs of a job on a line, its options indented below; without options a list of URLs.

An option that is empty is not given; of one that is given twice the last counts, and headers add up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from .._errors import QueueFileError
from .._models import Job
from . import text
from .fields import Unknown, attempts, checksum, folder, header, header_pair, seconds
from .line import MAX_LINE, Line, bad

_OPTION = re.compile(r"[ \t]+([A-Za-z0-9-]+)[ \t]*=[ \t]*(.*)")
# What a line costs in memory besides its text.
_OVERHEAD = 128


def _tries(value: str) -> float:
    """Read aria2's ``max-tries``, where 0 means without end."""
    return attempts(int(value)) or math.inf


_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "out": ("out", str),
    "dir": ("dir", folder),
    "checksum": ("checksum", checksum),
    "max-tries": ("retries", _tries),
    "timeout": ("timeout", lambda value: seconds(float(value))),
}
_HEADERS: dict[str, Callable[[str], tuple[str, str]]] = {
    "header": header,
    "referer": lambda value: header_pair("Referer", value),
    "user-agent": lambda value: header_pair("User-Agent", value),
}
# How fast, never which bytes: the run's own settings decide about connections, and parts are always resumed.
_NOT_NEEDED = frozenset({"split", "max-connection-per-server", "min-split-size", "continue"})


def parse(lines: Iterator[Line], name: str, warn: Callable[[str], None]) -> Iterator[Job | QueueFileError]:
    """Give a Job for each entry, or the first thing that is wrong with it.

    :param lines: neither blank nor comments.
    :param name: of the file, for messages.
    :param warn: is told once of each unknown option.
    """
    unknown = Unknown(warn, "option")
    for entry in _entries(lines):
        yield _job(entry, name, unknown)


def _entries(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Group lines: a line that is no option begins an entry. Nothing follows a fault, which decides alone."""
    entry: list[Line] = []
    room = MAX_LINE
    for line in lines:
        if not _is_option(line):
            if entry:
                yield entry
            entry, room = [line], MAX_LINE
        elif not entry or not entry[-1].fault:
            room -= len(line.text) + _OVERHEAD
            entry.append(line if room > 0 else Line(line.number, " ", "too many options for one download"))
    if entry:
        yield entry


def _is_option(line: Line) -> bool:
    """Tell whether the line is indented and no URL; a plain list may be indented too."""
    return line.text.startswith((" ", "\t")) and (bool(line.fault) or _OPTION.fullmatch(line.text) is not None)


def _job(entry: list[Line], name: str, unknown: Unknown) -> Job | QueueFileError:
    first, *options = entry
    if first.fault or _is_option(first):
        return bad(name, first.number, first.fault or "an option before any URL")
    fields: dict[str, Any] = {}
    for line in options:
        found = _OPTION.fullmatch(line.text)
        if line.fault or found is None:
            return bad(name, line.number, line.fault)
        option, value = found[1].lower(), found[2].strip()
        try:
            _read(option, value, fields)
        except ValueError as error:
            return bad(name, line.number, f"{option}: {error}")
        except KeyError:
            unknown(option, f"{name}:{line.number}")
    job = text.entry(first.text, f"{name}:{first.number}")
    return replace(job, **fields) if fields else job


def _read(option: str, value: str, fields: dict[str, Any]) -> None:
    """Add an option to the *fields* of a job; KeyError when it is not known."""
    if option in _NOT_NEEDED or (not value and option in {*_FIELDS, *_HEADERS}):
        return
    if option in _HEADERS:
        fields["headers"] = (*fields.get("headers", ()), _HEADERS[option](value))
    else:
        field, read = _FIELDS[option]
        fields[field] = read(value)
