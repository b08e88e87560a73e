"""The lines of a queue file: UTF-8 with or without BOM, LF or CRLF, compressed or not."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from .._errors import QueueFileError
from .._naming import printable
from .unpack import ERRORS, unpacked

__all__ = ["MAX_LINE", "PAUSE", "QueueLine", "line_error", "lines_of", "read_lines"]

# Bytes. Signed URLs reach 8 KiB and request bodies somewhat more; a longer line is a file without line ends.
MAX_LINE = 1 << 20
_BOM = b"\xef\xbb\xbf"
# What a blank line and a comment begin with.
_NO_ENTRY = frozenset({"", "#"})
# Bytes searched for NUL, which text does not contain. Git searches the first 8,000 for the same purpose.
_BINARY_CHECK = 1024


class QueueLine(NamedTuple):
    """One line without its end; ``PAUSE`` is none.

    :param number: counted from 1.
    :param text: of a line with an *error* only the first character, which shows whether it is indented.
    :param error: why the line could not be read as text; empty if it could.
    """

    number: int
    text: str
    error: str = ""


# Stands where a file that is followed has no more lines for now; its text is empty, as that of no line is.
PAUSE = QueueLine(0, "")


def line_error(name: str, number: int, reason: object) -> QueueFileError:
    """Return the error of one line: ``FILE:LINE: reason``."""
    source = f"{name}:{number}"
    return QueueFileError(f"{source}: {printable(str(reason)).rstrip('.')}.", source=source)


def read_lines(path: str, name: str, stdin: BinaryIO | None) -> Iterator[QueueLine]:
    """Yield the lines that are neither blank nor comments; after a read error one line that holds it.

    :param name: the file's name for messages.
    :raises QueueFileError: the file cannot be opened, or it is binary.
    """
    with ExitStack() as closing:
        yield from lines_of(_open(path, name, stdin, closing).readline)


def lines_of(readline: Callable[[int], bytes | None]) -> Iterator[QueueLine]:
    """Yield the lines that are neither blank nor comments; after a read error one line that holds it.

    :param readline: returns the next line, or so many bytes of it; empty at the end. For None, which says that
        there is none for now, ``PAUSE`` is yielded.
    """
    number = 0
    while True:
        try:
            raw = readline(MAX_LINE + 1)
            too_long = raw is not None and len(raw) > MAX_LINE and _skip_rest(readline, raw)
        except ERRORS as error:
            # Indented, as an option is, so that the preceding entry fails too: its options may be lost.
            yield QueueLine(number + 1, " ", f"the file cannot be read any further: {_reason(error)}")
            return
        if not raw:
            if raw is not None:
                return
            yield PAUSE
            continue
        number += 1
        line = _decode(number, raw if number > 1 else raw.removeprefix(_BOM), too_long=too_long)
        if line.error or line.text.lstrip()[:1] not in _NO_ENTRY:
            yield line


def _open(path: str, name: str, stdin: BinaryIO | None, closing: ExitStack) -> io.BufferedReader:
    """Open the file until *closing* ends, and unpack it if it is compressed."""
    try:
        if path == "-":
            stream = _standard_input(stdin, closing)
        else:
            stream = closing.enter_context(Path(path).open("rb"))  # noqa: SIM115  closed by `closing`
        stream = unpacked(stream, path)
        head = stream.peek(_BINARY_CHECK)
    except (*ERRORS, ValueError) as error:
        raise QueueFileError(f"The queue file {name} cannot be read: {_reason(error)}.") from error
    if b"\0" in head[:_BINARY_CHECK]:
        raise QueueFileError(f"The queue file {name} is binary; a queue file is UTF-8 text.")
    return stream


def _standard_input(stdin: BinaryIO | None, closing: ExitStack) -> io.BufferedReader:
    stream = stdin or getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise OSError("standard input is closed")
    if isinstance(stream, io.BufferedReader):
        return stream
    buffered: io.BufferedReader = io.BufferedReader(cast("io.RawIOBase", stream))
    closing.callback(buffered.detach)  # else dropping the buffer would close the caller's stream
    return buffered


def _reason(error: Exception) -> str:
    """Return the system's message without error number and path."""
    return str(getattr(error, "strerror", None) or error)


def _skip_rest(readline: Callable[[int], bytes | None], raw: bytes) -> bool:
    """Skip the rest of a line longer than ``MAX_LINE``, in bounded memory; return whether there is one."""
    if raw.endswith(b"\n"):
        return False
    rest: bytes | None = raw
    while rest is None or (rest and not rest.endswith(b"\n")):
        rest = readline(MAX_LINE)
    return True


def _decode(number: int, raw: bytes, *, too_long: bool) -> QueueLine:
    if too_long:
        error = f"longer than {MAX_LINE >> 20} MiB"
    elif b"\0" in raw:
        error = "a NUL byte"
    else:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            error = "not UTF-8"
        else:
            # As QueueLine(...) does, at half the cost: a long list has millions.
            return _new(QueueLine, (number, text.removesuffix("\n").removesuffix("\r"), ""))
    return QueueLine(number, raw[:1].decode("ascii", "replace"), error)


_new = tuple.__new__
