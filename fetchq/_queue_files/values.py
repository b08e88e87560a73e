"""Checks of a job's fields that the queue file formats share; each raises ValueError with the reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from .._digests import parse
from .._errors import UsageError
from .._models import redact
from .._naming import printable

# A generated file may hold any number of unknown names.
MAX_WARNINGS = 100
# Seconds. Below a millisecond no server answers, not even on the same machine.
_MIN_TIMEOUT = 0.001
_SCHEMES_WITHOUT_SLASHES = frozenset({"magnet", "mailto"})


# Returns the URL that a word without a scheme means.
Absolute: TypeAlias = Callable[[str], str]


class QueueWarnings:
    """Warns once of each thing, and of at most ``MAX_WARNINGS`` in all."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._seen: set[str] = set()

    def tell(self, thing: str, message: str) -> None:
        """Warn with *message*, unless there was a warning of *thing* before."""
        if thing not in self._seen and len(self._seen) < MAX_WARNINGS:
            self._seen.add(thing)
            self._warn(message)

    def unknown(self, noun: str, name: str, source: str) -> None:
        """Warn of an option or field *name*, found at *source*, that is not known."""
        self.tell(name, f"{source}: the {noun} {printable(name[:80])!r} is not known and is ignored.")


def usable_urls(urls: Sequence[str], source: str, warnings: QueueWarnings) -> Sequence[str]:
    """Return the *urls* of one file without those of other schemes, unless there are no others."""
    if len(urls) == 1:
        return urls
    found = [(url, scheme) for url in urls if (scheme := _foreign_scheme(url))]
    if len(found) == len(urls):
        return urls
    for url, scheme in found:
        told = f"the mirror {printable(redact(url))} is passed over: only http and https are fetched"
        warnings.tell(f"{scheme}:", f"{source}: {told}.")
    return [url for url in urls if not _foreign_scheme(url)] if found else urls


def _foreign_scheme(url: str) -> str:
    """Return the scheme of *url* in lower case; empty for http, https and relative URLs."""
    scheme = url.partition(":")[0].lower()
    named = "://" in url or scheme in _SCHEMES_WITHOUT_SLASHES
    return scheme if named and scheme.isalnum() and scheme not in {"http", "https"} else ""


def parse_boolean(text: str) -> bool:
    """Return ``true`` or ``false`` as aria2 writes them."""
    if text not in {"true", "false"}:
        raise ValueError("it must be true or false")
    return text == "true"


def parse_number(text: str) -> float:
    """Return a number; whole ones stay whole."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is not a number") from error


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
