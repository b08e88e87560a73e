"""A line of a queue file, and the error that names it."""

from __future__ import annotations

from typing import NamedTuple

from .._errors import QueueFileError
from .._naming import printable

# Signed URLs reach 8 KiB and request bodies some more; a longer line is a file without line ends.
MAX_LINE = 1 << 20


class Line(NamedTuple):
    """One line without its end.

    :param number: counted from 1.
    :param text: of a line with a *fault* only its first character, which tells whether it is indented.
    :param fault: why the line could not be read as text.
    """

    number: int
    text: str
    fault: str = ""


def bad(name: str, number: int, what: object) -> QueueFileError:
    """Build the error of one line: ``FILE:LINE: what``."""
    return QueueFileError(f"{name}:{number}: {printable(str(what)).rstrip('.')}.")
