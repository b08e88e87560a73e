"""A queue file's lines -> Jobs: the file is opened, unpacked and told apart here; each format has its module.

A list of plain URLs and an aria2 list share a reader, since the one is the other without options.
"""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from gzip import GzipFile
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from .._errors import QueueFileError
from .._models import Job
from .._naming import printable
from . import aria2, jsonl
from .line import MAX_LINE, Line

__all__ = ["read"]

Stream = io.BufferedReader | GzipFile

_GZIP = b"\x1f\x8b"  # RFC 1952 section 2.3.1
_BOM = b"\xef\xbb\xbf"
# Text has no NUL; a binary file has one early, and git looks no further than a few KiB either.
_HEAD = 1024


def read(
    path: str, *, warn: Callable[[str], None], stdin: BinaryIO | None = None
) -> Iterator[Job | QueueFileError]:
    """Read the queue file *path* lazily, line by line, whatever its format; a bad line comes as its error.

    In a list of URLs a job is given once the next line has been read, since options may follow a URL.

    :param path: ``-`` is *stdin*, which stays open.
    :param warn: is told once of each option or field that is not known and is passed over.
    :raises QueueFileError: the file cannot be opened, or it is binary.
    """
    name = "stdin" if path == "-" else printable(path)
    lines = _lines(path, name, stdin)
    # A generator that has begun closes the file when it is dropped.
    first = next(lines, None)
    if first is None:
        return iter(())
    named = path.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson"))
    parse = jsonl.parse if named or first.text.startswith(("{", "[")) else aria2.parse
    return parse(chain([first], lines), name, warn)


def _lines(path: str, name: str, stdin: BinaryIO | None) -> Iterator[Line]:
    """Yield the lines that are neither blank nor comments."""
    with ExitStack() as closing:
        stream = _opened(path, name, stdin, closing)
        number, more = 0, True
        while more:
            number += 1
            try:
                raw = stream.readline(MAX_LINE + 1)
                long = _skip_rest(stream, raw)
            except (OSError, EOFError, zlib.error) as error:
                # As if indented: what is lost may be options of the entry before, which then must not run.
                yield Line(number, " ", f"the file cannot be read any further: {_reason(error)}")
                return
            more = bool(raw)
            line = _line(number, raw.removeprefix(_BOM) if number == 1 else raw, long=long)
            if line.fault or (line.text.strip() and not line.text.lstrip().startswith("#")):
                yield line


def _opened(path: str, name: str, stdin: BinaryIO | None, closing: ExitStack) -> Stream:
    """Open the file until *closing* ends, unpacked where it is gzip."""
    try:
        if path == "-":
            stream: Stream = _standard_input(stdin, closing)
        else:
            stream = closing.enter_context(Path(path).open("rb"))  # noqa: SIM115  closed by `closing`
        if path.lower().endswith(".gz") or stream.peek(2).startswith(_GZIP):
            stream = closing.enter_context(GzipFile(fileobj=stream, mode="rb"))
        head = stream.peek(_HEAD)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise QueueFileError(f"The queue file {name} cannot be read: {_reason(error)}.") from error
    if b"\0" in head[:_HEAD]:
        raise QueueFileError(f"The queue file {name} is binary; a queue file is UTF-8 text.")
    return stream


def _standard_input(stdin: BinaryIO | None, closing: ExitStack) -> io.BufferedReader:
    stream = stdin or getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise OSError("standard input is closed")
    if isinstance(stream, io.BufferedReader):
        return stream
    buffered: io.BufferedReader = io.BufferedReader(cast("io.RawIOBase", stream))
    closing.callback(buffered.detach)
    return buffered


def _reason(error: Exception) -> str:
    """Say it as the system does, without numbers and paths."""
    return str(getattr(error, "strerror", None) or error)


def _skip_rest(stream: Stream, raw: bytes) -> bool:
    """Pass over the rest of a line that is too long, in bounded memory; False when it was not."""
    if len(raw) <= MAX_LINE or raw.endswith(b"\n"):
        return False
    while raw and not raw.endswith(b"\n"):
        raw = stream.readline(MAX_LINE)
    return True


def _line(number: int, raw: bytes, *, long: bool) -> Line:
    shape = raw[:1].decode("ascii", "replace")
    if long:
        return Line(number, shape, f"longer than {MAX_LINE >> 20} MiB")
    if b"\0" in raw:
        return Line(number, shape, "a NUL byte")
    try:
        return Line(number, raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8"))
    except UnicodeDecodeError:
        return Line(number, shape, "not UTF-8")
