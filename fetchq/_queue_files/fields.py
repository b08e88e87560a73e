"""What a job's fields may hold, whatever format they are written in; a ValueError says what they may not."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from .._digests import parse
from .._errors import UsageError
from .._naming import printable

# A generated file may hold any number of names; nobody reads more warnings than this.
MAX_WARNINGS = 100
# Below a millisecond no server answers, however near.
_LEAST_TIMEOUT = 0.001


class Unknown:
    """Warn once of each name that means nothing to us.

    :param warn: takes the sentence.
    :param noun: what the names are: option, field.
    """

    def __init__(self, warn: Callable[[str], None], noun: str) -> None:
        self._warn = warn
        self._noun = noun
        self._seen: set[str] = set()

    def __call__(self, name: str, where: str) -> None:
        """Warn of *name*, which stands at *where*, unless that was done before."""
        if name not in self._seen and len(self._seen) < MAX_WARNINGS:
            self._seen.add(name)
            self._warn(f"{where}: the {self._noun} {printable(name[:80])!r} is not known and is ignored.")


def header(text: str) -> tuple[str, str]:
    """Read ``Name: value``."""
    name, colon, value = text.partition(":")
    if not colon:
        raise ValueError("a header is written 'Name: value'")
    return header_pair(name.strip(), value.strip())


def header_pair(name: str, value: str) -> tuple[str, str]:
    """Refuse what would end the header's line and begin another (RFC 9110 section 5.5)."""
    if not name:
        raise ValueError("a header needs a name")
    if not {*"\r\n\0"}.isdisjoint(name + value):
        raise ValueError("a header holds a line break or NUL")
    return name, value


def checksum(text: str) -> str:
    """Give the canonical spelling."""
    try:
        return str(parse(text))
    except UsageError as error:
        raise ValueError(str(error)) from error


def folder(text: str) -> Path:
    """Read a directory's name, relative to the working directory or absolute: the queue's author runs it."""
    if not text or printable(text) != text:
        raise ValueError("a directory's name is empty or holds a control character")
    return Path(text)


def attempts(count: float) -> float:
    """Refuse less than no attempt; infinity is allowed."""
    if math.isnan(count) or count < 0:
        raise ValueError("it must be 0 or more")
    return count


def seconds(value: float) -> float:
    """Refuse a timeout that nothing can meet, and one that never ends."""
    if not _LEAST_TIMEOUT <= value < math.inf:
        raise ValueError(f"it must be {_LEAST_TIMEOUT:g} seconds or more")
    return value
