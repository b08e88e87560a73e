"""Queue files: text -> Jobs, read line by line.

::

    lines     yields the lines of a file
    unpack    gzip, bzip2 and xz, told by their first bytes
    aria2     parser: URLs, mirrors and indented options; a list of plain URLs is one without options
    jsonl     parser: JSON Lines
    table     parser: CSV
    fields    the fields that JSON Lines and CSV name
    write     jobs as lines of these formats
    values    checks of a job's fields that the parsers share
    followed  the lines of a file that others append to
    refused   what is often taken for a queue file and is none

A new format is a module and a row in ``FORMATS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import BinaryIO, NamedTuple, TypeAlias

from .._errors import QueueFileError
from .._models import Job
from .._naming import printable
from . import aria2, jsonl, table
from .followed import FollowedFile
from .lines import QueueLine, read_lines
from .refused import refuse
from .unpack import SUFFIXES
from .values import Absolute

__all__ = ["follow", "read"]

Warn: TypeAlias = Callable[[str], None]


class Format(NamedTuple):
    """One row of the table of formats.

    :param suffixes: lower-case endings of file names, without ``.gz`` and the like.
    :param matches: whether the first line that is neither blank nor a comment is of this format.
    :param parse: turns lines, the file's name for messages, ``warn`` and ``absolute`` into jobs and errors.
    """

    suffixes: tuple[str, ...]
    matches: Callable[[str], bool]
    parse: Callable[[Iterator[QueueLine], str, Warn, Absolute], Iterator[Job | QueueFileError]]


# Suffixes are tried before first lines, rows in their order; the last row matches any line.
FORMATS = (
    Format((".jsonl", ".ndjson"), jsonl.matches, jsonl.parse),
    Format((".csv",), table.matches, table.parse),
    Format((), lambda _: True, aria2.parse),
)


def read(
    path: str, *, warn: Warn, stdin: BinaryIO | None = None, absolute: Absolute = lambda url: url
) -> Iterator[Job | QueueFileError]:
    """Read the queue file *path* lazily, in any format of ``FORMATS``.

    A line that cannot be used is yielded as its error. In an aria2 list a job is yielded after the following
    line has been read, since options may follow a URL. The file is closed when the iterator is dropped.

    :param path: ``-`` is *stdin*, which stays open.
    :param warn: called once for each unknown option or field, which is ignored.
    :param absolute: returns the URL that a word without a scheme means.
    :raises QueueFileError: the file cannot be opened, is binary, or is as a whole something else: a page, a
        JSON document.
    """
    name = "stdin" if path == "-" else printable(path)
    lines = read_lines(path, name, stdin)
    first = next(lines, None)
    if first is None:
        return iter(())
    refuse(first.text, name)
    return _format(path, first).parse(chain([first], lines), name, warn, absolute)


def follow(
    path: str,
    *,
    warn: Warn,
    stdin: BinaryIO | None = None,
    absolute: Absolute = lambda url: url,
    sleep: Callable[[float], None],
) -> Iterator[Job | QueueFileError]:
    """Read the queue file *path* as :func:`read` does, and go on when others append to it or replace it.

    The iterator blocks until there are more lines, and ends for a pipe on standard input only, or where the
    file cannot be read any further. A job of an aria2 list is yielded when nothing was appended for a while:
    its options are to be written together with it.

    :param absolute: as there.
    :param sleep: waits for so many seconds between two looks at the file.
    :raises QueueFileError: the file cannot be opened, or is compressed.
    """
    name = "stdin" if path == "-" else printable(path)
    files = FollowedFile(path, name, stdin, sleep=sleep)
    return _followed(path, files, name, warn, absolute)


def _followed(
    path: str, files: Iterable[Iterator[QueueLine]], name: str, warn: Warn, absolute: Absolute
) -> Iterator[Job | QueueFileError]:
    for lines in files:
        first = next((line for line in lines if line.text), None)
        if first is None:
            continue
        try:
            refuse(first.text, name)
        except QueueFileError as error:
            yield error
            return
        yield from _format(path, first).parse(chain([first], lines), name, warn, absolute)


def _format(path: str, first: QueueLine) -> Format:
    name = path.lower()
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    by_name = (row for row in FORMATS if name.endswith(row.suffixes))
    by_content = (row for row in FORMATS if row.matches(first.text))
    return next(chain(by_name, by_content))
