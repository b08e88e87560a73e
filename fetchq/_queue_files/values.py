"""Checks of a job's fields that the queue file formats share; each raises ValueError with the reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from .._digests import parse
from .._errors import UsageError
from .._naming import printable

# A generated file may hold any number of unknown names.
MAX_WARNINGS = 100
# Seconds. Below a millisecond no server answers, not even on the same machine.
_MIN_TIMEOUT = 0.001


class UnknownNames:
    """Warns once for each unknown option or field, and of at most ``MAX_WARNINGS`` in all.

    :param noun: what the names are: ``option`` or ``field``.
    """

    def __init__(self, warn: Callable[[str], None], noun: str) -> None:
        self._warn = warn
        self._noun = noun
        self._seen: set[str] = set()

    def add(self, name: str, source: str) -> None:
        """Warn of *name*, found at *source*, unless it was found before."""
        if name not in self._seen and len(self._seen) < MAX_WARNINGS:
            self._seen.add(name)
            self._warn(f"{source}: the {self._noun} {printable(name[:80])!r} is not known and is ignored.")


def parse_header(text: str) -> tuple[str, str]:
    """Return name and value of ``Name: value``."""
    name, colon, value = text.partition(":")
    if not colon:
        raise ValueError("a header is written 'Name: value'")
    return check_header(name.strip(), value.strip())


def check_header(name: str, value: str) -> tuple[str, str]:
    """Refuse CR, LF and NUL, which would end the header's line (RFC 9110 section 5.5)."""
    if not name:
        raise ValueError("a header needs a name")
    if not {*"\r\n\0"}.isdisjoint(name + value):
        raise ValueError("a header holds a line break or NUL")
    return name, value


def parse_checksum(text: str) -> str:
    """Return the canonical spelling, ``ALGO:HEX``."""
    try:
        return str(parse(text))
    except UsageError as error:
        raise ValueError(str(error)) from error


def parse_directory(text: str) -> Path:
    """Return a directory, absolute or relative to the run's; it may lead out of that only if the run allows."""
    if not text or printable(text) != text:
        raise ValueError("a directory's name is empty or holds a control character")
    return Path(text)


def check_retries(count: float) -> float:
    """Refuse a negative count; infinity is allowed."""
    if math.isnan(count) or count < 0:
        raise ValueError("it must be 0 or more")
    return count


def check_timeout(seconds: float) -> float:
    """Refuse a timeout that no server can meet, and infinity."""
    if not _MIN_TIMEOUT <= seconds < math.inf:
        raise ValueError(f"it must be {_MIN_TIMEOUT:g} seconds or more")
    return seconds
